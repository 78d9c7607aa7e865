"""The rows of the disentanglement benchmark: every source of latents x protocol.

Columns with a meaning of their own here (the others: `benchmarks.results.record`):

    protocol    of TAD and ATTRS: see `metrics.disentanglement`; "factors" for scores against the factors that the
                data set names, "factors (A B)" against others: labels that the user named, in alphabetical order;
                "factors-fdae" for those of codes on their first 36 principal components, as published for FDAE,
                DisDiff and DiffAE (wuancong/FDAE 71e5081; MIG there is of several codes an image, which are not here)
    metric      TAD, ATTRS; TAD_low ... ATTRS_high are the ends of the 95 % bootstrap interval (protocol standard),
                whole numbers for ATTRS, and never leave out the number itself (those of older files may).
                The resamples lie beside the results (`benchmarks.results.noise`).
                Of an attribute: its share of TAD and of ATTRS (they add up), AUROC_best, AUROC_next, redundancy
    stderr      over draws or folds (paper, infodiffusion); of the bootstrap (standard)
    n           images of one draw or fold; of a score against factors, the images its codes were fitted to
    attribute   "mean" where the number concerns no single attribute, as everywhere
    seconds     of the scores; encoding is logged and kept with the latents
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from benchmarks.disentanglement.factor_labels import factor_classes, varying
from benchmarks.metrics import disentanglement as tad
from benchmarks.metrics import factors as known
from benchmarks.metrics.bootstrap import number_of_units
from benchmarks.metrics.disentanglement import Disentanglement, ProtocolName, Summary
from benchmarks.results import Record
from benchmarks.results.circumstances import circumstances
from benchmarks.results.noise import Noise, digest, write_noise
from benchmarks.runner import Session
from benchmarks.subjects import Subject
from dbae.data import Attributes, ImageDataset
from dbae.latents import Latents
from dbae.noise import mixed_seed
from dbae.support.errors import UserError

TASK_VERSION = 1
FACTORS_VERSION = 2
"""Of scores against factors. 1: FactorVAE's votes were counted on training images; SAP had dead dimensions at 0."""
Z = Literal["mean", "sampled"]
SPLITS: dict[str, str] = {"paper": "all", "infodiffusion": "train", "standard": "test"}
SEEDS: dict[str, str] = {"paper": "mean of 0 1 2 3 4", "infodiffusion": "mean of folds 0 1 2 3 4", "standard": "0"}
PAPER_IMAGES, INFODIFFUSION_IMAGES = 1000, 10_000
FactorProtocol = Literal["standard", "fdae"]
SCORES = ("MIG", "SAP", "DCI_disentanglement", "DCI_completeness", "DCI_informativeness", "FactorVAE")
FDAE_SCORES = ("DCI_disentanglement", "FactorVAE")
PER_ATTRIBUTE = ("TAD", "ATTRS", "AUROC_best", "AUROC_next", "redundancy")
LOWER_IS_BETTER = frozenset({"AUROC_next", "redundancy"})
_ENDS = ("low", "high")

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one protocol gives: numbers of all images, and of every attribute (a,)."""

    summaries: dict[str, Summary]
    attributes: dict[str, np.ndarray]


class DisentanglementStudy:
    """TAD, ATTRS and scores against factors on one data set.

    Args:
        dataset: with binary labels, known factors, or both; without the former there are no TAD and ATTRS.
        session: where rows go and finished ones are found; precision of the encoders, for the record.
        factors: label columns that are ground-truth factors; () takes those that the data set names.
        factor_images: codes that scores against factors are fitted to, and measured on, at most.

    Raises:
        UserError: neither binary labels nor factors, or a factor that is no label.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        session: Session,
        *,
        factors: tuple[str, ...] = (),
        factor_images: int = 1000,
    ) -> None:
        self.dataset, self.results = dataset, session.results
        self.columns = {
            "task": "disentanglement",
            "task_version": TASK_VERSION,
            "dataset": dataset.name,
            "data_sha256": dataset.fingerprint,
            "precision": session.precision,
        }
        self.labels = labels_of(dataset, factors)
        self.factors, self.factor_images = factor_classes(dataset, factors), factor_images
        self.chosen = f" ({' '.join(sorted(factors))})" if set(factors) not in (set(), set(dataset.factors)) else ""

    def rows(self, subject: Subject, protocol: ProtocolName, z: Z) -> list[Record]:
        """Rows of TAD and ATTRS of one protocol, from the results where they are complete, else measured now.

        Protocol "standard" is of posterior means, whatever `z` says. No rows where no label is binary.
        """
        if not self.labels.binary_names:
            return []
        columns = {
            **subject.cells,
            "protocol": protocol,
            "split": SPLITS[protocol],
            "seed": SEEDS[protocol],
            **subject.z_cells("mean" if protocol == "standard" else z),
            "n": self._n(protocol),
        }
        names = self.labels.binary_names
        return self._stored_or(columns, _names(protocol), names, lambda: self._measure(subject, protocol, z))

    def factor_rows(self, subject: Subject, protocol: FactorProtocol = "standard") -> list[Record]:
        """Rows of the scores against known factors; none where no factors are known, or all are constant."""
        if self.factors is None:
            return []
        train, test = (self._split(name)[: self.factor_images] for name in ("train", "test"))
        factors = self.factors[:, varying(self.factors[train], self.factors[test])]
        if not factors.shape[1]:
            return []
        columns: dict[str, Any] = {**subject.cells, **subject.z_cells("mean")}
        name = "factors" if protocol == "standard" else "factors-fdae"
        columns |= {"protocol": f"{name}{self.chosen}", "split": "test", "seed": "0"}
        columns |= {"n": len(train), "task_version": FACTORS_VERSION}

        def measure() -> Measured:
            fitted, held_out = (known.Codes(_codes(subject, images), factors[images]) for images in (train, test))
            if protocol == "standard":
                return _against_factors(fitted, held_out)
            fitted, held_out = known.on_components(fitted, held_out)
            values = (known.dci(fitted, held_out).disentanglement, known.factor_vae_score(fitted, held_out))
            return Measured({name: Summary(v, np.nan) for name, v in zip(FDAE_SCORES, values, strict=True)}, {})

        return self._stored_or(columns, SCORES if protocol == "standard" else FDAE_SCORES, (), measure)

    def setting_row(self, subject: Subject, metric: str, value: float) -> Record:
        """A row that says how a model was trained, e.g. its TC_weight, for figures over several checkpoints."""
        columns = {**subject.cells, "protocol": "training", "split": "all", "n": len(self.dataset)}
        (record,) = self._records(columns, Measured({metric: Summary(value, np.nan)}, {}), 0.0)
        self.results.update([record])
        return record

    def _stored_or(
        self, columns: dict[str, Any], names: Sequence[str], attributes: Sequence[str], measure: Callable[[], Measured]
    ) -> list[Record]:
        """Rows of the metrics `names` in the results, if those of every attribute are there too; else `measure`'s."""
        cells = self.columns | columns
        stored, single = self.results.find(cells, names), self.results.find(cells, PER_ATTRIBUTE, attributes)
        if stored is not None and single is not None:
            return stored
        started = time.perf_counter()
        measured = measure()
        records = self._records(columns, measured, round(time.perf_counter() - started, 3))
        if self.results.world.is_main:
            self._keep_noise(records, measured)
        self.results.add(records)
        numbers = ", ".join(f"{name} {summary.value:.4f}" for name, summary in measured.summaries.items())
        log.info("%s, %s, z %s: %s", columns["model"], columns["protocol"], columns["z"], numbers)
        return [record for record in records if record.attribute == "mean"]

    def _keep_noise(self, records: Sequence[Record], measured: Measured) -> None:
        """Write the resamples behind TAD and ATTRS, before the rows: no row lacks them."""
        for record in records:
            summary = measured.summaries.get(record.metric) if record.attribute == "mean" else None
            if summary is not None and summary.drawn is not None:
                images = self._images("standard")
                groups = self._groups(images)
                over = digest(self.dataset.fingerprint, images, groups)
                units = number_of_units(len(images), groups)
                noise = Noise(over, units, resamples=summary.drawn, whole=record.metric == "ATTRS")
                write_noise(self.results.path, record, noise)

    def _split(self, name: str) -> np.ndarray:
        return self.dataset.split(name if name in self.dataset.splits else "all")

    def _n(self, protocol: ProtocolName) -> int:
        n = len(self._images(protocol))
        return {"paper": min(n, PAPER_IMAGES), "infodiffusion": n * 4 // 5, "standard": n}[protocol]

    def _images(self, protocol: ProtocolName) -> np.ndarray:
        """The images a protocol takes its rows from."""
        return self._split(SPLITS[protocol])[: INFODIFFUSION_IMAGES if protocol == "infodiffusion" else None]

    def _measure(self, subject: Subject, protocol: ProtocolName, z: Z) -> Measured:
        if protocol == "standard":
            return self._standard(subject)
        found = (self._paper if protocol == "paper" else self._infodiffusion)(subject, z == "sampled")
        return Measured(dict(zip(("TAD", "ATTRS"), tad.summaries(found), strict=True)), self._attributes(found))

    def _standard(self, subject: Subject) -> Measured:
        images = self._images("standard")
        codes, labels = _codes(subject, images), self.labels.binary[images]
        summaries = dict(zip(("TAD", "ATTRS"), tad.bootstrap(codes, labels, groups=self._groups(images)), strict=True))
        ends = {f"{name}_{end}": Summary(getattr(s, end), np.nan) for name, s in summaries.items() for end in _ENDS}
        return Measured(summaries | ends, self._attributes([tad.tad(codes, labels)]))

    def _groups(self, images: np.ndarray) -> np.ndarray | None:
        return None if self.dataset.groups is None else self.dataset.groups[images]

    def _paper(self, subject: Subject, sample: bool) -> list[Disentanglement]:
        images = self._images("paper")
        draws = tad.paper_rows(len(images), size=PAPER_IMAGES)
        if len(images) <= PAPER_IMAGES:
            draws = draws[:1]  # all draws are the same
        used = np.unique(np.concatenate(draws))  # of 200,000 images, 5,000 need to be encoded
        codes, labels = _codes(subject, images[used], sample=sample), self.labels.binary[images[used]]
        rows = [np.searchsorted(used, draw) for draw in draws]
        return [tad.tad(codes[r], labels[r], auroc="sweep") for r in rows]

    def _infodiffusion(self, subject: Subject, sample: bool) -> list[Disentanglement]:
        images = self._images("infodiffusion")
        # DEVIATION: the reference leaves the random mirroring of its training images on.
        codes = _codes(subject, images, sample=sample, flip=True)
        return tad.infodiffusion_folds(codes, self.labels.binary[images])

    def _attributes(self, found: Sequence[Disentanglement]) -> dict[str, np.ndarray]:
        """Values of every attribute, means over draws or folds."""
        values = (
            [np.where(r.captured, r.best - r.next, 0) for r in found],
            [r.captured.astype(np.float64) for r in found],
            [r.best for r in found],
            [r.next for r in found],
            [r.redundancy for r in found],
        )
        return {name: np.mean(draws, axis=0) for name, draws in zip(PER_ATTRIBUTE, values, strict=True)}

    def _records(self, columns: dict[str, Any], measured: Measured, seconds: float) -> list[Record]:
        common: dict[str, Any] = self.columns | columns | {"seconds": seconds, **circumstances()}

        def record(metric: str, attribute: str, value: float, stderr: float | None = None) -> Record:
            better: Literal["lower", "higher"] = "lower" if metric in LOWER_IS_BETTER else "higher"
            return Record(**common, attribute=attribute, metric=metric, value=value, stderr=stderr, better=better)

        rows = [
            record(name, "mean", summary.value, None if np.isnan(summary.stderr) else summary.stderr)
            for name, summary in measured.summaries.items()
        ]
        names = self.labels.binary_names
        return rows + [
            record(metric, attribute, float(value))
            for metric, values in measured.attributes.items()
            for attribute, value in zip(names, values, strict=True)
        ]


def _against_factors(fitted: known.Codes, held_out: known.Codes) -> Measured:
    """Every score of `metrics.factors`."""
    dci = known.dci(fitted, held_out)
    scores = {
        "MIG": known.mutual_information_gap(fitted),
        "SAP": known.separated_attribute_predictability(fitted, held_out),
        "DCI_disentanglement": dci.disentanglement,
        "DCI_completeness": dci.completeness,
        "DCI_informativeness": dci.informativeness,
        "FactorVAE": known.factor_vae_score(fitted, held_out),
    }
    return Measured({name: Summary(value, np.nan) for name, value in scores.items()}, {})


def _names(protocol: ProtocolName) -> list[str]:
    ends = [f"{name}_{end}" for name in ("TAD", "ATTRS") for end in _ENDS] if protocol == "standard" else []
    return ["TAD", "ATTRS", *ends]


def labels_of(dataset: ImageDataset, factors: tuple[str, ...] = ()) -> Attributes:
    """The labels of a data set. Raises UserError where none of them is binary, nor any factor known or named."""
    labels, nothing = dataset.attributes, np.empty((len(dataset), 0))
    if not (factors or dataset.factors or (labels is not None and labels.binary_names)):
        raise UserError(
            f"{dataset.name}: expected binary attributes or known factors, found neither. Name labelled data "
            "(--data faces, --data disks), or say with --factors which of its labels are factors."
        )
    return labels or Attributes((), nothing.astype(np.int8), (), nothing)


def _codes(subject: Subject, images: np.ndarray, *, sample: bool = False, flip: bool = False) -> np.ndarray:
    """z of `images` in float64: no two different float32 codes become equal, whatever is done to them."""
    latents: Latents = subject.latents(images, 0, flip)
    z = latents.draw(mixed_seed(0, "disentanglement"), sample=sample, flip=flip)
    return z.numpy().astype(np.float64)
