"""Every interval that the README and the pages of docs print is what stands beside it gives."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pandas
import pytest

from benchmarks import compare
from dbae.support import cli

ROOT = Path(__file__).parents[1]
NUMBER = r"([+-]\d*\.\d+)"
INTERVAL = re.compile(NUMBER + r" \([^()]*?" + NUMBER + r" to " + NUMBER + r"\)")
COMMAND = re.compile(r"python -m benchmarks\.compare ([^`\n]+)")
DIFFERENCES = re.compile(r"`(results/\S+/differences\.csv)`")


def statements(text: str) -> list[tuple[str, list[tuple[str, ...]], list[str], list[str]]]:
    """Paragraphs and list items with an interval: their beginning, the intervals, and the commands and files beside."""
    parts = re.split(r"\n\s*\n|\n(?=- )", text)
    found = [(part, [m.groups() for m in INTERVAL.finditer(" ".join(part.split()))]) for part in parts]
    return [(part[:60], n, COMMAND.findall(part), DIFFERENCES.findall(part)) for part, n in found if n]


SYSTEMS = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
_PAGE = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
TRIALS, STUDY = _PAGE.partition("### Dropout")[2].partition("\n## ")[0], _PAGE.partition("## All rows")[2]
PAGES = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/real_faces.md")]
STATEMENTS = statements("\n\n".join([*PAGES, SYSTEMS, TRIALS, STUDY]))
TABLE = re.compile(r"`(results/\S+\.csv)`(?:(?!`results)[^|])*\n\n((?:\|.*\|\n)+)")


def cells_of(table: str) -> list[list[str]]:
    """Its lines, the heading and the rule below it among them."""
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]


def tables(text: str) -> list[tuple[str, list[dict[str, str]]]]:
    """Tables of models after a paragraph with the name of a results file: that file, and lines by their headings."""
    found = []
    for path, table in TABLE.findall(text):
        head, _, *lines = cells_of(table)
        found.append((path, [dict(zip(head, line, strict=True)) for line in lines]))
    return [(path, lines) for path, lines in found if "model" in lines[0]]


def test_intervals_are_recognised():
    text = "- AP +.110 (95 %\n  +.072 to +.176), r -1.2\n  `python -m benchmarks.compare a.csv --baseline b`\n- no"
    assert statements(text) == [(text[:60], [("+.110", "+.072", "+.176")], ["a.csv --baseline b"], [])]
    assert STATEMENTS


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda s: s[0][:30].strip())
def test_what_stands_beside_an_interval_gives_it(statement, tmp_path, monkeypatch):
    _, intervals, commands, files = statement
    assert commands or files, "an interval without the command or the file that gives it"
    monkeypatch.chdir(ROOT)
    lines = [line for file in files for line in csv.DictReader(Path(file).read_text(encoding="utf-8").splitlines())]
    for number, command in enumerate(commands):
        out = tmp_path / f"{number}.csv"
        cli.run(compare.main, compare.Options, module="benchmarks.compare", description="",
                arguments=[*shlex.split(command), "--out", str(out)])  # fmt: skip
        with open(out, newline="", encoding="utf-8") as file:
            lines += csv.DictReader(file)
    given = [tuple(float(line[name]) for name in ("difference", "low", "high")) for line in lines if line["low"]]
    for printed in intervals:
        digits = len(printed[0].partition(".")[2])
        half = 0.5 * 10**-digits + 1e-9
        close = [g for g in given if all(abs(x - float(p)) <= half for x, p in zip(g, printed, strict=True))]
        assert close, f"{printed} is not among {given}"


CALLED = {
    "pca": "PCA", "DBAE": r"DBAE(?![-+])", "DBAE+TC": "total correlation", "VAE": r"(?<!-)VAE",
    "DBAE, small sigma at first": r"small sigma|sigma \.02|little noise at first",
    "PDAE, DDIM at no cost": "DDIM that costs nothing",
}  # fmt: skip
"""How sentences call a row of the study where not by its name."""
METRIC = re.compile(r"\bAP\b|\br\b")
GROUPS = {"who": "of the person", "picture": "of the picture"}


def quoted(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """Intervals of a paragraph about the study, each with the metric that was named last before it."""
    text = " ".join(text.split())
    found = [(METRIC.findall(text[: m.start()])[-1], m.groups()) for m in INTERVAL.finditer(text)]
    return [({"r": "Pearson_r"}.get(metric, metric), numbers) for metric, numbers in found]


@pytest.mark.parametrize(
    "text",
    [part for page in (PAGES[0], STUDY) for part in re.split(r"\n\s*\n|\n(?=- )", page) if DIFFERENCES.search(part)],
    ids=lambda text: text[:30].strip(),
)
def test_an_interval_of_the_study_is_of_rows_that_its_sentences_name(text):
    """Other pairs have the same three digits by chance."""
    [path] = set(DIFFERENCES.findall(text))
    lines = pandas.read_csv(ROOT / path)
    for metric, printed in quoted(text):
        of_metric = lines[lines["metric"] == metric]
        close = of_metric[[_matches(" ".join(printed), [*line]) for line in of_metric[
            ["difference", "low", "high"]].to_numpy()]]  # fmt: skip
        named = [
            line for line in close.itertuples()
            if all(re.search(CALLED.get(name, re.escape(name)), text) for name in (line.row, line.baseline))
            and (line.group not in GROUPS or GROUPS[line.group] in " ".join(text.split()))
        ]  # fmt: skip
        assert named, (metric, printed, close)


def test_tables_are_recognised():
    text = "From `results/a/b.csv`, seed\n0:\n\n| model | MIG |\n|---|---|\n| pca | .25 |\n"
    assert tables(text) == [("results/a/b.csv", [{"model": "pca", "MIG": ".25"}])]
    assert tables(SYSTEMS)


@pytest.mark.parametrize(("path", "lines"), tables(SYSTEMS), ids=lambda value: value if isinstance(value, str) else "")
def test_a_table_has_the_numbers_of_its_file(path, lines):
    """A line is named by words of `model` and `method` of its rows, a column by an attribute, if any, and a metric."""
    with open(ROOT / path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["seed"].startswith("mean of")]
    for line in lines:
        names = set(line.pop("model").split())
        of_line = [row for row in rows if row["model"] in names and names <= {row["model"], row["method"]}]
        shortest = min(int(row["latent_dim"] or 0) for row in of_line)  # PCA stands beside longer codes too
        of_line = [row for row in of_line if int(row["latent_dim"] or 0) == shortest]
        assert line
        for heading, cell in line.items():
            attribute, _, metric = f"mean {heading}".rpartition(" ")
            where = (attribute.split()[-1], metric)
            values = {float(row["value"]) for row in of_line if (row["attribute"], row["metric"]) == where}
            assert len(values) == 1, (names, heading, values)
            assert _matches(cell, [*values]), (names, heading, cell)


def test_share_of_the_first_axis_is_that_of_its_file():
    with open(ROOT / "results/systems/axes.csv", newline="", encoding="utf-8") as file:
        rows = [(row["rank"], float(row["strength"])) for row in csv.DictReader(file)]
    share = sum(strength for rank, strength in rows if rank == "1") / sum(strength for _, strength in rows)
    [printed] = re.findall(r"has (\S+) % of all guidance", SYSTEMS)
    assert f"{share:.1%}" == f"{printed}%"


@pytest.mark.parametrize("metric", ["AP", "Pearson_r"])
def test_least_and_best_times_of_drl_are_those_of_its_file(metric):
    with open(ROOT / "results/systems/drl/downstream.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["attribute"], row["metric"]) == ("mean", metric)]
    at = {int(t): float(row["value"]) for row in rows if row["weights"] == "trained"
          for t in re.findall(r"^mean at t=(\d+)$", row["z"])}  # fmt: skip
    assert len(at) == 11
    low, high = (f"{at[t]:.3f}".lstrip("0") + f" (t = {t})" for t in (min(at, key=at.get), max(at, key=at.get)))
    assert f"{low} to {high}" in " ".join(SYSTEMS.split())


def test_the_table_of_emphases_is_that_of_its_files():
    frames = [
        pandas.read_csv(ROOT / "results/systems/emphasis" / f"downstream{end}.csv") for end in ("", "_attributes")
    ]
    rows = pandas.concat(frames)
    rows = rows[(rows["z"] == "mean at t=100") & (rows["seed"].astype(str).isin(["0", "0.0"]))]
    [table] = re.findall(r"((?:\| trained on.*\n)(?:\|.*(?:\n|$))+)", SYSTEMS)
    head, _, *lines = cells_of(table)
    assert len(lines) == 3
    for name, *cells in lines:
        of_model = rows[rows["model"] == name.split()[-1]]
        for heading, cell in zip(head[1:], cells, strict=True):
            found = of_model[(of_model["attribute"] + " " + of_model["metric"]) == heading]["value"].unique()
            assert len(found) == 1
            assert _matches(cell, found.tolist()), (name, heading, cell, found)


@pytest.mark.parametrize("page", ["README.md", "docs/study.md"])
def test_tables_of_the_study_are_those_of_its_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"`(results/study-[^`]+)/`[^|]*\n\n((?:\| method.*\n)(?:\|.*\|\n)+)", text)
    assert found
    for folder, table in found:
        head, _, *lines = [[cell.strip("* ") for cell in line] for line in cells_of(table)]
        for name, *cells in lines:
            [(length, row)] = re.findall(r"(?:z of (\d+) numbers:\* )?(.*)", name)[:1]
            for heading, cell in zip(head[1:], cells, strict=True):
                if cell or row != "encoders untrained":
                    values = _of_the_study(ROOT / folder, row, int(length or 32), heading)
                    assert _matches(cell.replace(",", ""), values), (folder, name, heading, cell, values)


COLUMNS = {
    "mean AP": ("table1", "AP"), "AP, who": ("groups", "who AP"), "AP, picture": ("groups", "picture AP"),
    "mean Pearson r": ("table1", "Pearson_r"), "r, who": ("groups", "who Pearson_r"),
    "r, picture": ("groups", "picture Pearson_r"), "TAD / ATTRS": ("table3", "TAD ATTRS"),
    "SSIM at 20 NFE, no x_T kept": ("table2", "SSIM"), "with inferred x_T": ("table2", "SSIM"),
}  # fmt: skip


def _of_the_study(folder: Path, row: str, length: int, heading: str) -> list[float]:
    """What a table's cell is about; of untrained encoders the least and the most."""
    if heading in ("seeds", "rate", "images"):
        runs = pandas.read_csv(folder / "training.csv").query("row == @row")
        of_runs = {"seeds": [len(runs)], "rate": runs["learning_rate"].unique(), "images": runs["images"].unique()}
        return [*of_runs[heading]][: len(runs)]
    name, columns = COLUMNS[heading]
    lines = pandas.read_csv(folder / f"{name}.csv")
    if name == "table2":
        of_row = lines[(lines["row"] == row) & ((lines["x_T"] == "inferred") == ("inferred" in heading))]
        return of_row.sort_values("nfe")["SSIM"].tail(1).tolist()
    lines = lines[lines["latent_dim"] == length]
    if name == "groups":
        lines = lines.assign(column=lines["group"] + " " + lines["metric"])
        lines = lines.pivot(index="row", columns="column", values="value").reset_index()
        columns = [columns]
    else:
        columns = columns.split()
    if row == "encoders untrained":
        some = lines[lines["row"].str.startswith("untrained")][columns[0]]
        return [some.min(), some.max()]
    [found] = lines[lines["row"] == ("pca" if row == "PCA of pixels" else row)][columns].to_numpy()
    return found.tolist()


