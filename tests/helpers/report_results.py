"""A small folder of results to report: probes of two snapshots with single images' scores, and reconstructions."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.results import Record, RecordFile
from benchmarks.results.images import ImageValues, values_path, write_values
from benchmarks.results.scores import ImageScores, write_scores
from dbae.training.folder import LOG_COLUMNS

HOSTILE = "<img src=x onerror=alert(1)>"
PROBE = Record(
    task="downstream", protocol="standard", task_version=2, model="mine", method="DBAE", dataset="faces", split="test",
    train_data="faces (2000 images seen)", metric="AP", value=0.0, better="higher", n=400, latent_dim=8, z="mean",
    seed="0", weights="trained", checkpoint_sha256="ab" * 32, data_sha256="cd" * 32, versions="python 3", revision="1",
)  # fmt: skip
CONTROL = dataclasses.replace(PROBE, model="pca", method="", train_data="", weights="control", checkpoint_sha256="")
DECODED = Record(
    task="reconstruction", protocol="paper", task_version=1, model="mine", method="DBAE", dataset="faces", split="test",
    train_data="faces (2000 images seen)", metric="SSIM", value=0.0, better="higher", n=50, nfe_requested=10, nfe=10,
    sampler="dbim", grid="native", eta=0.0, end_data=0.5, x_T="decoded", encode_nfe=0, latent_dim=8, z="mean", seed="0",
    weights="trained", checkpoint_sha256="ab" * 32, data_sha256="cd" * 32,
)  # fmt: skip


def average_precision(folder: Path, row: Record, signal: float, seed: int = 0) -> None:
    """Add a row of AP whose scores separate 4 attributes of 400 images by `signal` deviations."""
    from benchmarks.results.evidence import resample

    targets = (np.random.default_rng(0).random((row.n, 4)) < 0.3).astype(np.int64)
    predictions = np.random.default_rng(seed).normal(size=(row.n, 4)) + signal * targets
    scores = ImageScores(np.arange(row.n), predictions, targets, ("a", "b", "c", "d"))
    values = resample([scores], "AP", 1).values
    path = folder / "downstream.csv"
    row = dataclasses.replace(row, value=float(values.mean()))
    RecordFile(path).add([row])
    write_scores(path, row, scores)
    single = [dataclasses.replace(row, attribute=name, value=float(v)) for name, v in zip("abcd", values, strict=True)]
    RecordFile(folder / "downstream_attributes.csv").add(single)


def similarity(folder: Path, row: Record, mean: float) -> None:
    """Add a row of SSIM with the values of its images."""
    values = np.clip(np.random.default_rng(1).normal(mean, 0.05, row.n), 0, 1)
    path = folder / "reconstruction.csv"
    RecordFile(path).add(
        [dataclasses.replace(row, value=float(values.mean()), stderr=float(values.std() / row.n**0.5))]
    )
    asked = row.identity_cells
    columns = {k: v for k, v in asked.items() if k not in ("metric", "better", "nfe", "encode_nfe", "attribute")}
    write_values(values_path(path, asked), ImageValues({"SSIM": values}, row.nfe or 0), np.arange(row.n), columns)


def write_results(folder: Path, *, name: str = "mine", gain: float = 0.0) -> Path:
    """Fill a folder; `name` is a model's, `gain` is how much better than usual its probes are."""
    for images, signal in ((500, 1.0), (1000, 1.5), (2000, 2.0 + gain)):
        about = {"model": name, "train_data": f"faces ({images} images seen)", "checkpoint_sha256": f"{images:064d}"}
        average_precision(folder, dataclasses.replace(PROBE, **about), signal)
    about = {"model": "theirs", "method": "DiffAE", "checkpoint_sha256": "ef" * 32}
    average_precision(folder, dataclasses.replace(PROBE, **about), 1.9, seed=7)
    average_precision(folder, CONTROL, 3.0)
    for nfe, mean in ((5, 0.7), (10, 0.75), (20, 0.8)):
        similarity(folder, dataclasses.replace(DECODED, model=name, nfe=nfe, nfe_requested=nfe), mean)
        about |= {"nfe": nfe, "nfe_requested": nfe, "x_T": "random", "end_data": None, "sampler": "ddim"}
        similarity(folder, dataclasses.replace(DECODED, **about), mean / 2)
    Image.fromarray(np.full((8, 12, 3), 90, np.uint8)).save(folder / "reconstruction_images.png")
    lines = [",".join(LOG_COLUMNS), *(f"{100 * i},{i},{1 / i},{0.5 / i},1.0,60.0,2.0" for i in range(1, 6)), "600,6,0."]
    (folder / "log.csv").write_text("\n".join(lines))
    (folder / "previews").mkdir(exist_ok=True)
    for i in range(12):
        Image.fromarray(np.full((4, 4, 3), 20 * i, np.uint8)).save(folder / "previews" / f"images-{i}.png")
    return folder
