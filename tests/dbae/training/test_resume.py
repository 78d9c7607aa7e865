"""Training that is stopped, killed or broken, and goes on."""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_model import small_card, small_model
from torch import Tensor
from training_runs import CONFIG, Net, breaks_at, denoising, names, rows, run

from dbae.checkpoints import own as checkpoint
from dbae.checkpoints.own import Card
from dbae.support.errors import UserError
from dbae.train import objective as dbae_objective
from dbae.training.folder import RunFolder, state_path
from dbae.training.loop import Trainer


def content(out: Path) -> dict[str, Any]:
    """Everything that the newest checkpoint holds, but for the number of images asked for."""
    path = RunFolder(out).checkpoints()[-1]
    weights, card = checkpoint.read_tensors(path, "card")
    card["training"].pop("images")
    optimizer, state = checkpoint.read_tensors(state_path(path), "state")
    return weights | optimizer | {"card": json.dumps(card), "state": json.dumps(state), "name": path.name}


def assert_same(a: Path, b: Path) -> None:
    found, expected = content(a), content(b)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value) if isinstance(value, Tensor) else found[key] == value, key


@pytest.mark.parametrize(("layout", "optimizer"), [(True, "radam"), (False, "radam"), (True, "adamw")])
def test_resumed_run_is_the_same_run(tmp_path, layout, optimizer):
    """A whole DBAE: dropout, batch norm, spectral norm, two epochs with flips, another memory layout, a warm-up."""

    def train(out: Path, **options: Any) -> None:
        model = small_model()
        run(
            out, objective=dbae_objective, model=model, card=small_card(model), accumulate=2, ema_warmup=True,
            channels_last=layout, log_every=1, optimizer=optimizer, warmup_images=56, **options,
        )  # fmt: skip

    train(tmp_path / "whole")
    train(tmp_path / "parts", images=40)
    train(tmp_path / "parts", resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")
    columns = ("images", "step", "loss", "mse", "grad_norm")
    found, expected = ([[row[c] for c in columns] for row in rows(tmp_path / n)] for n in ("parts", "whole"))
    assert found == expected


def test_resumed_run_on_a_cosine_is_the_same_run(tmp_path, monkeypatch):
    """Stopped in the middle, since the rate falls over --images; weights move less than at a constant rate."""
    run(tmp_path / "whole", lr_schedule="cosine")
    run(tmp_path / "constant")
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "agree", lambda trainer, stopped: trainer.images >= 40)
        run(tmp_path / "parts", lr_schedule="cosine")
    assert names(tmp_path / "parts" / "checkpoints")[-1].startswith("images-000000040")
    with pytest.raises(UserError, match="with these options: images was 80, is 88"):
        run(tmp_path / "parts", lr_schedule="cosine", images=88, resume=True)
    run(tmp_path / "parts", lr_schedule="cosine", resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")
    moved = [(content(tmp_path / name)["raw.weight"] - Net().weight.detach()).norm() for name in ("whole", "constant")]
    assert 0.3 < float(moved[0] / moved[1]) < 0.9


def test_checkpoints_of_before_there_were_schedules_go_on(tmp_path):
    run(tmp_path / "whole")
    _, last = run(tmp_path / "parts", images=32)
    tensors, values = checkpoint.read_tensors(last, "card")
    del values["training"]["lr_schedule"], values["training"]["warmup_images"]
    checkpoint.write_tensors(last, tensors, {"card": json.dumps(values)})
    run(tmp_path / "parts", resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_restored_averages_lie_in_memory_as_the_weights_do(tmp_path):
    model = small_model()
    card = small_card(model)
    run(tmp_path, objective=dbae_objective, model=model, card=card)
    trainer = Trainer(small_model(), dbae_objective, CONFIG, RunFolder(tmp_path), card)
    trainer.start(resume=True)
    trainer.log.close()
    state = trainer.optimizer.state
    assert len(state) == len(list(trainer.model.parameters()))
    assert all(values["exp_avg"].stride() == p.stride() for p, values in state.items())


def test_finished_run_is_left_as_it_is(tmp_path):
    _, last = run(tmp_path)
    before = {p: p.read_bytes() for p in (tmp_path / "checkpoints").iterdir()}
    assert run(tmp_path, resume=True)[1] == last
    assert {p: p.read_bytes() for p in (tmp_path / "checkpoints").iterdir()} == before


def test_resume_in_an_empty_folder_starts_anew(tmp_path):
    run(tmp_path / "a", resume=True)
    run(tmp_path / "b")
    assert_same(tmp_path / "a", tmp_path / "b")


def test_folder_with_a_run_is_refused(tmp_path):
    run(tmp_path)
    temporary = tmp_path / "checkpoints" / ".images-000000096.safetensors.x.tmp"
    temporary.touch()  # perhaps of a run that is still going on
    with pytest.raises(UserError, match=r"holds a run already \(newest: images-000000080\.safetensors\).*--resume"):
        run(tmp_path)
    assert temporary.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 4), ("accumulate", 2), ("lr", 1e-3), ("ema_rate", 0.5), ("ema_warmup", True), ("seed", 1),
        ("precision", "bf16"), ("clip_grad", 1.0), ("flip", False), ("lr_schedule", "cosine"), ("warmup_images", 8),
    ],
)  # fmt: skip
def test_resume_with_other_options_is_refused(tmp_path, option, value):
    run(tmp_path, images=32)
    was = getattr(CONFIG, option)
    with pytest.raises(UserError, match=rf"cannot be resumed with these options: {option} was {was}, is {value}\. Rep"):
        run(tmp_path, resume=True, **{option: value})