def test_what_more_work_does_is_in_the_curves():
    study = " ".join(STUDY.split())
    early, late = (
        pandas.read_csv(ROOT / f"results/study-utkface64-cpu{end}/curve.csv").query("metric == 'AP'").set_index("row")
        for end in ("-40000", "")
    )

    def mean(curve, row, low, high):
        points = curve.loc[row]
        points = points[points["seed"].isin(late.loc[[row], "seed"]) & points["units"].between(low, high)]
        assert len(points) == late.loc[[row], "seed"].nunique()
        return points["value"].mean()

    [cell] = re.findall(r"DBAE-d goes from AP (\.\d+ to \.\d+)", study)
    assert _matches(cell, [mean(early, "DBAE-d", 40_000, 40_000), mean(late, "DBAE-d", 109_000, 111_000)])
    [cells] = re.findall(r"PDAE from (\.\d+ to \.\d+) at its rate and from (\.\d+ to \.\d+) at \.001", study)
    for rate, cell in zip((0.0005, 0.001), cells, strict=True):
        found = []
        for end in ("-40000", ""):
            runs = pandas.read_csv(ROOT / f"results/study-utkface64-cpu{end}/rates.csv")
            of_seed = runs[(runs["row"] == "PDAE") & (runs["seed"] == 0)]
            found.append(of_seed[of_seed["learning_rate"] == rate]["AP"].item())
        assert _matches(cell, found)
    [cell] = re.findall(r"DiffAE's gains nothing: it has (\.\d+) after 20,000", study)
    assert _matches(cell, [mean(late, "DiffAE", 19_000, 21_000)])


