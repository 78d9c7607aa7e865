r"""Figures of what a model does with your own images: PNG, SVG, or GIF of what moves.

Between two images, with the x_T that each starts at, and the same as a film:

    python -m benchmarks.figures interpolate --image "faces:?n=2" --out runs/between.png
    python -m benchmarks.figures interpolate --image a.jpg b.jpg --ckpt diffae/ffhq128 --out runs/between.gif

More and less of an attribute, along a direction that is trained on labelled images and kept for other pictures, or that
the authors of DiffAE, PDAE or DBAE publish:

    python -m benchmarks.figures manipulate --image "faces:?n=2" --attribute Blond_Hair --out runs/hair.png
    python -m benchmarks.figures manipulate --image me.jpg --attribute age --data folder:labelled \
        --save-direction runs/age.npz --out runs/age.png
    python -m benchmarks.figures manipulate --image me.jpg --ckpt diffae/ffhq128 --attribute Smiling \
        --direction ffhq128_autoenc_cls/last.ckpt --out runs/me.png

The way of the sampler; samples; what several reconstructions have in common, and each beside its x_T:

    python -m benchmarks.figures trajectory --image "faces:?n=3" --out runs/trajectory.png
    python -m benchmarks.figures samples -n 32 --nfe 20 --out runs/samples.svg
    python -m benchmarks.figures statistics --image photos --crop top --out runs/draws.png
    python -m benchmarks.figures reconstruct --image a.jpg b.jpg --ckpt diffae/ffhq128 --out runs/reconstructions.png

What single numbers of z change, those that guide most first, of a model guided by its encoder; and a CSV:

    python -m benchmarks.figures axes --ckpt sami.safetensors --image photos --out runs/axes.png

Every model that the benchmarks take is drawn, by what it can do: x_T is decoded, inferred or drawn. Small images are
enlarged pixel by pixel, and a line says what the model was trained on: images of anything else come out as that.
"""

from __future__ import annotations

from pathlib import Path

from baselines.load import load
from benchmarks.figures import sheet
from benchmarks.figures.axes import Axes
from benchmarks.figures.interpolate import Interpolate
from benchmarks.figures.manipulate import Manipulate
from benchmarks.figures.reconstruct import Reconstruct, Statistics
from benchmarks.figures.samples import Samples
from benchmarks.figures.scene import Load
from benchmarks.figures.trajectory import Trajectory
from dbae.support import cli, distributed
from dbae.support.progress import all_shown

Figure = Interpolate | Manipulate | Trajectory | Samples | Statistics | Reconstruct | Axes


def main(figure: Figure, load: Load = load) -> Path:
    """Draw a figure, and say where it is."""
    distributed.require_alone("benchmarks.figures")
    with all_shown():
        sheets = figure.sheets(load)
    sheet.save(sheets, figure.out, scale=figure.scale)
    print(figure.out)
    return figure.out


def command(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return cli.run(main, Figure, module="benchmarks.figures", description=__doc__, arguments=arguments)
