"""Train the latent prior of any autoencoder: a diffusion model over its z, to generate images from nothing.

  python -m baselines.train_prior --ckpt vae.safetensors --data zip:photos.zip --out runs/vae-prior --preset small
  python -m baselines.train_prior --ckpt diffae/ffhq128 --data ffhq --out runs/diffae-prior

--ckpt takes what the benchmarks take; all other options are those of `python -m dbae.train_prior`. What it writes is
the --prior of `python -m benchmarks.generation`, also for methods that have N(0, I) without it.
"""

from __future__ import annotations

import functools

from baselines.load import load
from dbae.support import cli
from dbae.train_prior import Args, train

if __name__ == "__main__":
    run = functools.partial(train, load=load, module="baselines.train_prior")
    raise SystemExit(cli.run(run, Args, module="baselines.train_prior", description=__doc__))
