"""The training loop on a model of a few parameters."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_model import Pixels, small_card, small_model
from torch import Tensor, nn

from dbae import checkpoint
from dbae.checkpoint import Card
from dbae.data import TrainingStream
from dbae.errors import UserError
from dbae.fit import TrainConfig, Trainer, fit
from dbae.runfolder import RunFolder, state_path
from dbae.train import objective as dbae_objective

CONFIG = TrainConfig(
    images=80, batch_size=8, accumulate=1, lr=1e-2, log_every=2, save_every=32, preview_every=32, milestone_every=40
)


class Net(nn.Module):
    """A linear map with dropout: training needs the generator's state at every step."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 3, 1, 1, generator=generator))
        self.dropout = nn.Dropout(0.5)


def denoising(model: Net, x0: Tensor, generator: torch.Generator) -> SimpleNamespace:
    noisy = x0 + torch.randn(x0.shape, generator=generator)
    error = (nn.functional.conv2d(model.dropout(noisy), model.weight) - x0).square().mean((1, 2, 3))
    return SimpleNamespace(loss=error, mse=error.detach())


def plain(model: Net, x0: Tensor, generator: torch.Generator) -> SimpleNamespace:
    """Without noise and dropout, so that a batch may be cut anywhere."""
    error = (nn.functional.conv2d(x0, model.weight) - 1).square().mean((1, 2, 3))
    return SimpleNamespace(loss=error, mse=error.detach())


def breaks_at(step: int, how: str) -> Callable[..., SimpleNamespace]:
    """`plain`, but one step has a loss or a gradient that is not finite."""
    calls = []

    def objective(model: Net, x0: Tensor, generator: torch.Generator) -> SimpleNamespace:
        calls.append(None)
        result = plain(model, x0, generator)
        if len(calls) == step:
            zero = (model.weight * 0).abs().sum()
            result.loss = result.loss + (zero.sqrt() if how == "gradient" else zero + float(how))
        return result

    return objective


def run(
    out: Path, *, objective: Callable[..., Any] = denoising, model: nn.Module | None = None, **options: Any
) -> tuple[nn.Module, Path]:
    """A run of `CONFIG` with other options; gives the model and the last checkpoint."""
    resume, preview = options.pop("resume", False), options.pop("preview", None)
    card = options.pop("card", Card(method="net", name="net", config={"sizes": (3, 3)}))
    config = dataclasses.replace(CONFIG, **options)
    model = model or Net()
    stream = TrainingStream(Pixels(), np.arange(24), config.batch_size, seed=config.seed, flip=config.flip)
    return model, fit(model, objective, stream, config, out, card, preview=preview, resume=resume)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


# --- what a run leaves ------------------------------------------------------------------------------------------------


def test_files_of_a_run(tmp_path):
    """80 images: checkpoints after 32, 64 and at the end, the last two kept; milestones after 40 and 80."""
    model, last = run(tmp_path, preview=lambda model, path: path.parent.mkdir(exist_ok=True) or path.touch())
    assert names(tmp_path) == ["checkpoints", "log.csv", "milestones", "previews"]
    kept = [f"images-{n:09d}{kind}.safetensors" for n in (64, 80) for kind in ("", ".state")]
    assert names(tmp_path / "checkpoints") == sorted(kept)
    assert names(tmp_path / "milestones") == ["images-000000040.safetensors", "images-000000080.safetensors"]
    assert names(tmp_path / "previews") == ["images-000000032.png", "images-000000064.png"]
    assert last == tmp_path / "checkpoints" / "images-000000080.safetensors"
    tensors, card = checkpoint.read_tensors(last, "card")
    assert set(tensors) == {"raw.weight", "ema.weight"}
    assert torch.equal(tensors["raw.weight"], model.weight)
    assert card["images_seen"] == 80
    assert TrainConfig(**card["training"]) == CONFIG
    milestone, card = checkpoint.read_tensors(tmp_path / "milestones" / "images-000000080.safetensors", "card")
    assert torch.equal(milestone["ema.weight"], tensors["ema.weight"])
    assert (set(milestone), card["images_seen"]) == ({"ema.weight"}, 80)


