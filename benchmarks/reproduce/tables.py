"""The paper's tables: which runs measure them, and which measured numbers answer a published one.

A published number often has several answers, because public code departs from its paper: SSIM in three conventions, MSE
in two, reconstructions with `end_data` as trained and as released, TAD under three protocols. All are measured; which
is the published one shows only beside it.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from typing import Any

from baselines.cards import TABLES
from benchmarks.results import Record
from benchmarks.subjects import SettingOptions
from dbae.support.errors import UserError

Cell = Mapping[str, str]
"""A published number: a row of `results/paper/table*.csv`."""

GENERATING = {"method": ("ddbm_heun", "ddim", "ddpm"), "churn": 0.33, "mode": ("prior", "ae")}
"""As tables 4 and 11 are taken to be sampled; a model is run with those of the methods that it has."""

BUILTIN_GENERATION = {"n": 500, "nfe": (20,)}
PRIOR_NFE = 50
"""Steps of the prior that comes with a built-in model."""
INFERENCE_STEPS = {"DiffAE": 250, "PDAE": 500}
"""Evaluations that Table 5 spends on x_T."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One benchmark with its options, but checkpoints, data and files."""

    benchmark: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Table:
    """How one table is measured.

    Attributes:
        number: as in the paper.
        title: what it shows.
        published: file of its published values in `results/paper`.
        sources: part of a published data set's name -> the data that stand for it.
        answers: published metric -> measured metrics; others are called alike.
        runs: what measures it.
        builtin: the same, small, for the models that come with this package.
        architectures: method -> subject of `benchmarks.cost`, of tables that need neither weights nor data.
        small_architectures: the same at the size of the built-in model.
        incomparable: published metrics that depend on the machine: no difference is taken.
    """

    number: str
    title: str
    published: str
    sources: Mapping[str, str]
    answers: Mapping[str, tuple[str, ...]]
    runs: tuple[Run, ...]
    builtin: tuple[Run, ...] = ()
    architectures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    small_architectures: tuple[str, ...] = ()
    incomparable: tuple[str, ...] = ()

    def cells(self) -> list[dict[str, str]]:
        """All published numbers.

        Raises:
            UserError: this installation has no `results/paper`.
        """
        path = TABLES / f"{self.published}.csv"
        if not path.is_file():
            raise UserError(f"{path}: no such file. Tables are reproduced from a clone of the repository.")
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def source(self, cell: Cell) -> str | None:
        """The data that a published number needs; None where it needs none, or none is known."""
        return next((source for part, source in self.sources.items() if part in cell["dataset"]), None)

    def answered_by(self, cell: Cell, record: Record) -> bool:
        """Whether a record of the right model and data set measures what was published."""
        if record.metric not in self.answers.get(cell["metric"], (cell["metric"],)):
            return False
        if cell["nfe"] and record.nfe_requested != int(cell["nfe"]):
            return False
        if record.task == "cost" and record.encode_nfe not in (None, 0, INFERENCE_STEPS.get(cell["method"])):
            return False
        return record.attribute == "mean" and record.sampler != "one_step" and _same_variant(cell, record)


def _same_variant(cell: Cell, record: Record) -> bool:
    """Endpoint, source of z and sampler, where the published row is about one."""
    variant, drawn = cell["variant"], record.z not in ("sampled", "mean")
    wanted = {
        "inferred x_T": record.x_T == "inferred",
        "random x_T": record.x_T == "random",
        "learned/standard prior": drawn,
        "autoencoding (inferred prior)": not drawn,
    }
    if record.task == "generation" and (cell["method"] == "DDPM") != (record.sampler == "ddpm"):
        return False
    return wanted.get(variant, True)


def _decoding(*, limit: int | None = None, **settings: Any) -> Run:
    return Run("reconstruction", {"settings": SettingOptions(**settings), **({"limit": limit} if limit else {})})


def _reconstruction(number: str, title: str, metric: str, measured: tuple[str, ...]) -> Table:
    return Table(
        number,
        title,
        f"table{number}",
        {"eval=CelebA-HQ": "celebahq"},
        {metric: measured},
        (_decoding(nfe=(10, 20, 50, 100), end_data=(0.5, 0.0)),),
        (_decoding(nfe=(5, 10, 20), end_data=(0.5, 0.0), limit=200),),
    )


def _generation(number: str, title: str, nfe: tuple[int, ...]) -> Table:
    return Table(
        number,
        title,
        f"table{number}",
        {"FFHQ": "ffhq"},
        {},
        tuple(Run("generation", {**GENERATING, "n": 50_000, "nfe": nfe, "end_data": e}) for e in (0.5, 0.0)),
        (Run("generation", BUILTIN_GENERATION),),
    )


def _cost(number: str, title: str, measure: tuple[str, ...]) -> Table:
    methods = {"DDIM": "ddim:", "DiffAE": "diffae:", "PDAE": "pdae:", "DBAE": ""}
    return Table(
        number,
        title,
        f"table{number}",
        sources={},
        answers={},
        runs=(Run("cost", {"measure": measure, "infer_steps": tuple(INFERENCE_STEPS.values())}),),
        builtin=(Run("cost", {"measure": measure, "infer_steps": tuple(INFERENCE_STEPS.values())}),),
        architectures={method: f"untrained:{kind}ffhq128" for method, kind in methods.items()},
        small_architectures=tuple(f"untrained:{kind}faces32" for kind in methods.values()),
        incomparable=("training_time", "testing_time", "total_time_ms"),
    )


SSIM = ("SSIM", "SSIM_skimage", "SSIM_dbae_released")
MSE = ("MSE", "MSE_dbae_released")
_ALL = [
    Table(
        "1",
        "linear probes: attributes of CelebA and LFW from z",
        "table1_camera_ready",
        {"eval=CelebA test": "celeba", "eval=LFW": "lfw"},
        {},
        (Run("downstream", {"protocol": ("paper",)}),),
        (Run("downstream", {"protocol": ("paper",)}),),
    ),
    Table(
        "2",
        "reconstruction of CelebA-HQ by models of FFHQ",
        "table2",
        {"eval=CelebA-HQ": "celebahq"},
        {"SSIM": SSIM, "MSE": MSE},
        (
            _decoding(nfe=(100,), end_data=(0.5, 0.0)),
            # The authors advise the SDE for LPIPS; their scorer reads such a folder.
            _decoding(method=("ddbm_heun",), nfe=(1000,), churn=0.33, end_data=(0.5, 0.0)),
        ),
        (_decoding(nfe=(20,), end_data=(0.5, 0.0), limit=200),),
    ),
    Table(
        "3",
        "disentanglement on CelebA",
        "table3",
        {"CelebA": "celeba"},
        {},
        (
            Run("disentanglement"),
            Run("generation", {**GENERATING, "mode": ("prior",), "n": 10_000, "nfe": (100,)}),
        ),
        (Run("disentanglement", {"limit": 2000}), Run("generation", BUILTIN_GENERATION)),
    ),
    _generation("4", "generation of FFHQ with 1000 evaluations", (1000,)),
    _generation("11", "generation of FFHQ with fewer evaluations", (250, 500)),
    _cost("5", "cost of x_T from an image", ("sampling",)),
    _cost("8", "parameters and times", ("parameters", "sampling", "training")),
    _reconstruction("9", "SSIM against evaluations", "SSIM", SSIM),
    _reconstruction("10", "MSE against evaluations", "MSE", MSE),
]
TABLES_BY_NUMBER = {table.number: table for table in _ALL}
