"""Tables have the rows of earlier calls of the same study, and no others."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.results import Record
from benchmarks.study.found import grouped
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


def shared(plan: Plan, data: str = "a") -> dict[str, object]:
    return plan.study(data) | {"units": plan.scale.units}


def register(plan: Plan, folder: Path, *added: Run, data: str = "a") -> dict[str, Run]:
    found = Register(folder, shared(plan, data))
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
    first, second = (Register(tmp_path, shared(plan)) for _ in range(2))
    first.add(complete(plan, "vae"))
    second.add(complete(plan, "ae"))
    first.add(complete(plan, "vae", seed=1))
    assert set(second.runs()) == {"vae-seed0", "vae-seed1", "ae-seed0"}


def test_groups_are_kept_also_for_more_units(tmp_path):
    plan, longer = plan_of(tmp_path), plan_of(tmp_path, 220_000)
    Register(tmp_path, shared(plan), {"who": ["Male"]}).add(complete(plan, "ae"))
    assert register(plan, tmp_path, complete(plan, "vae")).keys() == {"ae-seed0", "vae-seed0"}
    for of in (plan, longer):
        assert Register(tmp_path, shared(of)).groups() == {"who": ["Male"]}
    Register(tmp_path, shared(plan), {"young": ["Baby"]})  # until something is added, the file stays as it is
    assert Register(tmp_path).groups() == {"who": ["Male"]}


def test_other_studies_are_kept_beside_each_other(tmp_path, caplog):
    plan, longer = plan_of(tmp_path), plan_of(tmp_path, 220_000)
    ae = complete(plan, "ae")
    register(plan, tmp_path, ae)
    assert register(longer, tmp_path) == {}
    assert "of a study with other units;" in caplog.text
    assert register(plan, tmp_path, data="b") == {}
    more = complete(longer, "vae")
    assert register(longer, tmp_path, more) == {"vae-seed0": more}
    assert Register(tmp_path).runs() == {"vae-seed0": more}
    assert register(plan, tmp_path) == {"ae-seed0": ae}


def test_a_folder_of_no_study_is_named(tmp_path):
    with pytest.raises(UserError, match=r"study\.json: expected the runs of a study, found none"):
        Register(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"row": "nobody"}, {"row": "ae"}, {"seed": "0"}, {"seed": None}, {"images": 0}, {"images": "32"}, {"more": 1},
        {"learning_rate": None}, {"errors": None}, {"errors": {"0.001": None}}, {"seconds": "a"}, {"command": None},
        {"points": {}}, {"points": [1]}, {"points": {"one": "a"}}, {"points": {"16": 5}},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_run_is_named(tmp_path, change):
    damaged(tmp_path, lambda study: study["runs"]["vae-seed0"].update(change))


@pytest.mark.parametrize(
    "change",
    [
        {"runs": []}, {"runs": None}, {"groups": None}, {"groups": {"who": "Male"}}, {"units": "60"}, {"units": 0},
        {"units": None}, {"preset": "faces99"}, {"flags": 1}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_study_is_named(tmp_path, change):
    damaged(tmp_path, lambda study: study.update(change))


def damaged(folder: Path, change: Callable[[dict], None]) -> None:
    plan = plan_of(folder)
    register(plan, folder, complete(plan, "vae"))
    path = folder / "study.json"
    noted = json.loads(path.read_text())
    change(noted["studies"][0])
    path.write_text(json.dumps(noted))
    with pytest.raises(UserError, match=r"study\.json: damaged, or of another version.*Remove the file"):
        Register(folder)


@pytest.mark.parametrize(
    ("text", "reason"), [("{", "expected a JSON object"), ("{}", "damaged, or of another version")]
)
def test_a_damaged_file_is_named(tmp_path, text, reason):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError, match=rf"study\.json: {reason}"):
        Register(tmp_path)


def test_errors_are_those_by_which_the_rate_was_chosen(tmp_path):
    """A file of an earlier call, which compared rates, says nothing of a rate that is given."""
    scale = dataclasses.replace(SCALES["cpu"], rates=(0.001, 0.002))
    plans = [
        planned(("ae",), changed, "faces", tmp_path)
        for changed in (
            scale,
            dataclasses.replace(scale, rates=(0.001,)),
            dataclasses.replace(scale, rate_of={"ae": 0.001}),
        )
    ]
    runs = [plan.training(plan.rows[0], 0, 0.001) for plan in plans]
    runs[0].errors_file.parent.mkdir(parents=True)
    runs[0].errors_file.write_text('{"0.001": 0.5, "0.002": 0.4, "0.004": 0.3}')
    assert [run.compared() for run in runs] == [{"0.001": 0.5, "0.002": 0.4}, {}, {}]


def test_untrained_encoders_of_two_hashes_are_two_controls():
    row = Record(
        task="downstream", protocol="standard", task_version=2, model="untrained", method="AE", dataset="faces",
        split="test", metric="AP", value=0.5, better="higher", n=4, checkpoint_sha256="a" * 64, data_sha256="c" * 64,
        weights="untrained",
    )  # fmt: skip
    other = dataclasses.replace(row, checkpoint_sha256="b" * 64, value=0.6)
    assert list(grouped([row], {}, ("metric",))) == [("untrained AE", "AP")]
    assert list(grouped([row, other], {}, ("metric",))) == [
        ("untrained AE aaaaaaaa", "AP"), ("untrained AE bbbbbbbb", "AP"),
    ]  # fmt: skip
