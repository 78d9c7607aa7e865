"""Tables have the rows of earlier calls of the same study, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.study.plan import SCALES, Plan, Training, planned
from benchmarks.study.register import Register
from dbae.support.errors import UserError


def plan_of(folder: Path, units: int = 110_000) -> Plan:
    scale = SCALES["cpu"]
    return planned((), type(scale)(scale.preset, scale.size, units, scale.batch), "faces", folder / "runs")


def complete(plan: Plan, key: str, seed: int = 0, rate: float = 1e-3, base: Training | None = None) -> Training:
    training = plan.training({row.key: row for row in plan.rows}[key], seed, rate, base)
    training.checkpoint().parent.mkdir(parents=True, exist_ok=True)
    training.checkpoint().touch()
    return training


def register(plan: Plan, folder: Path, *added: Training, data: str = "a") -> dict[str, Training]:
    found = Register(plan, folder, data)
    for training in added:
        found.add(training)
    return found.trainings


def test_runs_of_earlier_calls_are_found_as_they_were(tmp_path):
    plan = plan_of(tmp_path)
    ddim = complete(plan, "ddim")
    runs = [ddim, complete(plan, "vae", seed=1, rate=0.004), complete(plan, "pdae", base=ddim)]
    assert [*register(plan, tmp_path, *runs).values()] == runs
    assert [*register(plan, tmp_path).values()] == runs
    assert str(tmp_path) not in (tmp_path / "study.json").read_text()


def test_a_row_has_one_learning_rate(tmp_path):
    plan = plan_of(tmp_path)
    vae, again, ae = complete(plan, "vae"), complete(plan, "vae", seed=1), complete(plan, "ae")
    assert set(register(plan, tmp_path, vae, again, ae)) == {"vae-seed0", "vae-seed1", "ae-seed0"}
    other = complete(plan, "vae", seed=1, rate=0.004)
    assert register(plan, tmp_path, other) == {"ae-seed0": ae, "vae-seed1": other}


def test_other_studies_and_lost_runs_leave_the_tables(tmp_path, caplog):
    plan, longer = plan_of(tmp_path), plan_of(tmp_path, 220_000)
    vae, ae = complete(plan, "vae"), complete(plan, "ae")
    register(plan, tmp_path, vae, ae)
    vae.checkpoint().unlink()
    assert register(plan, tmp_path) == {"ae-seed0": ae}
    assert "vae-seed0: not in the tables" in caplog.text
    assert register(longer, tmp_path) == {}
    assert "of a study with other units;" in caplog.text
    assert register(plan, tmp_path, data="b") == {}
    assert register(plan, tmp_path) == {"ae-seed0": ae}  # until a run of another study is added
    register(longer, tmp_path, complete(longer, "ae"))
    assert register(plan, tmp_path) == {}


@pytest.mark.parametrize("change", [{"row": "nobody"}, {"seed": None, "row": None}, {"frozen_network": 1}])
def test_a_damaged_file_is_named(tmp_path, change):
    plan = plan_of(tmp_path)
    register(plan, tmp_path, complete(plan, "vae"))
    path = tmp_path / "study.json"
    noted = json.loads(path.read_text())
    noted["runs"]["vae-seed0"] |= change
    path.write_text(json.dumps(noted))
    with pytest.raises(UserError, match=r"study\.json: vae-seed0: expected row, seed"):
        Register(plan, tmp_path, "a")
    path.write_text("{")
    with pytest.raises(UserError, match=r"study\.json: expected a JSON object"):
        Register(plan, tmp_path, "a")
