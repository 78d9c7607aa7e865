"""Encode your own images by any model: z of every image in one file, or a table for pandas and scikit-learn.

    python -m baselines.encode "faces:?n=100" --out runs/z.csv
    python -m baselines.encode photos/ faces.zip --ckpt diffae/ffhq128 --out runs/z.parquet
    python -m baselines.encode me.jpg --ckpt runs/vae/checkpoints/0200000.safetensors --sigma --out runs/z.npz

--ckpt takes what the benchmarks take. Columns and arrays are those of `python -m dbae.encode`, and so are all options.
Of a model whose z is found by running its network (a plain diffusion model), an image takes as long as to sample one.
"""

from __future__ import annotations

import functools

from baselines.load import load
from dbae.encode import Options, main
from dbae.support import cli

if __name__ == "__main__":
    run = functools.partial(main, load=load)
    raise SystemExit(cli.run(run, Options, module="baselines.encode", description=__doc__))
