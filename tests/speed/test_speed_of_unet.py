"""What layouts, kernels and precisions give the score U-Net, against the same network run plainly, and what they cost.

Every round times the plain way and the other one in turn, so that a busy machine slows both. Errors are relative L2
norms: of the output, or of the gradient of all weights for a training step. The table is printed at the end and left
in `runs/speed/unet.csv`. Where there is a CUDA device, that is what is measured. torch.compile compiles for minutes:
`-m "not slow"` leaves it out.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from golden_fill import relative_l2
from torch import Tensor
from unet_variants import PLAIN, VARIANTS, Runner, Variant

from dbae.model import faces32, faces64

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
CONFIGS = {"faces32": faces32, "faces64": faces64}
BATCH = {"faces32": 256, "faces64": 64} if CUDA else {"faces32": 32, "faces64": 4}
LARGEST_ERROR = {"fp32": 1e-5, "bf16": 0.03, "fp16": 0.01}
ROUNDS = {"faces32": 15, "faces64": 5}

clock = time.perf_counter if CUDA else time.process_time
slow = pytest.mark.skipif(not (CUDA or shutil.which("g++")), reason="torch.compile needs a C++ compiler on CPUs")


@pytest.fixture(autouse=True)
def _float32_is_float32() -> Iterator[None]:
    """Convolutions on CUDA round their inputs to TF32 unless told otherwise."""
    with torch.backends.cudnn.flags(allow_tf32=False):
        yield


def parameters() -> list[object]:
    return [
        pytest.param(v, id=v.name, marks=(pytest.mark.slow, slow) if v.compiled else ()) for v in (PLAIN, *VARIANTS)
    ]


@functools.lru_cache(maxsize=1)
def plainly(model: str) -> Runner:
    return Runner(CONFIGS[model](), PLAIN, BATCH[model], DEVICE)


@functools.lru_cache(maxsize=1)
def plain_result(model: str, run: str) -> Tensor:
    return plainly(model).forward() if run == "forward" else plainly(model).gradient()


def finished(function: Callable[[], object]) -> Callable[[], None]:
    """`function`, returning when the device is done."""

    def wait() -> None:
        function()
        if CUDA:
            torch.cuda.synchronize()

    return wait


@pytest.mark.benchmark(timer=clock)
@pytest.mark.parametrize("variant", parameters())
@pytest.mark.parametrize("run", ["forward", "training_step"])
@pytest.mark.parametrize("model", ["faces32", "faces64"])
def test_unet(benchmark, add_row, model: str, run: str, variant: Variant):
    if variant.buffer and run == "training_step":
        pytest.skip("a gradient needs the maps that a buffer overwrites")
    runner = Runner(CONFIGS[model](), variant, BATCH[model], DEVICE)
    result = runner.forward() if run == "forward" else runner.gradient()
    error = relative_l2(result.cpu(), plain_result(model, run).cpu())
    plain, this = (finished(getattr(r, run)) for r in (plainly(model), runner))
    seconds: list[float] = []

    def time_plain() -> None:
        start = clock()
        plain()
        seconds.append(clock() - start)

    benchmark.pedantic(this, setup=time_plain, rounds=ROUNDS[model], warmup_rounds=1)
    best = benchmark.stats.stats.min  # what else runs on the machine can only add to it
    add_row(
        "unet",
        {
            "device": torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} thread",
            "torch": torch.__version__,
            "model": model,
            "batch": BATCH[model],
            "run": run,
            "variant": variant.name,
            "ms an image": round(1000 * best / BATCH[model], 3),
            "times as fast": round(min(seconds) / best, 3),
            "relative L2": float(f"{error:.2g}"),
        },
    )
    assert error <= LARGEST_ERROR[variant.precision]
