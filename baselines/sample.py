"""Generate images by any model: z from its prior, x_T as it starts by itself, x by its sampler.

    python -m baselines.sample -n 8 --nfe 10 --out runs/samples
    python -m baselines.sample -n 64 --ckpt ddim.safetensors --nfe 50 --out runs/ddim
    python -m baselines.sample -n 64 --ckpt last.ckpt --prior prior.safetensors --nfe 100 --out runs/diffae

The distribution of z is that of --prior, else the checkpoint's own (a latent DPM in the file, N(0, I) of a VAE or of a
plain diffusion model). --ckpt and --prior take what the benchmarks take; all else is as in `python -m dbae.sample`. Of
a model whose authors leave z out of the last steps, that is done too, unless --method is named.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from baselines.load import LoadedModel, load, load_prior
from dbae.sample import Generator, Options, main, prior_file
from dbae.support import cli
from dbae.support.files import sha256


def open_any(options: Options, load: Callable[[str], LoadedModel] = load) -> Generator:
    """The model and the distribution of its z.

    Raises:
        UserError: one of them is not usable, or they do not belong together.
    """
    loaded = load(options.ckpt)
    if options.prior is None and loaded.prior is not None:
        return Generator(loaded, loaded.prior, loaded.sha256)
    path = prior_file(options, "baselines.train_prior")
    return Generator(loaded, load_prior(path, of=loaded), sha256(path))


if __name__ == "__main__":
    run = functools.partial(main, open=open_any)
    raise SystemExit(cli.run(run, Options, module="baselines.sample", description=__doc__))
