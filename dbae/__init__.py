"""Diffusion Bridge AutoEncoders (arXiv 2405.17111): the method itself.

`bridge` the process · `networks`, `model` what is learned · `losses`, `training` how · `samplers` from z to images
· `latents`, `prior` what is done with z · `checkpoints` files · `data` images · `support` what all of it shares ·
`train`, `train_prior`, `encode`, `reconstruct`, `sample` the commands. Importing this package loads nothing;
import what you need from it.
"""