RATES = re.compile(r"From `(results/study\S+/rates.csv)`:\n\n((?:\|.*\|\n)+)")
OF_RATES = {
    "loss after a tenth": "loss_after_a_tenth", "loss": "loss", "SSIM of z after a tenth": "SSIM_after_a_tenth",
    "SSIM of z": "SSIM", "AP": "AP", "Pearson r": "Pearson_r",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "table"), RATES.findall((ROOT / "docs" / "study.md").read_text(encoding="utf-8")), ids=["less", "more"]
)
def test_the_table_of_learning_rates_is_that_of_its_file(path, table):
    runs = pandas.read_csv(ROOT / path)
    head, _, *lines = cells_of(table)
    assert len(lines) == len(runs.groupby(["row", "learning_rate"]))
    for row, rate, seeds, *cells in lines:
        found = runs[(runs["row"] == row) & (runs["learning_rate"] == float(rate))]
        assert len(found) == int(seeds)
        for heading, cell in zip(head[3:], cells, strict=True):
            values = found[OF_RATES[heading]].dropna()
            assert _matches(cell, [values.mean()] if len(values) else []), (row, rate, heading)


def _matches(cell: str, values: list[float]) -> bool:
    """Whether the numbers of a cell, without what is in parentheses, are these, as far as they are written."""
    printed = re.findall(r"-?\d*\.?\d+", re.sub(r"\(.*?\)", "", cell))
    return len(printed) == len(values) and all(
        abs(float(text) - value) <= 0.5 * 10 ** -len(text.partition(".")[2]) + 1e-9
        for text, value in zip(printed, values, strict=True)
    )
