"""The training loop: files of a run, and what one step does."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_model import Pixels, small_card, small_model
from training_runs import CONFIG, Net, names, plain, rows, run

from dbae.checkpoints import own as checkpoint
from dbae.data import TrainingStream
from dbae.train import objective as dbae_objective
from dbae.training.config import TrainConfig
from dbae.training.folder import LOG_COLUMNS, RunFolder, read_log

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


def test_a_run_shorter_than_its_intervals_has_a_row_and_a_picture_of_its_end(tmp_path):
    made: list[str] = []
    intervals = dict(log_every=50, preview_every=50_000)
    run(tmp_path / "short", images=44, preview=lambda model, path: made.append(path.name), **intervals)
    run(tmp_path / "steps", images=44, log_every=1)
    [row], steps = rows(tmp_path / "short"), rows(tmp_path / "steps")
    assert (int(row["images"]), made) == (48, ["images-000000048.png"])
    assert float(row["loss"]) == pytest.approx(sum(float(step["loss"]) for step in steps) / len(steps), rel=1e-5)
    assert float(row["seconds"]) > 0


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


def test_a_log_is_read_without_what_was_cut_off_in_writing(tmp_path):
    run(tmp_path, images=32)
    expected = {name: [float(row[name]) for row in rows(tmp_path)] for name in LOG_COLUMNS}
    assert read_log(tmp_path / "log.csv") == expected
    for more in ("48,6,0.", "48,6,0.1,0.1,1.0,60.0,2", "48,6,0.1\r\n", "48,6,x,0.1,1.0,60.0,2.0\r\n", "\0\0\n"):
        with open(tmp_path / "log.csv", "a", newline="") as file:
            file.write(more)
        assert read_log(tmp_path / "log.csv") == expected
        RunFolder(tmp_path).start_log(32)


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


OPTIMISERS = {"radam": torch.optim.RAdam, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_are_those_of_pytorch(tmp_path, name):
    model, _ = run(tmp_path, objective=plain, flip=False, optimizer=name, weight_decay=0.1)
    expected = Net()
    optimizer = OPTIMISERS[name](expected.parameters(), lr=1e-2, weight_decay=0.1, foreach=False)
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
