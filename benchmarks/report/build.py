"""Tables of results made from the records of result sets."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.cost.report import unit_of
from benchmarks.report.board import CONTROLS, SEEN, Board, Cell, Column, Row
from benchmarks.report.marks import marked
from benchmarks.report.numbers import Number, interval_ends, spread
from benchmarks.report.published import published
from benchmarks.report.sources import ResultSet
from benchmarks.results import Record
from benchmarks.results.models import Model, names_of
from benchmarks.results.pair import without_single_seeds

TASKS = ("downstream", "reconstruction", "generation", "disentanglement", "variation", "trajectories", "cost")
METRICS = (
    *("AP", "Pearson_r", "SSIM", "LPIPS", "MSE", "PSNR", "FID", "FD", "KD", "Precision", "Recall", "TAD", "ATTRS"),
    *("total_time_ms", "training_time", "testing_time", "parameters_M", "trainable_parameters_M"),
)
"""Columns in their usual order; others after them. Of a name with something behind it the beginning counts."""
_MANY = 12
"""Rows above which a table shows only the lead ones at first."""


def boards(sets: Sequence[ResultSet]) -> list[Board]:
    """All tables of the sets, tasks in their usual order, protocol `standard` first."""
    found: dict[tuple[str, str, str, int, str], list[tuple[str, Path, Record]]] = defaultdict(list)
    ends: dict[Path, dict[tuple[object, ...], float]] = {}
    for one in sets:
        for path, records in one.files.items():
            ends[path] = interval_ends(records)
            for r in without_single_seeds([r for r in records if not r.diagnostic]):
                found[r.task, r.dataset, r.protocol, r.task_version, r.data_sha256].append((one.name, path, r))
    return [_board(key, found[key], ends) for key in sorted(found, key=_order)]


def _order(key: tuple[str, str, str, int, str]) -> tuple[object, ...]:
    task, dataset, protocol, version, sha = key
    place = TASKS.index(task) if task in TASKS else len(TASKS)
    return place, task, dataset, protocol != "standard", protocol, -version, sha


def _board(
    key: tuple[str, str, str, int, str],
    entries: Sequence[tuple[str, Path, Record]],
    ends: Mapping[Path, Mapping[tuple[object, ...], float]],
) -> Board:
    columns = _columns([record for _, _, record in entries])
    names = names_of(record for _, _, record in entries)
    drafts: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for name, path, record in entries:
        column, model = columns[_column(record)], Model.of(record)
        rows = drafts[name, group_of(record), *_setting(record)]
        without = [row for row in rows if column not in row.cells]
        free = next((row for row in without if path in _files(row)), without[0] if without else None)
        if free is None:
            own = " ".join(names[model].replace(model.train_data, "").split())  # what it was trained on is a setting
            free = Row(model, own, name, group_of(record), {}, {})
            rows.append(free)
        free.cells[column] = Cell(Number(record, path, spread(record, path, ends[path])))
    shared, found = _told_apart([row for some in drafts.values() for row in some])
    used = sorted(columns.values(), key=lambda column: (not column.lead, _place(column), column.label))
    board = Board(*key, shared, tuple(used), tuple(marked(found, used)))
    return dataclasses.replace(board, published=published(board))


def _told_apart(rows: Sequence[Row]) -> tuple[dict[str, str], list[Row]]:
    """Settings that all rows share, and the rows with those that tell them apart; which of them lead."""
    settings = [_settings(row) for row in rows]
    _tell_namesakes_apart(rows, settings)
    values = {h: list(dict.fromkeys(one[h] for one in settings if one[h])) for h in settings[0]}
    models = [one for row, one in zip(rows, settings, strict=True) if row.group != CONTROLS] or settings
    shared = {h: found[0] for h, found in values.items() if len(found) == 1 and all(one[h] for one in models)}
    apart = [{h: text for h, text in one.items() if h not in shared} for one in settings]
    found = zip(rows, apart, _leads(rows), strict=True)
    return shared, [dataclasses.replace(row, settings=told, lead=lead) for row, told, lead in found]


def _tell_namesakes_apart(rows: Sequence[Row], settings: Sequence[dict[str, str]]) -> None:
    """Say the seeds of the probe, else the files, of rows that nothing else tells apart."""
    for heading in ("seeds", "file"):
        alike: dict[tuple[object, ...], list[tuple[str, dict[str, str]]]] = defaultdict(list)
        for row, one in zip(rows, settings, strict=True):
            text = _seeds(row.first) if heading == "seeds" else ", ".join(sorted(p.name for p in _files(row)))
            alike[row.set, row.name, row.group, *one.values()].append((text, one))
        for namesakes in alike.values():
            several = len({text for text, _ in namesakes}) > 1
            for text, one in namesakes:
                one[heading] = text if several else ""


def _seeds(record: Record) -> str:
    """The seeds of a probe; "" of other tasks."""
    return record.seed if record.task == "downstream" else ""


def _files(row: Row) -> set[Path]:
    return {cell.number.path for cell in row.cells.values()}


def group_of(record: Record) -> str:
    """Which numbers a record's may be compared with."""
    if record.weights == "control":
        return CONTROLS
    if record.task == "reconstruction":
        kept = record.x_T == "inferred" or record.z == "inferred x_T"
        return "with an x_T inferred from the image and kept beside z" if kept else "from z alone"
    if record.task == "generation":
        return "new images" if record.z.startswith("prior") else "autoencoded images"
    return "models"