def test_another_number_of_processes_needs_leave_and_is_recorded(tmp_path, caplog):
    _, last = run(tmp_path, images=32)
    tensors, values = checkpoint.read_tensors(last, "card")
    checkpoint.write_tensors(last, tensors, {"card": json.dumps(values | {"processes": 4})})
    with pytest.raises(UserError, match=r"processes was 4, is 1 \(--allow-processes goes on with it\)"):
        run(tmp_path, resume=True)
    _, last = run(tmp_path, resume=True, allow_processes=True)
    assert "trained by 4 processes, goes on with 1 and other noise" in caplog.text
    _, values = checkpoint.read_tensors(last, "card")
    assert (values["processes"], values["training"]["processes_before"]) == (1, [4])
    _, last = run(tmp_path, resume=True, images=96)
    assert checkpoint.read_tensors(last, "card")[1]["training"]["processes_before"] == [4]


def test_resume_of_another_model_or_with_other_data_is_refused(tmp_path):
    run(tmp_path, images=32)
    card = Card(method="net", name="net", config={"sizes": (3, 4)}, train_data={"name": "other"})
    with pytest.raises(UserError, match="another model configuration; other training data"):
        run(tmp_path, resume=True, card=card)


def test_resume_may_run_longer_save_more_often_and_log_elsewhere(tmp_path):
    run(tmp_path, images=32)
    _, last = run(tmp_path, resume=True, images=48, save_every=8, keep=5, log_every=3, workers=0)
    assert last.name == "images-000000048.safetensors"


def test_leftovers_of_a_killed_run(tmp_path):
    """Half-written files, a state without weights and rows that will be written again."""
    run(tmp_path, images=32, log_every=1)
    folder = tmp_path / "checkpoints"
    foreign = tmp_path / "checkpoints" / ".other.tmp"
    for leftover in (
        folder / ".images-000000064.safetensors.ab.tmp",
        folder / ".tmpAb3x9Z",
        folder / "images-000000064.state.safetensors",
        tmp_path / ".log.csv.xy.tmp",
        foreign,
    ):
        leftover.write_text("half")
    with open(tmp_path / "log.csv", "a") as log:
        log.write("40,5,0.1,0.1,0.1,1,1\n8")
    run(tmp_path, images=48, resume=True, log_every=1)
    assert [int(row["images"]) for row in rows(tmp_path)] == [8, 16, 24, 32, 40, 48]
    assert rows(tmp_path)[4]["loss"] != "0.1"
    assert foreign.exists()
    foreign.unlink()
    assert len(names(folder)) == 4
    assert "half" not in [p.read_bytes()[:4].decode(errors="ignore") for p in folder.iterdir()]


