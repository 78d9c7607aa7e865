"""`python -m dbae.train` as a user runs it: results, being killed, being told wrong things."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import tyro

from baselines.load import load
from dbae import train
from dbae.checkpoints import own as checkpoint
from dbae.training.folder import RunFolder, state_path

BASE = "--preset faces32 --data faces:?n=64&size=32 --batch-size 8 --log-every 4 --save-every 64 --preview-every 160"

KILLED_WHILE_SAVING = """
import os, signal, sys
from dbae import train
from dbae.checkpoints import own as checkpoint

real, calls = checkpoint.save_file, []

def save_file(tensors, path, metadata):
    real(tensors, path, metadata=metadata)
    calls.append(path)
    if len(calls) == {call}:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_file = save_file
train.main(sys.argv[1:])
"""


def command(out: Path, options: str = "", *, script: str | None = None) -> subprocess.Popen[str]:
    python = [sys.executable, *(["-m", "dbae.train"] if script is None else ["-c", script])]
    return subprocess.Popen(
        [*python, *shlex.split(f"{BASE.replace('&', chr(92) + '&')} {options}"), "--out", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Drawn faces are kept here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 steps without a break."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    status, _, errors = finished(command(out, "--images 160"))
    assert status == 0, errors
    return out


def assert_same_checkpoint(a: Path, b: Path) -> None:
    for path, header in ((lambda p: p, "card"), (state_path, "state")):
        found, expected = (checkpoint.read_tensors(path(RunFolder(out).checkpoints()[-1]), header) for out in (a, b))
        assert found[1] == expected[1]
        assert found[0].keys() == expected[0].keys()
        assert all(torch.equal(found[0][key], value) for key, value in expected[0].items())


def test_run_leaves_a_model_a_log_and_a_picture(whole):
    last = RunFolder(whole).checkpoints()[-1]
    assert last.name == "images-000000160.safetensors"
    found = load(last)
    assert (found.name, found.variant, found.weights) == ("dbae-faces32", "stochastic", "trained")
    card = checkpoint.load(last)[1]
    data = card.train_data["name"]
    assert data.startswith("faces-v")
    assert found.train_data == f"{data} (160 images seen)"
    source = "faces:?size=32&n=64"
    assert (
        card.command == f"python -m dbae.train --preset faces32 --data '{source}' --images 160 --batch-size 8 --seed 0"
    )
    assert (card.train_data["split"], card.train_data["images"], card.train_data["size"]) == ("train", 51, 32)
    assert card.versions["torch"] == torch.__version__
    assert card.versions["revision"]
    assert len((whole / "log.csv").read_text().splitlines()) == 1 + 5
    preview = whole / "previews" / "images-000000160.png"
    assert preview.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("call", [pytest.param(3, marks=pytest.mark.slow), 4])
def test_killed_in_the_middle_of_a_save_then_resumed(tmp_path, whole, call):
    """8 steps and their checkpoint; SIGKILL half way through the next state (3) or weights (4); resume, 12 steps."""
    out = tmp_path / "parts"
    status, _, _ = finished(command(out, "--images 160", script=KILLED_WHILE_SAVING.format(call=call)))
    assert status == -signal.SIGKILL
    [leftover] = (out / "checkpoints").glob(".*.tmp")
    assert [p.name for p in RunFolder(out).checkpoints()] == ["images-000000064.safetensors"]
    status, _, errors = finished(command(out, "--images 160 --resume"))
    assert status == 0, errors
    assert_same_checkpoint(out, whole)
    assert not leftover.exists()


def test_sigterm_saves_and_exits_0(tmp_path):
    process = command(tmp_path / "run", "--images 1000000")
    deadline = time.monotonic() + 240
    while not RunFolder(tmp_path / "run").checkpoints() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    status, _, errors = finished(process)
    assert status == 0, errors
    newest = RunFolder(tmp_path / "run").checkpoints()[-1]
    model, card = checkpoint.load(newest)
    assert card.images_seen == int(newest.stem.removeprefix("images-")) >= 64
    lines = errors.splitlines()
    assert re.match(r"1,\d{3},\d{3} parameters \(score [\d,]+, encoder [\d,]+, decoder [\d,]+\); 51 training", lines[0])
    seen = f"{newest}: the checkpoint after {card.images_seen} images"
    assert lines[-1] == f"{seen} of 1000000: stopped by a signal, --resume goes on"
    assert all(p.isfinite().all() for p in model.parameters())


# --- the command line, within this process ----------------------------------------------------------------------------


def test_help_shows_examples_and_the_presets_own_defaults(capsys):
    for arguments, expected in (([], "default: 600000"), (["--preset", "ffhq128"], "default: 130000000")):
        with pytest.raises(SystemExit) as stopped:
            train.main([*arguments, "--help"])
        assert stopped.value.code == 0
        text = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
        assert "python -m dbae.train --preset faces32 --data faces --out runs/faces32" in text
        assert expected in text
        assert "--flip, --no-flip mirror training images" in text  # what is on already has a name to turn it off


def test_defaults_follow_the_preset_in_either_spelling():
    paper = train._preset_defaults(["--preset=celeba64"])
    assert (paper.lr, paper.batch_size, paper.accumulate, paper.ema_rate, paper.clip_grad) == (
        1e-4,
        128,
        4,
        0.9999,
        None,
    )
    assert train._preset_defaults(["--preset", "faces64"]).lr == 2e-4
    assert train._preset_defaults([]) == train._preset_defaults(["--preset", "faces32"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "nowhere: expected an existing zip"),
        (["--data", "faces:?sise=32"], "faces:?sise=32: 'sise' is no option of faces."),
        (["--data", "faces:?n=1"], "faces:?n=1: expected images to train on, found none in the split 'train'."),
        (["--data", "faces:?n=8", "--latent-dim", "0"], "--latent-dim: expected 1 or more, found 0;"),
        (["--data", "faces:?n=8", "--initial-sigma", "0.01"], "--initial-sigma: expected 0.02 to 100"),
        (
            ["--data", "faces:?n=8", "--initial-sigma", "1", "--no-stochastic"],
            "--initial-sigma: expected 0.02 to 100, with a stochastic encoder; found 1.0 with --no",
        ),
        (["--data", "faces:?n=8", "--dropout", "1"], "--dropout: expected a number from 0 to less than 1, found 1.0;"),
        (["--data", "faces:?n=8", "--batch-size", "9", "--accumulate", "2"], "expected a batch size that 2"),
        (["--data", "faces:?n=8", "--device", "nonsense"], "--device nonsense: not usable on this machine"),
    ],
)
def test_bad_input_gives_one_line_and_status_2(tmp_path, capsys, options, message):
    assert train.main([*options, "--out", str(tmp_path / "run")]) == 2
    *progress, error = capsys.readouterr().err.splitlines()
    assert error.startswith(message)
    assert not any(word in line for line in progress for word in ("Traceback", "rror"))
    assert not (tmp_path / "run" / "log.csv").exists()


def test_run_that_is_there_is_refused_before_anything_is_read(whole, capsys):
    assert train.main(["--data", "nowhere", "--out", str(whole)]) == 2
    assert "holds a run already (newest: images-000000160.safetensors). Add --resume" in capsys.readouterr().err


def test_resume_with_another_preset_option_is_refused(whole, capsys):
    arguments = [*shlex.split(BASE.replace("&", "\\&")), "--images", "160", "--out", str(whole), "--resume"]
    assert train.main([*arguments, "--latent-dim", "8", "--lr", "0.1"]) == 2
    errors = capsys.readouterr().err
    assert "cannot be resumed with these options: lr was 0.001, is 0.1; another model configuration." in errors


def test_recipe_of_ones_own_is_in_the_card(tmp_path):
    recipe = ["--dropout", "0", "--lr-schedule", "cosine", "--warmup-images", "4"]
    size = ["--data", "faces:?n=16", "--images", "8", "--batch-size", "4", "--device", "cpu"]
    assert train.main([*size, *recipe, "--out", str(tmp_path)]) == 0
    card = checkpoint.read(RunFolder(tmp_path).checkpoints()[-1])[0]
    assert (card.config["score"]["dropout"], card.config["score"]["base"]) == (0, 16)
    assert (card.training["lr_schedule"], card.training["warmup_images"]) == ("cosine", 4)
    assert "--dropout 0.0" in card.command
    assert "--images 8 --batch-size 4 --lr-schedule cosine --warmup-images 4 --seed 0" in card.command


def test_initial_sigma_changes_sigma_and_nothing_else():
    def posterior(*options: str):
        args = tyro.cli(train.options(list(options)), args=["--data", "faces", "--out", "none", *options])
        return train.built(args, 8)[0].posterior(torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32))

    (usual_mean, usual), (mean, sigma) = posterior(), posterior("--initial-sigma", "0.05")
    assert torch.equal(mean, usual_mean)
    assert usual.mean() > 0.9
    assert (sigma / 0.05).log().abs().max() < 0.5


def test_unknown_option_is_refused_with_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        train.main(["--data", "faces", "--out", str(tmp_path), "--learning-rate", "1"])
    assert stopped.value.code == 2
    assert "--learning-rate" in capsys.readouterr().err


def test_interrupted_command_says_what_is_kept(tmp_path, monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "fit", interrupted)
    assert train.main(["--data", "faces:?n=8", "--out", str(tmp_path)]) == 130
    assert "Stopped; what was finished is kept." in capsys.readouterr().err
