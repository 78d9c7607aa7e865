"""Checkpoints of the DBAE authors (`aailab-kaist/DBAE`): ema_0.9999_*.pt, a bare dict of tensors.

The whole model is one module there, so the score network's keys carry no prefix; nothing else differs:

    official                ours
    encoder.*, decoder.*    the same
    everything else         score.*

The architecture follows from keys and shapes. Two facts do not show in them: the layout of the attention heads
(legacy, as the authors' scripts force) and the bridge (VP, as all published models are).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dbae.checkpoints import torchfile
from dbae.checkpoints.own import load_strictly
from dbae.model import DBAE, DBAEConfig, celeba64, ffhq128
from dbae.support.errors import UserError


def official_key(key: str) -> str:
    """Official name of one of our state-dict keys."""
    return key.removeprefix("score.")


def our_key(key: str) -> str:
    """Our name of an official state-dict key."""
    return key if key.startswith(("encoder.", "decoder.")) else f"score.{key}"


def detect(state: Mapping[str, Tensor]) -> DBAEConfig | None:
    """Configuration of an official state dict, from its keys and shapes; None if it is no DBAE."""
    needed = ("label_emb.weight", "encoder.out.3.weight", "decoder.init.init.0.weight_orig", "time_embed.0.weight")
    if not all(key in state and state[key].ndim > 1 for key in needed):
        return None
    latent_dim = state["label_emb.weight"].shape[1]
    stochastic = state["encoder.out.3.weight"].shape[0] == 2 * latent_dim
    large = "decoder.to_128.weight_orig" in state
    config = ffhq128(stochastic) if large else celeba64(latent_dim, stochastic)
    return config if config.latent_dim == latent_dim else None


def load(path: str | os.PathLike[str], *, name: str | None = None) -> DBAE:
    """Read an official checkpoint strictly: evaluation mode, float32, on the CPU. Never runs code from the file.

    Raises:
        UserError: not a readable file of tensors, not a DBAE, or keys and shapes that do not fit.
    """
    path = Path(path)
    state = torchfile.read(path)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(
            f"{path}: expected a state dict of tensors alone, found {type(state).__name__} of other things."
        )
    return from_state(state, path, name=name or path.stem)


def from_state(state: Mapping[str, Tensor], path: str | os.PathLike[str], *, name: str) -> DBAE:
    """The model of an official state dict that was read from `path`, in evaluation mode. Errors are those of `load`."""
    config = detect(state)
    if config is None:
        raise UserError(
            f"{path}: expected a published DBAE checkpoint (keys label_emb.*, encoder.*, decoder.*), found "
            f"{len(state)} tensors such as {sorted(state)[:3]}."
        )
    with torch.device("meta"):
        model = DBAE(config, name=name)
    # Tensors of these files are views into two flat storages, and would keep all of it alive.
    load_strictly(model, {our_key(key): torchfile.own_copy(value) for key, value in state.items()}, path)
    return model.eval()
