"""What a person reads after a disentanglement run: tables, and TAD against FID over total-correlation weights."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from baselines.cards import TABLES
from benchmarks.metrics.bootstrap import holding
from benchmarks.results import Record
from benchmarks.results.models import told_apart
from dbae.support.files import atomic_path
from dbae.support.text import columns

TAD_COLUMNS = ("TAD", "ATTRS")
PUBLISHED_AS = {
    "shapes3d": "Shapes3D",
    "cars3d": "Cars3D",
    "real3d_complicated_shapes_ordered": "MPI3D-real-complex",
}
"""Data set -> its name in `results/paper/factors.csv`."""
FDAE_SCORES = ("DCI", "FactorVAE")
"""Names there, in the order of the measured ones (`study.FDAE_SCORES`)."""
FDAE_PROTOCOL = "PCA of each code, 36 dimensions in all"
FDAE_IMAGES = 10_000
"""Codes that the published scores were fitted to."""
NOTE = "(± standard error over draws or folds of n images; standard: of the bootstrap over images, with 95 % intervals)"


def is_distance(row: Record) -> bool:
    """Whether a row of benchmarks.generation is an FID or a Frechet distance of another extractor."""
    return row.metric.startswith(("FID", "FD"))


def published_scores(rows: Sequence[Record]) -> list[list[str]]:
    """What was published of the data and by the protocol of `rows`: method, data set, n, and a cell a score."""
    alike = {r.dataset for r in rows if r.protocol == "factors-fdae" and r.n == FDAE_IMAGES}
    path = TABLES / "factors.csv"
    if not alike or not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        same = [cell for cell in csv.DictReader(file) if cell["protocol"] == FDAE_PROTOCOL]
    wanted = {PUBLISHED_AS[name] for name in alike if name in PUBLISHED_AS}
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for cell in same:
        if cell["dataset"] in wanted:
            spread = f" ± {cell['std']}" if cell["std"] else ""
            lines.setdefault((cell["method"], cell["dataset"]), {})[cell["metric"]] = cell["value"] + spread
    return [
        [f"{method}, published", name, str(FDAE_IMAGES), *(scores.get(score, "") for score in FDAE_SCORES)]
        for (method, name), scores in lines.items()
    ]


def format_rows(
    rows: Sequence[Record], distances: Sequence[Record] = (), published: Sequence[Sequence[str]] = ()
) -> str:
    """Text tables: TAD and ATTRS of every model and protocol, FIDs of the same checkpoints, scores against factors.

    Args:
        rows: of this task, attribute "mean".
        distances: of the task "generation", from any checkpoints; those of other checkpoints are not shown.
        published: lines for the table of scores by the published protocol (`published_scores`).
    """
    rows = told_apart(rows)
    ends = {(*_subject(r), r.protocol, r.metric): r.value for r in rows if r.metric.endswith(("_low", "_high"))}
    first = [["model", "data", "protocol", "z", "n", *TAD_COLUMNS]]
    for key in dict.fromkeys((*_subject(r), r.protocol, r.z) for r in rows if r.metric == "TAD"):
        same = {r.metric: r for r in rows if (*_subject(r), r.protocol, r.z) == key}
        low_high = {m: [ends.get((*key[:-1], f"{m}_{end}")) for end in ("low", "high")] for m in TAD_COLUMNS}
        row, cells = same["TAD"], [_cell(same[m], *low_high[m]) for m in TAD_COLUMNS]
        first.append([row.model, row.dataset, row.protocol, row.z, str(row.n), *cells])
    tables = [first] if len(first) > 1 else []
    shas = {r.checkpoint_sha256: r.model for r in rows if r.checkpoint_sha256}
    measured = [r for r in distances if is_distance(r) and r.checkpoint_sha256 in shas]
    if measured:
        lines = [["model", "data", "distance", "sampler", "NFE", "n", "value"]]
        for r in measured:
            about = [r.dataset, r.metric, r.sampler, str(r.nfe), str(r.n), f"{r.value:.2f}"]
            lines.append([shas[r.checkpoint_sha256], *about])
        tables.append(lines)
    chosen = sorted({r.protocol for r in rows if r.protocol.startswith(("factors (", "factors-fdae ("))})
    tables += [_scores(rows, protocol) for protocol in (*chosen, "factors", "factors-fdae")]
    tables[-1] += map(list, published)
    texts = [columns(table) for table in tables if table]
    if len(first) > 1:
        texts[0] += f"\n{NOTE}"
    return "\n\n".join(texts)


def _scores(rows: Sequence[Record], protocol: str) -> list[list[str]]:
    """A line a subject, a column a score against factors; empty where nothing was measured."""
    measured = [r for r in rows if r.protocol == protocol]
    metrics = list(dict.fromkeys(r.metric for r in measured))
    kind, _, chosen = protocol.partition(" ")
    about = " of 36 components" if kind == "factors-fdae" else ""
    lines = [["model", "data", *(["factors"] if chosen else []), "n", *(f"{metric}{about}" for metric in metrics)]]
    for subject in dict.fromkeys(map(_subject, measured)):
        same = {r.metric: r for r in measured if _subject(r) == subject}
        row, scores = next(iter(same.values())), [f"{same[metric].value:.4f}" for metric in metrics]
        lines.append([row.model, row.dataset, *([chosen.strip("()")] if chosen else []), str(row.n), *scores])
    return lines if measured else []


def draw_tradeoff(rows: Sequence[Record], distances: Sequence[Record], path: Path) -> bool:
    """Write a PNG: TAD against each FID (against the weight where none is at hand), one point a checkpoint.

    Only models trained alike but for the weight are shown. Points of a protocol are joined in the order of their
    weights, which are written beside them.

    Returns:
        Whether there are such models; otherwise nothing is written.
    """
    weights = _compared(rows)
    if not weights:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _horizontal(weights, distances)
    figure = Figure(figsize=(max(5.5, 5 * len(panels)), 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (label, across) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        points = [r for r in rows if r.metric == "TAD" and r.attribute == "mean" and r.checkpoint_sha256 in across]
        for line in dict.fromkeys(map(_line, points)):
            same = sorted((r for r in points if _line(r) == line), key=lambda r: weights[r.checkpoint_sha256])
            x, y = [across[r.checkpoint_sha256] for r in same], [r.value for r in same]
            axes.errorbar(x, y, [r.stderr or 0 for r in same], marker="o", capsize=2, label=line)
            for r, at in zip(same, zip(x, y, strict=True), strict=True):
                axes.annotate(f"{weights[r.checkpoint_sha256]:g}", at, (4, 4), textcoords="offset points", fontsize=8)
        axes.set_xlabel(label)
        axes.set_ylabel("TAD (higher is better)")
        axes.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", fontsize=7)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return True


def _compared(rows: Sequence[Record]) -> dict[str, float]:
    """Checkpoint -> weight, of those that share method, training data and images seen with one of another weight."""
    said = [r for r in rows if r.metric == "TC_weight"]
    alike = {_training(r): {o.value for o in said if _training(o) == _training(r)} for r in said}
    return {r.checkpoint_sha256: r.value for r in said if len(alike[_training(r)]) > 1}


def _training(row: Record) -> tuple[str, str, str]:
    return row.method, row.variant, row.train_data


def _horizontal(weights: dict[str, float], distances: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Axis label -> checkpoint -> where it stands: one axis a kind of distance, or the weights themselves."""
    panels: dict[str, dict[str, float]] = {}
    for r in distances:
        if is_distance(r) and r.checkpoint_sha256 in weights:
            z = r.z.partition(" ")[0]  # priors have their hash behind the word
            label = f"{r.metric} (lower is better)\nz {z}, {r.sampler} {r.nfe}, {r.dataset}, n {r.n}"
            panels.setdefault(label, {})[r.checkpoint_sha256] = r.value
    return panels or {"weight of the total correlation": weights}


def _subject(row: Record) -> tuple[str, str, str]:
    return row.model, row.checkpoint_sha256, row.dataset


def _line(row: Record) -> str:
    return f"{row.train_data}: {row.protocol}, z {row.z}, n {row.n} of {row.dataset}, {row.latent_dim} dimensions"


def _cell(row: Record, low: float | None, high: float | None) -> str:
    interval = ""
    if low is not None and high is not None:
        interval = " [{:.3f}, {:.3f}]".format(*holding(row.value, low, high))
    error = "" if row.stderr is None else f" ± {row.stderr:.3f}"
    return f"{row.value:.3f}{error}{interval}"
