"""Diffusion Bridge AutoEncoders (arXiv 2405.17111): the method itself.

`bridge` the process · `networks`, `model` what is learned · `losses`, `fit`, `train` how · `samplers` from z to images
· `checkpoint`, `official` files · `data` images. Importing this package loads nothing; import what you need from it.
"""
