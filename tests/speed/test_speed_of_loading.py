"""Time and memory to open a checkpoint of full size (FFHQ 128 px) in its authors' format, optimiser state included.

Files are made here with random weights, up to 2.9 GB, one at a time. A fresh process opens each, so that its peak of
resident memory is the loading's own; what it maps and reads of the file counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from official_files import State, manifest, meta_state, save_lightning, save_pdae

from dbae.checkpoints import official
from dbae.model import DBAE, ffhq128

PROGRAM = """
import json, sys, time
import baselines.load as load
def resident(line):
    return int(next(l for l in open("/proc/self/status") if l.startswith(line)).split()[1]) / 1024
before, started, used = resident("VmRSS"), time.perf_counter(), time.process_time()
found = load.load(sys.argv[1])
seconds, used = time.perf_counter() - started, time.process_time() - used
weights = sum(v.nbytes for v in found.model.state_dict().values()) / 2**20
peak = resident("VmHWM") - before
print(json.dumps({"seconds": seconds, "cpu_seconds": used, "peak_mib": peak, "weights_mib": weights}))
"""


def random(state: State) -> State:
    """Values for tensors that have none."""
    block = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)) / 50

    def values(like: torch.Tensor) -> torch.Tensor:
        if not like.is_floating_point():
            return torch.zeros(like.shape, dtype=like.dtype)
        return block.repeat(-(-like.numel() // len(block)))[: like.numel()].view(like.shape).clone()

    return {key: values(tensor) for key, tensor in state.items()}


def diffae_state(name: str) -> State:
    return random(meta_state(manifest(f"diffae/manifest_{name}")["model_keys"]))


def latent_state() -> State:
    state = random(meta_state(manifest("diffae/manifest_ffhq128_autoenc_latent")["latent_keys"]))
    return {key: state[key.replace("cond_layers.1", "linear_emb")] for key in state}


def diffae(path: Path) -> None:
    save_lightning(path, diffae_state("ffhq128_autoenc"), optimiser=True, size=128)


def diffae_latent(path: Path) -> None:
    statistics = {"conds_mean": torch.zeros(1, 512), "conds_std": torch.ones(1, 512)}
    whole = diffae_state("ffhq128_autoenc") | latent_state()
    save_lightning(path, whole, raw=whole, optimiser=True, size=128, **statistics)


def ddim(path: Path) -> None:
    save_lightning(path, diffae_state("ffhq128_ddim"), optimiser=True, size=128)


def pdae(path: Path) -> None:
    keys = manifest("pdae/manifest_ffhq128")
    parts = {part: random(meta_state(keys[f"ffhq128/{part}"])) for part in ("decoder", "encoder")}
    save_pdae(path, parts)


def dpm(path: Path) -> None:
    save_pdae(path, {"denoise_fn": diffae_state("ffhq128_ddim")})


def bare(path: Path) -> None:
    torch.save(diffae_state("ffhq128_ddim"), path)


def dbae(path: Path) -> None:
    with torch.device("meta"):
        state = {official.official_key(k): v for k, v in DBAE(ffhq128()).state_dict().items()}
    torch.save(random(state), path)


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "DBAE ema_0.9999.pt": (dbae, ""),
    "DiffAE last.ckpt": (diffae, ""),
    "DiffAE with latent DPM": (diffae_latent, ""),
    "DDIM last.ckpt": (ddim, ""),
    "PDAE checkpoint.pt": (pdae, ""),
    "PDAE pre-trained DPM": (dpm, ""),
    "bare U-Net": (bare, "?heads=1&image_size=128&schedule=linear"),
}


@pytest.mark.parametrize("kind", FILES)
def test_speed_of_loading(benchmark: Any, tmp_path: Path, kind: str) -> None:
    make, options = FILES[kind]
    path = tmp_path / "ema_0.9999.pt"
    make(path)
    measured: dict[str, float] = {}

    def opened() -> None:
        command = [sys.executable, "-c", PROGRAM, f"{path}{options}"]
        measured.update(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))

    benchmark.pedantic(opened, rounds=1)
    benchmark.extra_info.update(measured, file_mib=path.stat().st_size / 2**20)
    path.unlink()
    assert measured["peak_mib"] < 3 * measured["weights_mib"] + 100