def test_log_has_means_of_the_steps_since_the_last_row(tmp_path):
    run(tmp_path / "means", objective=plain, flip=False)
    run(tmp_path / "steps", objective=plain, flip=False, log_every=1)
    means, steps = rows(tmp_path / "means"), rows(tmp_path / "steps")
    assert [int(row["images"]) for row in means] == [16, 32, 48, 64, 80]
    assert [int(row["step"]) for row in steps] == list(range(1, 11))
    for column in ("loss", "mse", "grad_norm"):
        found = [float(row[column]) for row in means]
        values = [float(row[column]) for row in steps]
        assert found == pytest.approx([(a + b) / 2 for a, b in zip(values[::2], values[1::2], strict=True)], rel=1e-5)
    assert float(steps[-1]["loss"]) < float(steps[0]["loss"])
    assert all(float(row["images_per_second"]) > 0 for row in means)


def test_batches_end_at_the_first_step_that_reaches_the_number_of_images(tmp_path):
    _, last = run(tmp_path, images=81)
    assert last.name == "images-000000088.safetensors"


@pytest.mark.parametrize("keep", [1, 3])
def test_keep_counts_checkpoints_and_spares_milestones(tmp_path, keep):
    run(tmp_path, keep=keep, save_every=8, milestone_every=8)
    assert [p.name for p in RunFolder(tmp_path).checkpoints()] == [
        f"images-{n:09d}.safetensors" for n in range(88 - 8 * keep, 88, 8)
    ]
    assert len(names(tmp_path / "checkpoints")) == 2 * keep
    assert len(names(tmp_path / "milestones")) == 10


def test_preview_sees_the_average_in_evaluation_mode_and_changes_nothing(tmp_path):
    seen = []

    def preview(model: Net, path: Path) -> None:
        seen.append((model.weight.detach().clone(), model.training, path))

    model, _ = run(tmp_path / "a", preview=preview, images=40)
    unseen, _ = run(tmp_path / "b", images=40)
    assert torch.equal(model.weight, unseen.weight)
    assert model.training
    [(weight, training, path)] = seen
    assert not training
    assert path == tmp_path / "a" / "previews" / "images-000000032.png"
    saved, _ = checkpoint.read_tensors(tmp_path / "a" / "checkpoints" / "images-000000032.safetensors", "card")
    assert torch.equal(weight, saved["ema.weight"])
    assert not torch.equal(weight, saved["raw.weight"])


def test_tensorboard_event_file(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, tensorboard=True)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "mse", "grad_norm"}
    logged = [(e.step, e.value) for e in events.Scalars("loss")]
    assert logged == [(int(r["images"]), pytest.approx(float(r["loss"]), rel=1e-6)) for r in rows(tmp_path)]


# --- one step ---------------------------------------------------------------------------------------------------------


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path):
    whole, _ = run(tmp_path / "a", objective=plain)
    parts, _ = run(tmp_path / "b", objective=plain, accumulate=4)
    torch.testing.assert_close(parts.weight, whole.weight, rtol=1e-5, atol=1e-6)
    for a, b in zip(rows(tmp_path / "a"), rows(tmp_path / "b"), strict=True):
        for column in ("loss", "mse", "grad_norm"):
            assert float(a[column]) == pytest.approx(float(b[column]), rel=1e-5)