def _setting(record: Record) -> tuple[object, ...]:
    """What tells rows of one model apart; of costs, whose columns each have settings of their own, nothing."""
    if record.task == "cost":
        return record.model, record.checkpoint_sha256, record.precision
    sampler = (record.sampler, record.grid, record.churn, record.eta, record.boot_noise, record.end_data)
    evaluations = (record.nfe_requested, record.nfe, record.encode_nfe)
    return (
        Model.of(record),
        *sampler,
        *evaluations,
        record.x_T,
        record.z,
        record.n_train,
        record.precision,
        _seeds(record),
    )


def _settings(row: Row) -> dict[str, str]:
    """Heading -> text, of those that say something."""
    records = [cell.number.record for cell in row.cells.values()]

    def of(name: str) -> str:
        return next((str(v) for r in records if (v := getattr(r, name)) not in (None, "")), "")

    first = row.first
    sampler = [of("sampler"), f"{of('grid')} grid" if of("grid") not in ("", "native") else ""]
    sampler += [f"{name} {getattr(first, name)}" for name in ("churn", "eta") if getattr(first, name)]
    sampler += ["eps=0"] if first.boot_noise is False else []
    inferred = str(max(record.encode_nfe or 0 for record in records) or "")  # of costs, where single columns have it
    nfe = of("nfe") + (f" + {inferred}" if inferred and of("nfe") else inferred)
    seen = f"{row.images_seen:,}" if row.images_seen else ""
    found = {"set": row.set, "trained on": SEEN.sub("", row.model.train_data).strip(), "images seen": seen}
    found |= {"NFE": nfe, "sampler": " ".join(filter(None, sampler)), "x_T": of("x_T")}
    found |= {"end_data": of("end_data"), "z": of("z"), "length of z": of("latent_dim"), "labels": of("n_train")}
    return found | {"precision": of("precision")}


def _column(record: Record) -> tuple[str, str, str, int]:
    return record.metric, record.attribute, record.split, record.n


def _columns(records: Iterable[Record]) -> dict[tuple[str, str, str, int], Column]:
    """Columns by their key; what n and splits there are is told only where there are several."""
    better = {_column(record): record.better for record in records}
    splits, sizes = ({key[i] for key in better} for i in (2, 3))
    plain = {key[0] for key in better}
    found = {}
    for metric, attribute, split, n in better:
        extra = [attribute if attribute != "mean" else "", split if len(splits) > 1 else ""]
        extra.append(f"n {n}" if len(sizes) > 1 else "")
        lead = attribute == "mean" and not split.endswith("-selected") and not _is_other_convention(metric, plain)
        label = " ".join([_in_words(metric), *filter(None, extra)]) + (
            f" ({unit})" if (unit := unit_of(metric)) else ""
        )
        found[metric, attribute, split, n] = Column(
            metric, attribute, split, n, better[metric, attribute, split, n], label, lead
        )
    if not any(column.lead for column in found.values()):
        return {key: dataclasses.replace(column, lead=True) for key, column in found.items()}
    return found


def _in_words(metric: str) -> str:
    """Without the unit that its name ends in, which stands behind it."""
    name = metric.removesuffix("_M").removesuffix("_ms") if unit_of(metric) else metric
    return name.replace("_", " ")


def _is_other_convention(metric: str, metrics: set[str]) -> bool:
    """SSIM_skimage beside SSIM, MSE_dbae_released beside MSE."""
    return any(metric.startswith(f"{other}_") for other in metrics if other in METRICS)


def _place(column: Column) -> int:
    found = [i for i, metric in enumerate(METRICS) if column.metric.startswith(metric)]
    return found[0] if found else len(METRICS)


def _leads(rows: Sequence[Row]) -> list[bool]:
    """Of a long table: the longest training of a model, at the number of evaluations that most models have.

    Rows of some labels or times only do not lead where there are others.
    """
    whole = [not row.first.partial for row in rows]
    if sum(whole) <= _MANY:
        return whole if any(whole) else [True] * len(rows)
    longest: dict[tuple[str, str], int] = Counter()
    for row in rows:
        longest[row.set, row.model.model] = max(longest[row.set, row.model.model], row.images_seen)
    budgets = sorted({r.first.nfe_requested for r in rows if r.first.nfe_requested is not None})
    at = {budget: [r for r in rows if r.first.nfe_requested == budget] for budget in budgets}
    usual = max(at, key=lambda b: (len({r.model for r in at[b]}), len(at[b]), b), default=None)
    return [
        all_of_it
        and row.images_seen in (0, longest[row.set, row.model.model])
        and row.first.nfe_requested in (None, usual)
        for row, all_of_it in zip(rows, whole, strict=True)
    ]
