"""Several processes: what they share, the weights they train, the rows they measure, and how they fail.

Programs of two processes on the CPU, started by torchrun as a user would; `processes.py` has what they do.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import processes
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_model import Pixels
from training_runs import CONFIG, names, rows

from benchmarks.results import RecordFile
from dbae.checkpoints import own as checkpoint
from dbae.data import TrainingStream
from dbae.support import cli, distributed
from dbae.support.distributed import ALONE, World
from dbae.support.errors import UserError
from dbae.support.progress import progress_bar
from dbae.training.folder import RunFolder

HERE = Path(__file__).parents[2] / "helpers"
CPU = torch.device("cpu")


def torchrun(*arguments: object, options: str = "--standalone --nproc-per-node 2") -> subprocess.Popen[str]:
    if not importlib.util.find_spec("lightning_fabric"):
        pytest.skip("needs Lightning Fabric: pip install -e '.[dist]'")
    paths = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", *options.split(), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr. A run that hangs is killed and fails the test."""
    try:
        out, errors = process.communicate(timeout=240)
    finally:
        process.kill()
    return process.returncode, out, errors


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two processes through all that must succeed."""
    folder = tmp_path_factory.mktemp("two")
    status, _, errors = finished(torchrun(HERE / "processes.py", folder, "sharing", "training", "reading", "benchmark"))
    assert status == 0, errors
    (folder / "errors.txt").write_text(errors)
    return folder


def of_ranks(folder: Path, scenario: str) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{scenario}.{rank}.json").read_text()) for rank in (0, 1)]


# --- a world ----------------------------------------------------------------------------------------------------------


def seen_from(rank: int, size: int) -> World:
    return World(SimpleNamespace(global_rank=rank, world_size=size))


@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 40))
def test_shares_are_contiguous_and_cut_between_blocks(n, size, block):
    items = np.arange(n)
    if n < size:
        with pytest.raises(UserError, match=f"as many images as processes, found {n} for {size}"):
            seen_from(0, size).share(items, block)
        return
    shares = [seen_from(rank, size).share(items, block) for rank in range(size)]
    assert np.array_equal(np.concatenate(shares), items)
    assert all(len(share) for share in shares)
    lengths = [math.ceil(len(share) / block) for share in shares]
    if math.ceil(n / block) >= size:
        assert all(share[0] % block == 0 for share in shares)
        assert max(lengths) - min(lengths) <= 1
    else:
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_is_a_world_that_changes_nothing():
    assert distributed.world(CPU) is ALONE
    items, module = [1, 2, 3], torch.nn.Linear(1, 1)
    assert ALONE.share(items) == items
    assert ALONE.gather({"a": np.ones(3)})["a"].tolist() == [1, 1, 1]
    assert (ALONE.collect(5), ALONE.broadcast(5), ALONE.any(True), ALONE.any(False)) == ([5], 5, True, False)
    assert ALONE.parallel(module) is module
    assert (ALONE.rank, ALONE.size, ALONE.is_main) == (0, 1, True)


def test_one_process_does_not_load_lightning():
    script = "import sys; from dbae.support.distributed import world; world().barrier(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout.split()
    assert not [name for name in done.stdout.split() if "lightning" in name]


def test_what_two_processes_tell_each_other(done):
    first, second = of_ranks(done, "sharing")
    items = [10 * i for i in range(11)]
    assert (first["share"], second["share"]) == (items[:4], items[4:])
    for found in (first, second):
        assert found["gathered"] == [[i, i + 1] for i in items]
        assert found["collected"] == ["x", "xx"]
        assert found["broadcast"] == 0
        assert found["any"] == [True, False]
        assert found["mean"] == [0.5, 1.5]


@pytest.fixture
def second_of_two(monkeypatch):
    """The environment that torchrun gives to the second of two processes."""
    for name, value in (("RANK", 1), ("WORLD_SIZE", 2), ("LOCAL_RANK", 1), ("LOCAL_WORLD_SIZE", 2)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")


@pytest.mark.usefixtures("second_of_two")
def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert cli.device("auto") == torch.device("cuda:1")
    with pytest.raises(UserError, match="--device cuda:0: expected a GPU for every process"):
        cli.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="a GPU for each of the 2 processes on this machine, found 1"):
        cli.device("auto")


@pytest.mark.usefixtures("second_of_two")
def test_only_the_main_process_shows_progress(monkeypatch):
    assert not distributed.is_main()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert progress_bar(1, "title").disable
    monkeypatch.setenv("RANK", "0")
    assert not progress_bar(1, "title").disable


@pytest.mark.usefixtures("second_of_two")
def test_machines_have_the_same_number_of_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="same number of processes on every machine, found 2 here and 3 in all"):
        distributed.world(CPU)


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_weights_are_the_same_on_both_ranks(done):
    first, second = of_ranks(done, "training")
    assert len(first) == 8 + 1
    assert first == second


@pytest.mark.slow
def test_weights_that_no_loss_reaches_are_looked_for_where_there_are_some(done):
    """Torch warns if it looks for nothing, and raises if it does not look where it has to: of `partly` alone."""
    assert "find_unused_parameters" not in (done / "errors.txt").read_text()


@pytest.mark.slow
def test_running_statistics_are_the_same_at_every_step(done):
    first, second = (found["running mean"] for found in of_ranks(done, "training"))
    assert first == second
    assert len(set(first)) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("plain", processes.train_net),
        ("accumulated", processes.train_net),
        ("partly", lambda out: processes.train_net(out, processes.partly_used, processes.Partly())),
        ("per image", processes.train_dbae),
    ],
)
def test_two_times_half_a_batch_is_one_times_a_batch(done, tmp_path, name, alone):
    expected = alone(tmp_path)
    initial = torch.cat([p.flatten() for p in type(expected)().parameters()]) if name != "per image" else None
    weights = torch.cat([p.detach().flatten() for p in expected.parameters()])
    found = torch.tensor(of_ranks(done, "training")[0][name])
    torch.testing.assert_close(found, weights, rtol=1e-5, atol=1e-5)
    assert initial is None or (weights - initial).abs().max() > 1e-3
    for ours, theirs in zip(rows(done / name), rows(tmp_path), strict=True):
        for column in ("loss", "mse", "grad_norm"):
            assert float(ours[column]) == pytest.approx(float(theirs[column]), rel=1e-5)


@pytest.mark.slow
def test_fp16_with_clipping_and_micro_batches_stays_close(done, tmp_path):
    """Micro-batches of 2 images in both cases: four of one process, two of each of two."""
    processes.train_dbae(tmp_path, precision="fp16", clip_grad=0.5, accumulate=4)
    for ours, theirs in zip(rows(done / "scaled"), rows(tmp_path), strict=True):
        assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), rel=2e-3)


@pytest.mark.slow
def test_files_are_those_of_one_run(done):
    assert [row["step"] for row in rows(done / "dbae")] == ["2", "4", "5"]  # the last is of the steps left over
    tensors, card = checkpoint.read_tensors(RunFolder(done / "dbae").checkpoints()[-1], "card")
    assert (card["images_seen"], card["processes"]) == (40, 2)
    raw = torch.cat([tensors[key].flatten() for key in tensors if key.startswith("raw.")])
    assert len(raw) > len(of_ranks(done, "training")[0]["dbae"])  # buffers too
    assert names(done / "dbae" / "checkpoints") == [f"images-000000040{kind}.safetensors" for kind in ("", ".state")]


@pytest.mark.slow
def test_a_resumed_run_is_the_same_run(done):
    whole, resumed = (
        checkpoint.read_tensors(RunFolder(done / name).checkpoints()[-1], "card")[0] for name in ("dbae", "resumed")
    )
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.slow
def test_another_number_of_processes_cannot_resume(done):
    with pytest.raises(UserError, match="the number of processes was 2, is 1"):
        processes.train_dbae(done / "dbae", processes.dbae_objective, images=48, resume=True)


@pytest.mark.slow
def test_sigterm_to_one_ends_both(done):
    """It arrives in step 3; processes ask each other after step 5."""
    assert [p.name for p in RunFolder(done / "terminated").checkpoints()][-1] == "images-000000040.safetensors"


@pytest.mark.slow
def test_each_process_reads_its_half_of_every_batch(done):
    stream = TrainingStream(Pixels(), np.arange(24), 8, seed=0)
    batches = [stream.plan(step)[0].tolist() for step in range(3)]
    first, second = (found["read"] for found in of_ranks(done, "reading"))
    assert first == [i for batch in batches for i in batch[:4]]
    assert second == [i for batch in batches for i in batch[4:]]


def test_parts_of_a_batch_make_the_batch():
    stream = TrainingStream(Pixels(), np.arange(24), 10, seed=0)
    parts = [stream.batch(3, rank=rank, size=2) for rank in (0, 1)]
    indices, images = stream.batch(3)
    assert np.array_equal(np.concatenate([part[0] for part in parts]), indices)
    assert torch.equal(torch.cat([part[1] for part in parts]), images)


@pytest.mark.parametrize(
    ("accumulate", "size", "each"), [(1, 1, 1), (4, 1, 4), (4, 2, 2), (4, 4, 1), (4, 8, 1), (2, 3, 1)]
)
def test_processes_share_micro_batches(accumulate, size, each):
    assert dataclasses.replace(CONFIG, batch_size=24, accumulate=accumulate).micro_batches(size) == each


def test_processes_share_batches_evenly():
    with pytest.raises(UserError, match="that 3 processes with 1 micro-batches each share evenly, found 8"):
        CONFIG.micro_batches(3)


# --- benchmarks -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_are_those_of_one_process(done, tmp_path, monkeypatch):
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "cache"))
    processes.measure_downstream(tmp_path)
    for name in ("downstream.csv", "downstream_attributes.csv"):
        ours, theirs = (
            {r.identity: (r.value, r.stderr) for r in RecordFile(d / name).read()} for d in (done, tmp_path)
        )
        assert ours == theirs


@pytest.mark.slow
def test_encoding_is_shared_and_kept(done):
    """60 + 20 + 20 images, batches of 8, mirrored in training: 2 x 8 + 3 + 3 calls, half of them by each process."""
    first, second = of_ranks(done, "benchmark")
    assert first["encoded"] + second["encoded"] == 2 * 8 + 3 + 3
    assert abs(first["encoded"] - second["encoded"]) <= 4
    assert first["encoded again"] == second["encoded again"] == 0
    assert not [name for name in names(done / "cache" / "latents") if "of2" in name or "part" in name or "lock" in name]


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_error_of_one_process_ends_the_run(tmp_path):
    status, _, errors = finished(torchrun(HERE / "processes.py", tmp_path, "unreadable"))
    assert status != 0
    [line] = [line for line in errors.splitlines() if "is broken" in line]
    assert line.startswith("rank 1 of 2: image ")
    assert "exitcode  : 2" in errors[errors.index("Root Cause") :]
    newest = RunFolder(tmp_path / "run").checkpoints()[-1]
    assert checkpoint.load(newest)[1].images_seen == 24
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_another_goes_on(done, tmp_path, monkeypatch):
    status, _, errors = finished(torchrun(HERE / "processes.py", tmp_path, "killed"))
    assert status != 0
    assert "rank      : 1" in errors[errors.index("Root Cause") :]
    assert "SIGKILL" in errors[errors.index("Root Cause") :]
    assert all("of2" in path.name for path in (tmp_path / "cache").rglob("*.npy"))
    monkeypatch.setenv("DBAE_CACHE", str(tmp_path / "cache"))
    processes.measure_downstream(tmp_path, seeds=(0,))
    found, expected = (
        {r.identity: r.value for r in RecordFile(d / "downstream.csv").read() if r.model == "tiny"}
        for d in (tmp_path, done)
    )
    assert found
    assert found.items() <= expected.items()


def two_machines(out: Path) -> list[tuple[int, str]]:
    """(status, stderr) of torchrun on each, with one process, as in the README."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    options = f"--nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-id x --rdzv-endpoint localhost:{port}"
    command = f"-m dbae.train --data faces:?n=24&size=32 --out {out} --images 16 --batch-size 8 --device cpu"
    machines = [torchrun(*command.split(), options=options) for _ in range(2)]
    return [(status, errors) for status, _, errors in map(finished, machines)]


@pytest.mark.slow
def test_training_on_two_machines(tmp_path):
    ended = two_machines(tmp_path / "first")
    if any("RendezvousConnectionError" in errors for _, errors in ended):
        # On a busy machine torchrun's host can close its store while the other one still asks it: not ours to mend.
        ended = two_machines(tmp_path / "second")
    assert [status for status, _ in ended] == [0, 0], "\n".join(errors for _, errors in ended)
    [run] = [folder for folder in (tmp_path / "second", tmp_path / "first") if folder.exists()][:1]
    assert checkpoint.load(RunFolder(run).checkpoints()[-1])[1].processes == 2


def test_a_command_of_one_process_refuses_several(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        UserError, match=r"dbae\.encode works in one process: start it with python -m, without torchrun"
    ):
        distributed.require_alone("dbae.encode")
    monkeypatch.setenv("WORLD_SIZE", "1")
    distributed.require_alone("dbae.encode")
