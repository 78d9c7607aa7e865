"""Networks filled with the weights of the golden data (rules G and G' of golden/dbae/README.md)."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dbae.bridge import Bridge
from dbae.checkpoints.official import official_key
from dbae.model import DBAE, DBAEConfig, celeba64, ffhq128

GOLDEN = Path(__file__).parents[1] / "golden"


def fill(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Values of every tensor of an official state dict, from its key and shape alone."""
    filled = {key: _value(key, tensor) for key, tensor in state.items()}
    for key in filled:
        if key.endswith("weight_u"):
            stem = key.removesuffix("weight_u")
            weight = filled[stem + "weight_orig"].double().numpy()
            w = weight.transpose(1, 0, 2, 3) if stem == "decoder.init.init.0." else weight
            w = w.reshape(len(w), -1)
            v = _normalize(w.T @ _normalize(_normal(key, filled[key].shape)).astype(np.float32).astype(float))
            filled[key] = torch.from_numpy(_normalize(w @ v)).float()
            filled[stem + "weight_v"] = torch.from_numpy(v).float()
    return filled


def _normal(key: str, shape: torch.Size) -> np.ndarray:
    return np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(shape))


def _value(key: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return torch.zeros(tensor.shape, dtype=tensor.dtype)
    n = _normal(key, tensor.shape)
    if key.endswith("running_var"):
        n = 1 + 0.1 * np.abs(n)
    elif n.ndim >= 2:
        n = n / np.sqrt(np.prod(n.shape[1:]))
    else:
        n = 1 + 0.1 * n if key.endswith("weight") else 0.1 * n
    return torch.from_numpy(n).float()


def _normalize(x: np.ndarray) -> np.ndarray:
    return x / max(np.linalg.norm(x), 1e-12)


@functools.lru_cache(maxsize=3)
def _filled(config: DBAEConfig) -> DBAE:
    with torch.device("meta"):
        model = DBAE(config)
    empty = model.state_dict()
    own = {official_key(key): key for key in empty}
    state = fill({official: empty[key] for official, key in own.items()})
    model.load_state_dict({own[k]: v for k, v in state.items()}, strict=True, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def filled_dbae(tag: str, **bridge: object) -> DBAE:
    """The network of a golden tag, e.g. "small64_L32_det", in evaluation mode; shared, so leave it as it was.

    Args:
        bridge: fields of `Bridge` that differ from its defaults.
    """
    kind, _, flavour = tag.split("_")
    if kind == "ffhq128":
        config = ffhq128(stochastic=flavour == "sto")
    elif kind == "celeba64":
        config = celeba64(512, stochastic=flavour == "sto")
    else:
        config = celeba64(32, stochastic=flavour == "sto")
        config = dataclasses.replace(config, score=dataclasses.replace(config.score, base=32))
    model = _filled(config)
    if bridge:
        shared, model = model, DBAE.__new__(DBAE)
        model.__dict__ = shared.__dict__ | {"config": dataclasses.replace(config, bridge=Bridge(**bridge))}  # type: ignore[arg-type]
    return model


def seeded(seed: int, *shape: int, image: bool = False) -> Tensor:
    """RandomState(seed).standard_normal as float32; `image`: halved and clamped to [-1, 1]."""
    x = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(np.clip(x * 0.5, -1, 1) if image else x)


def relative_l2(a: Tensor, b: Tensor | np.ndarray) -> float:
    """|a - b| / |b| in float64."""
    x, y = a.detach().double(), torch.as_tensor(b).double()
    return float((x - y).norm() / y.norm())