def test_steps_are_radams(tmp_path):
    model, _ = run(tmp_path, objective=plain, flip=False)
    expected = Net()
    optimizer = torch.optim.RAdam(expected.parameters(), lr=1e-2)
    stream = TrainingStream(Pixels(), np.arange(24), 8, seed=0, flip=False)
    for step in range(10):
        optimizer.zero_grad()
        images = stream.batch(step)[1].float() / 127.5 - 1
        plain(expected, images, torch.Generator()).loss.mean().backward()
        optimizer.step()
    torch.testing.assert_close(model.weight, expected.weight, rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_gradient_but_logs_its_norm(tmp_path):
    free, _ = run(tmp_path / "a", objective=plain, images=8, log_every=1)
    clipped, _ = run(tmp_path / "b", objective=plain, images=8, log_every=1, clip_grad=0.1)
    assert rows(tmp_path / "a")[0]["grad_norm"] == rows(tmp_path / "b")[0]["grad_norm"]
    norm = float(rows(tmp_path / "a")[0]["grad_norm"])
    for model, length in ((free, norm), (clipped, 0.1)):  # RAdam's first step is lr * gradient
        assert (model.weight - Net().weight).norm().item() == pytest.approx(1e-2 * length, rel=1e-3)
    assert norm > 0.5


def test_seed_decides_the_run(tmp_path):
    first, again, other = (run(tmp_path / name, seed=seed)[0].weight for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_global_random_state_is_left_alone(tmp_path):
    before = torch.random.get_rng_state()
    run(tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_trains_a_dbae_in_float32_parameters(tmp_path, precision):
    model = small_model()
    _, last = run(tmp_path, objective=dbae_objective, model=model, card=small_card(model), precision=precision)
    found, card = checkpoint.load(last)
    assert card.training["precision"] == precision
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in found.parameters())
    assert all(math.isfinite(float(row["loss"])) for row in rows(tmp_path))
    fp32, _ = run(tmp_path / "fp32", objective=dbae_objective, model=small_model(), card=small_card(model))
    assert float(rows(tmp_path)[0]["loss"]) == pytest.approx(float(rows(tmp_path / "fp32")[0]["loss"]), rel=0.02)
    assert not torch.equal(fp32.score.label_emb.weight, model.score.label_emb.weight)


# --- stopping and going on --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("layout", [True, False])
def test_resumed_run_is_the_same_run(tmp_path, layout):
    """A whole DBAE: dropout, batch norm, spectral norm, two epochs with flips, another memory layout."""

    def train(out: Path, **options: Any) -> None:
        model = small_model()
        run(
            out, objective=dbae_objective, model=model, card=small_card(model), accumulate=2, ema_warmup=True,
            channels_last=layout, log_every=1, **options,
        )  # fmt: skip

    train(tmp_path / "whole")
    train(tmp_path / "parts", images=40)
    train(tmp_path / "parts", resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")
    columns = ("images", "step", "loss", "mse", "grad_norm")
    found, expected = ([[row[c] for c in columns] for row in rows(tmp_path / n)] for n in ("parts", "whole"))
    assert found == expected


def test_restored_averages_lie_in_memory_as_the_weights_do(tmp_path):
    model = small_model()
    card = small_card(model)
    run(tmp_path, objective=dbae_objective, model=model, card=card)
    trainer = Trainer(small_model(), dbae_objective, CONFIG, RunFolder(tmp_path), card)
    trainer.start(resume=True)
    trainer.close()
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
        ("precision", "bf16"), ("clip_grad", 1.0), ("flip", False),
    ],
)  # fmt: skip
def test_resume_with_other_options_is_refused(tmp_path, option, value):
    run(tmp_path, images=32)
    was = getattr(CONFIG, option)
    with pytest.raises(UserError, match=rf"cannot be resumed with these options: {option} was {was}, is {value}\. Rep"):
        run(tmp_path, resume=True, **{option: value})


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
    with pytest.raises(UserError, match=r"No checkpoint was saved\. .*--lr"):
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


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0), ("accumulate", 0), ("log_every", 0), ("save_every", -1), ("preview_every", 0), ("keep", 0),
        ("milestone_every", 0), ("images", -1), ("seed", -1), ("workers", -1), ("lr", 0.0), ("lr", math.nan),
        ("ema_rate", 1.5), ("clip_grad", 0.0),
    ],
)  # fmt: skip
def test_options_out_of_range(option, value):
    name = option.replace("_", "-")
    with pytest.raises(UserError, match=rf"^--{name}: expected .*, found {value}; change --{name}\.$"):
        dataclasses.replace(CONFIG, **{option: value})


def test_micro_batches_share_a_batch_evenly():
    with pytest.raises(UserError, match="that 3 micro-batches share evenly, found 8"):
        dataclasses.replace(CONFIG, accumulate=3)


def test_unusable_device_is_refused(tmp_path):
    with pytest.raises(UserError, match="--device nonsense: not usable on this machine"):
        run(tmp_path, device="nonsense")
