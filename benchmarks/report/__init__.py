"""A page, and tables for papers, made from results files and run folders alone; nothing is measured.

`sources` finds what there is, `build` makes a `board` of each table, `numbers` says how sure a number is, `claims` what
decides. `page` puts them together with the figures of `curves` and `points`; `formats` writes tables for papers.
"""
