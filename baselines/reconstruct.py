"""Reconstruct your own images by any model: x0, x_T, the reconstruction, and further draws, as grids.

    python -m baselines.reconstruct "faces:?n=8" --nfe 20 --out runs/faces
    python -m baselines.reconstruct me.jpg photos/ --ckpt diffae/ffhq128 --endpoint inferred --nfe 100 --out runs/mine
    python -m baselines.reconstruct photos/ --ckpt runs/vae/checkpoints/0200000.safetensors --draws 3 --out runs/vae

--ckpt takes what the benchmarks take; all else is as in `python -m dbae.reconstruct`. Without --endpoint, a model whose
x_T can be random or inferred starts at random: what is then alike in all draws is what z holds.
"""

from __future__ import annotations

import functools

from baselines.load import load
from dbae.reconstruct import Options, main
from dbae.support import cli

if __name__ == "__main__":
    run = functools.partial(main, load=load)
    raise SystemExit(cli.run(run, Options, module="baselines.reconstruct", description=__doc__))
