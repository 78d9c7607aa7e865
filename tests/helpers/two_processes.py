"""Reconstruction, variation, disentanglement and trajectories of small models, in as many processes as torchrun starts.

As a program: `two_processes.py FOLDER`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from stand_ins import FakeLoaded, Squares, TinyModel

sys.path.append(str(Path(__file__).parent))
from small_model import Pixels, small_model

from baselines.interface import LoadedModel
from benchmarks.disentanglement import command as disentanglement
from benchmarks.reconstruction import command as reconstruction
from benchmarks.subjects.settings import SettingOptions
from benchmarks.trajectories import command as trajectories
from benchmarks.variation import command as variation


def loaded() -> LoadedModel:
    model = small_model()
    with torch.no_grad():
        model.score.out[2].weight.normal_(generator=torch.Generator().manual_seed(0))
    cells = {"name": "small", "method": "DBAE", "variant": "", "train_data": "", "sha256": "0" * 64}
    return LoadedModel(model, weights="untrained", untrained=lambda seed: model, path=Path("small.pt"), **cells)


def measure(folder: Path) -> None:
    """All four, into `folder`."""
    settings = SettingOptions(method=("dbim",), nfe=(3,))
    options = reconstruction.ReconstructionOptions(
        data=("pixels",), out=folder / "reconstruction.csv", settings=settings, limit=7, batch_size=2, device="cpu"
    )
    reconstruction.run(options, lambda source: loaded(), lambda source, size: Pixels(10, size))
    several = variation.VariationOptions(
        data=("pixels",), out=folder / "variation.csv", settings=settings, draws=3, draw_images=3, device="cpu"
    )
    variation.run(several, lambda source: loaded(), lambda source, size: Pixels(10, size))
    labelled = disentanglement.DisentanglementOptions(
        data=("squares",), out=folder / "disentanglement.csv", protocol=("standard",), batch_size=16, device="cpu"
    )
    disentanglement.run(labelled, lambda source: FakeLoaded(TinyModel()), lambda source, size: Squares(size=size))
    moving = trajectories.TrajectoriesOptions(
        data=("disks",), out=folder / "trajectories.csv", sequences=9, frames=4, batch_size=5, device="cpu"
    )
    trajectories.run(moving, lambda source: FakeLoaded(TinyModel()))


def main(folder: Path) -> None:
    """Measure in this process, one of several."""
    torch.set_num_threads(1)
    os.environ["DBAE_CACHE"] = str(folder / "cache")
    measure(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