def test_killed_between_state_and_weights(tmp_path, monkeypatch):
    """The checkpoint before counts, and the run goes on from there."""
    run(tmp_path / "whole")
    save = RunFolder.save

    def killed(self: RunFolder, images: int, *rest: Any) -> None:
        if images == 64:
            raise SystemError("killed")
        save(self, images, *rest)

    monkeypatch.setattr(RunFolder, "save", killed)
    with pytest.raises(SystemError):
        run(tmp_path / "parts")
    monkeypatch.undo()
    assert state_path(RunFolder(tmp_path / "parts").checkpoint(64)).exists()
    assert [p.name for p in RunFolder(tmp_path / "parts").checkpoints()] == ["images-000000032.safetensors"]
    run(tmp_path / "parts", resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("save_every", [8, 24, 56])
def test_rows_are_those_of_the_whole_run_wherever_it_was_interrupted(tmp_path, save_every):
    """A row every three steps: checkpoints fall between them."""
    run(tmp_path / "whole", log_every=3)
    run(tmp_path / "parts", images=40, log_every=3, save_every=save_every)
    run(tmp_path / "parts", resume=True, log_every=3)
    columns = ("images", "step", "loss", "mse", "grad_norm")
    found, expected = ([[row[c] for c in columns] for row in rows(tmp_path / n)] for n in ("parts", "whole"))
    assert found == expected
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_states_of_before_running_sums_were_kept_go_on(tmp_path):
    _, last = run(tmp_path, images=32, log_every=3)
    tensors, values = checkpoint.read_tensors(state_path(last), "state")
    del values["log"]
    checkpoint.write_tensors(state_path(last), tensors, {"state": json.dumps(values)})
    run(tmp_path, resume=True, log_every=3)
    assert [int(row["images"]) for row in rows(tmp_path)] == [24, 32, 48, 72, 80]
    assert all(math.isfinite(float(row["loss"])) for row in rows(tmp_path))


def test_a_picture_due_at_a_checkpoint_is_made_by_the_resumed_run(tmp_path, monkeypatch):
    made: list[str] = []
    save = Trainer.save

    def killed(self: Trainer) -> Path:
        path = save(self)
        if self.images == 64:
            raise SystemError("killed")
        return path

    monkeypatch.setattr(Trainer, "save", killed)
    with pytest.raises(SystemError):
        run(tmp_path, preview=lambda model, path: made.append(path.name))
    monkeypatch.undo()
    run(tmp_path, resume=True, preview=lambda model, path: made.append(path.name))
    assert made == ["images-000000032.png", "images-000000064.png"]


def test_a_folder_in_which_another_run_is_at_work_is_refused(tmp_path):
    run(tmp_path, images=32)
    (tmp_path / "checkpoints" / ".images-000000064.safetensors.x.tmp").touch()
    handle = os.open(tmp_path / ".lock", os.O_CREAT | os.O_RDWR)  # another process would have its own
    os.write(handle, b"process 1 on there")
    fcntl.flock(handle, fcntl.LOCK_EX)
    for resume in (True, False):
        with pytest.raises(UserError, match=r"another run is at work in this folder \(process 1 on there\)"):
            run(tmp_path, resume=resume)
    assert (tmp_path / "checkpoints" / ".images-000000064.safetensors.x.tmp").exists()
    os.close(handle)
    run(tmp_path, resume=True)
    assert names(tmp_path) == ["checkpoints", "log.csv", "milestones"]


def test_truncated_checkpoint_is_named(tmp_path):
    _, last = run(tmp_path)
    for path in (last, state_path(last)):
        data = path.read_bytes()
        path.write_bytes(data[:-10])
        with pytest.raises(UserError, match=f"{path.name} .*not a complete safetensors file"):
            run(tmp_path, resume=True)
        path.write_bytes(data)


def test_sigterm_saves_and_returns(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    calls = []

    def objective(*arguments: Any) -> SimpleNamespace:
        calls.append(None)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return denoising(*arguments)

    _, last = run(tmp_path / "parts", objective=objective, save_every=1000)
    assert last.name == "images-000000024.safetensors"
    assert signal.getsignal(signal.SIGTERM) is before
    run(tmp_path / "parts", resume=True)
    run(tmp_path / "whole")
    assert_same(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("how", ["nan", "inf", "gradient"])
@pytest.mark.parametrize("log_every", [1, 100])
def test_broken_training_stops_and_names_the_last_good_checkpoint(tmp_path, how, log_every):
    """The sixth step breaks, milestone and checkpoint of the eighth are due: neither may hold what is broken."""
    with pytest.raises(UserError, match=r"NaN or infinite in steps .* The last good checkpoint is .*000000032\.safete"):
        run(tmp_path, objective=breaks_at(6, how), log_every=log_every, milestone_every=64)
    assert names(tmp_path / "checkpoints") == ["images-000000032.safetensors", "images-000000032.state.safetensors"]
    assert not (tmp_path / "milestones").exists()
    assert all(math.isfinite(float(row["loss"])) for row in rows(tmp_path))


def test_training_that_breaks_at_once(tmp_path):
    with pytest.raises(UserError, match=r"No checkpoint was saved\. .* --lr or --clip-grad 1 usually"):
        run(tmp_path, objective=breaks_at(1, "nan"))
    assert not (tmp_path / "checkpoints").exists()


def test_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    run(tmp_path, images=32)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match=r"images-000000064\.state\.safetensors: could not be written \(No space left"):
        run(tmp_path, resume=True, milestone_every=1000)
    assert names(tmp_path / "checkpoints") == ["images-000000032.safetensors", "images-000000032.state.safetensors"]
    monkeypatch.undo()
    run(tmp_path, resume=True)
    run(tmp_path / "whole")
    assert_same(tmp_path, tmp_path / "whole")


@pytest.mark.parametrize("content", [b"images,step\n\xff\xfe", b"a" * 200_000], ids=["bytes", "one long field"])
def test_log_that_is_none_is_named(tmp_path, content):
    run(tmp_path, images=16)
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"log\.csv: expected the log of a training run, found other bytes"):
        run(tmp_path, images=24, resume=True)
    (tmp_path / "log.csv").unlink()
    run(tmp_path, images=32, resume=True)
    assert [int(row["images"]) for row in rows(tmp_path)][-1] == 32
