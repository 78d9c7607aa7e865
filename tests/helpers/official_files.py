"""Files in the formats of the authors of DiffAE, PDAE and DiTi, with the weights of the golden data."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from golden_fill import GOLDEN, fill
from torch import Tensor

State = dict[str, Tensor]
TOLD = {"net_beatgans_attn_head": 1, "beta_scheduler": "linear", "seed": 0}


def manifest(name: str) -> Any:
    """One of the golden lists of keys and shapes, e.g. "diffae/manifest_small"."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def meta_state(keys: Any) -> State:
    """A state dict without values from [key, shape] pairs or {key: {"shape": ...}}."""
    pairs = ((k, v["shape"]) for k, v in keys.items()) if isinstance(keys, Mapping) else keys
    return {key: torch.empty(shape, device="meta") for key, shape in pairs}


def small_diffae() -> State:
    """The golden autoencoder of 32 px, z of 64 numbers."""
    return dict(_filled("diffae/manifest_small", "small_autoenc"))


def small_ddim() -> State:
    """The golden plain network of 32 px."""
    return dict(_filled("diffae/manifest_small", "small_ddim"))


def small_pdae() -> dict[str, State]:
    """The golden encoder of 64 px and a small decoder, z of 32 numbers."""
    parts = {"encoder": "encoder/celeba64(latent 32)", "decoder": "shift_unet/smallA(latent 32)"}
    return {part: dict(_filled("pdae/manifest_small", name)) for part, name in parts.items()}


@functools.cache
def _filled(file: str, name: str) -> State:
    return fill(meta_state(manifest(file)[name]))


def small_latent_net(latent_dim: int, *, hidden: int = 24, layers: int = 3) -> State:
    """A latent network with every tied tensor under both of its names."""
    state: State = {"time_embed.0.weight": torch.randn(latent_dim, 64), "time_embed.0.bias": torch.randn(latent_dim)}
    state |= {"time_embed.2.weight": torch.randn(latent_dim, latent_dim), "time_embed.2.bias": torch.randn(latent_dim)}
    for i in range(layers):
        inputs, outputs = latent_dim + (hidden if i else 0), latent_dim if i == layers - 1 else hidden
        state |= {
            f"layers.{i}.linear.weight": torch.randn(outputs, inputs),
            f"layers.{i}.linear.bias": torch.randn(outputs),
        }
        if i < layers - 1:
            tied = {"weight": torch.randn(hidden, latent_dim), "bias": torch.randn(hidden)}
            state |= {f"layers.{i}.{n}.{k}": v for n in ("linear_emb", "cond_layers.1") for k, v in tied.items()}
            state |= {f"layers.{i}.norm.weight": torch.ones(hidden), f"layers.{i}.norm.bias": torch.zeros(hidden)}
    return state


def adam(state: State) -> dict[str, Any]:
    """The state of an optimiser over the tensors of `state`."""
    moments = {i: {"step": 7, "exp_avg": v * 0, "exp_avg_sq": v * 0} for i, v in enumerate(state.values())}
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "params": list(range(len(state)))}
    return {"state": moments, "param_groups": [group]}


@contextlib.contextmanager
def lightning_installed() -> Iterator[type]:
    """A module with Lightning's name, so that its class can be written into a file as Lightning 1.4 does."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    names = ["pytorch_lightning", "pytorch_lightning.callbacks", name]
    modules = {n: types.ModuleType(n) for n in names}
    marker = type("ModelCheckpoint", (), {"__module__": name})
    modules[name].ModelCheckpoint = marker  # type: ignore[attr-defined]
    before = {n: sys.modules.get(n) for n in names}
    sys.modules.update(modules)
    try:
        yield marker
    finally:
        for n in names:
            sys.modules.pop(n)
            if (module := before[n]) is not None:
                sys.modules[n] = module


def save_lightning(
    path: Path,
    ema: State,
    *,
    raw: State | None = None,
    optimiser: bool = False,
    size: int = 32,
    hyper: dict[str, Any] | None = None,
    **root: Tensor,
) -> Path:
    """A `last.ckpt` as Lightning 1.4.5 writes it.

    Args:
        raw: training weights; by default those of `ema` plus one.
        hyper: further hyper-parameters, or others.
        optimiser: write the moments of an optimiser, as every such file has.
        root: further tensors of the module, e.g. conds_mean.
    """
    raw = {key: value + 1 for key, value in ema.items()} if raw is None else raw
    state = OrderedDict(x_T=torch.zeros(2, 3, size, size), **root)
    for prefix, values in (("model.", raw), ("ema_model.", ema)):
        state.update({prefix + key: value for key, value in values.items()})
    with lightning_installed() as marker:
        content = {
            "epoch": 3,
            "global_step": 1015625,
            "pytorch-lightning_version": "1.4.5",
            "state_dict": state,
            "callbacks": {marker: {"monitor": None, "best_model_score": None, "best_model_path": "", "dirpath": "x"}},
            "optimizer_states": [adam(raw)] if optimiser else [],
            "lr_schedulers": [],
            "native_amp_scaling_state": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 12},
            "hparams_name": "conf",
            "hyper_parameters": {"data_name": "ffhqlmdb256", "img_size": size, "net_ch_mult": (1, 2, 2)}
            | TOLD
            | (hyper or {}),
        }
        torch.save(content, path)
    return path


def save_pdae(path: Path, parts: dict[str, State], *, raw: bool = True, compiled: bool = False, **more: Any) -> Path:
    """A `checkpoint.pt` of PDAE's trainer.

    Args:
        parts: averaged state dicts by the name they have there without `ema_`.
        raw: write training weights too, and the moments of an optimiser of the first part (published files may not).
        compiled: keys as torch.compile leaves them.
    """
    prefix = "_orig_mod." if compiled else ""
    averaged = {n: {prefix + k: v for k, v in state.items()} for n, state in parts.items()}
    content: dict[str, Any] = {f"ema_{n}": state for n, state in averaged.items()}
    if raw:
        content |= {n: {k: v + 1 for k, v in state.items()} for n, state in averaged.items()}
        content |= {"step": 12, "optimizer": adam(parts[next(iter(parts))]), "scaler": {}}
    torch.save(content | more, path)
    return path
