"""The wheel: it has what the checkout has, nothing else at its top, and works without a checkout in an empty folder."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.__main__ import PACKAGES

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def tracked(*under: str) -> list[str]:
    """Files of the project, new ones included."""
    if not (ROOT / ".git").exists():
        pytest.skip("only in a checkout it is known which files are the project's")
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", *under]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in listed if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel of a copy of the project, unpacked as pip does."""
    copy, out, site = (tmp_path_factory.mktemp(name) for name in ("copy", "out", "site"))
    for name in tracked(*PACKAGES, "results/paper", "*.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    built = subprocess.run([sys.executable, "-c", BUILD, str(out)], cwd=copy, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = out.glob("dbae_bench-*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    return site


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """What the console script prints in a folder, with the wheel and no checkout."""
    script = "import sys; from benchmarks.__main__ import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    environment = {name: value for name, value in environment.items() if name not in ("DBAE_CHECKPOINTS", "DBAE_DATA")}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_has_every_file_of_the_packages_and_the_published_tables(installed):
    wanted = set(tracked(*PACKAGES))
    wanted |= {f"baselines/paper/{Path(name).name}" for name in tracked("results/paper")}
    found = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert {name for name in found if not name.startswith("dbae_bench-")} == wanted
    assert (installed / "baselines/paper/table5.csv").read_bytes() == (ROOT / "results/paper/table5.csv").read_bytes()


def test_its_top_level_names_are_the_three_packages(installed):
    (info,) = installed.glob("dbae_bench-*.dist-info")
    assert {path.name for path in installed.iterdir()} - {info.name} == set(PACKAGES)
    assert set((info / "top_level.txt").read_text().split()) == set(PACKAGES)
    assert "dbae-bench = benchmarks.__main__:main" in (info / "entry_points.txt").read_text()


def test_it_reproduces_in_an_empty_folder(installed, tmp_path):
    plan = run(installed, tmp_path, "reproduce", "table5", "--dry-run")
    assert "untrained:faces32" in plan
    assert not list(tmp_path.iterdir())
    tables = {row["name"]: row["numbers"] for row in json.loads(run(installed, tmp_path, "ls", "tables", "--json"))}
    with open(ROOT / "results/paper/table2.csv", newline="", encoding="utf-8") as file:
        assert tables["table2"] == len(list(csv.DictReader(file)))


def test_it_says_that_it_is_complete(installed, tmp_path):
    rows = {row["what"]: row for row in json.loads(run(installed, tmp_path, "validate", "--json"))}
    assert all(row["there"] for row in rows.values() if row["needed"])
    assert rows["published tables"]["found"] == f"{len(list((installed / 'baselines/paper').glob('*.csv')))} files"
