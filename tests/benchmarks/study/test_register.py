"""Tables have the rows of earlier calls of the same study, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.study.plan import SCALES, Plan, Training, planned
from benchmarks.study.register import Register, Run, portable
from benchmarks.study.rows import ROWS
from dbae.support.errors import UserError


def plan_of(folder: Path, units: int = 110_000) -> Plan:
    scale = SCALES["cpu"]
    return planned((), type(scale)(scale.preset, scale.size, units, scale.batch), "faces", folder / "runs")


def complete(plan: Plan, key: str, seed: int = 0, rate: float = 1e-3, base: Training | None = None) -> Run:
    """What would be noted of a training; without its folder."""
    training = plan.training(ROWS[key], seed, rate, base)
    frozen = training.pretrained and training.pretrained.relative_to(training.runs).as_posix()
    points = {training.images // 2: f"{key}{seed} half", training.images: f"{key}{seed}"}
    about = (key, seed, rate, training.images, frozen, {"0.001": 0.25}, "a processor", 60, portable(training))
    return Run(*about, points)


def register(plan: Plan, folder: Path, *added: Run, data: str = "a") -> dict[str, Run]:
    found = Register(folder, plan.study(data) | {"units": plan.scale.units})
    for run in added:
        found.add(run)
    return found.runs()


def test_runs_of_earlier_calls_are_found_as_they_were(tmp_path):
    plan = plan_of(tmp_path)
    base = plan.training(ROWS["ddim"], 0, 1e-3)
    runs = [complete(plan, "ddim"), complete(plan, "vae", seed=1, rate=0.004), complete(plan, "pdae", base=base)]
    assert [*register(plan, tmp_path, *runs).values()] == runs
    assert [*register(plan, tmp_path).values()] == runs
    assert [*Register(tmp_path).runs().values()] == runs
    assert str(tmp_path) not in (tmp_path / "study.json").read_text()


def test_a_row_has_one_learning_rate(tmp_path):
    plan = plan_of(tmp_path)
    vae, again, ae = complete(plan, "vae"), complete(plan, "vae", seed=1), complete(plan, "ae")
    assert set(register(plan, tmp_path, vae, again, ae)) == {"vae-seed0", "vae-seed1", "ae-seed0"}
    other = complete(plan, "vae", seed=1, rate=0.004)
    assert register(plan, tmp_path, other) == {"ae-seed0": ae, "vae-seed1": other}


def test_calls_at_the_same_time_lose_no_run(tmp_path):
    plan = plan_of(tmp_path)
    first, second = (Register(tmp_path, plan.study("a") | {"units": plan.scale.units}) for _ in range(2))
    first.add(complete(plan, "vae"))
    second.add(complete(plan, "ae"))
    second.group({"who": ["Male"]})
    first.add(complete(plan, "vae", seed=1))
    assert set(second.runs()) == {"vae-seed0", "vae-seed1", "ae-seed0"}
    assert first.groups() == {"who": ["Male"]}


def test_other_studies_leave_the_tables(tmp_path, caplog):
    plan, longer = plan_of(tmp_path), plan_of(tmp_path, 220_000)
    ae = complete(plan, "ae")
    register(plan, tmp_path, ae)
    assert register(longer, tmp_path) == {}
    assert "of a study with other units;" in caplog.text
    assert register(plan, tmp_path, data="b") == {}
    assert register(plan, tmp_path) == {"ae-seed0": ae}  # until a run of another study is added
    register(longer, tmp_path, complete(longer, "ae"))
    assert register(plan, tmp_path) == {}


def test_a_folder_of_no_study_is_named(tmp_path):
    with pytest.raises(UserError, match=r"study\.json: expected the runs of a study, found no such file"):
        Register(tmp_path)


@pytest.mark.parametrize(
    "change", [{"row": "nobody"}, {"seed": 0, "more": 1}, {"points": [1]}, {"points": {"one": "a"}}, []]
)
def test_a_damaged_file_is_named(tmp_path, change):
    plan = plan_of(tmp_path)
    register(plan, tmp_path, complete(plan, "vae"))
    path = tmp_path / "study.json"
    noted = json.loads(path.read_text())
    if change:
        noted["runs"]["vae-seed0"] |= change
    else:
        noted["runs"] = change
    path.write_text(json.dumps(noted))
    with pytest.raises(UserError, match=r"study\.json: damaged, or of another version.*Remove the file"):
        Register(tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match=r"study\.json: expected a JSON object"):
        Register(tmp_path)
