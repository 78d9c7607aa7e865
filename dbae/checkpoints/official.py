"""Checkpoints of the DBAE authors (`aailab-kaist/DBAE`): ema_0.9999_*.pt, a bare dict of tensors.

The whole model is one module there, so the score network's keys carry no prefix; nothing else differs:

    official                ours
    encoder.*, decoder.*    the same
    everything else         score.*

The architecture follows from keys and shapes. What does not show in them are the width and layout of the attention
heads (64 and legacy, as the authors' scripts force) and the bridge (VP, as all published models are): a file whose
shapes no published model has is asked for them (`dbae.checkpoints.facts`). The numbers of the bridge are options of
the authors' program too, and the encoder's single head a constant of it; both may be told.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from dbae.bridge import Bridge
from dbae.checkpoints import torchfile
from dbae.checkpoints.facts import NUMBERS, Facts, Question, applied, applied_encoder
from dbae.checkpoints.own import load_strictly
from dbae.checkpoints.shapes import encoder_shape, unet_shape
from dbae.model import DBAE, DBAEConfig, celeba64, ffhq128
from dbae.networks.endpoint_decoder import EndpointDecoderConfig
from dbae.support.errors import UserError


def official_key(key: str) -> str:
    """Official name of one of our state-dict keys."""
    return key.removeprefix("score.")


def our_key(key: str) -> str:
    """Our name of an official state-dict key."""
    return key if key.startswith(("encoder.", "decoder.")) else f"score.{key}"


QUESTION = Question(
    "a DBAE of no published configuration",
    ("heads", "attention_order", "bridge"),
    {"encoder_heads": "1"} | {name: f"{getattr(Bridge(), name):g}" for name in NUMBERS},
)
FACTS = {"head_channels": "64", "attention_order": "legacy", "bridge": "vp"}
"""Facts of all published models, which their shapes do not show."""


def detect(state: Mapping[str, Tensor]) -> DBAEConfig | None:
    """Configuration of an official state dict, from its keys and shapes, with `FACTS`; None if it is no DBAE."""
    needed = ("label_emb.weight", "encoder.out.3.weight", "decoder.init.init.0.weight_orig", "time_embed.0.weight")
    if not all(key in state and state[key].ndim > 1 for key in needed):
        return None
    size = 128 if "decoder.to_128.weight_orig" in state else 64
    latent_dim, outputs = state["label_emb.weight"].shape[1], state["encoder.out.3.weight"].shape[0]
    score = unet_shape(state)
    encoder = encoder_shape({k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}, size)
    if score is None or encoder is None or outputs not in (latent_dim, 2 * latent_dim):
        return None
    derived = DBAEConfig(
        image_size=size,
        latent_dim=latent_dim,
        stochastic=outputs == 2 * latent_dim,
        score=score.config(size, head_channels=64),
        encoder=encoder,
        decoder=EndpointDecoderConfig(
            width=state["decoder.init.init.0.weight_orig"].shape[1] // 32,
            unused_block=any(key.startswith("decoder.feat_256.") for key in state),
        ),
    )
    return next((known for known in _published(derived) if _visible(known) == _visible(derived)), derived)


def published(config: DBAEConfig) -> bool:
    """Whether the authors publish a model of these shapes."""
    return config in _published(config)


def _published(like: DBAEConfig) -> list[DBAEConfig]:
    small = [celeba64(like.latent_dim, like.stochastic)] if like.latent_dim in (32, 256, 512) else []
    return [*small, ffhq128(like.stochastic)]


def _visible(config: DBAEConfig) -> DBAEConfig:
    """What shapes show of a configuration; the rest is set to one value."""
    score = dataclasses.replace(
        config.score, groups=32, head_channels=64, dropout=0.1, embedding=config.score.width, attention_order="legacy"
    )
    return dataclasses.replace(config, score=score, encoder=dataclasses.replace(config.encoder, groups=32))


def settled(config: DBAEConfig, facts: Facts, path: str | os.PathLike[str]) -> DBAEConfig:
    """The configuration with answers to `QUESTION`."""
    size = config.image_size
    score = applied(config.score, facts, path, size=size, was=size)
    heads = {"heads": facts["encoder_heads"], "attention_order": "legacy"}
    encoder = applied_encoder(config.encoder, heads, path, size=size, was=size)
    mode, _, simple = facts["bridge"].partition("_")
    numbers = {name: float(facts[name]) for name in NUMBERS}
    bridge = Bridge(mode, preconditioned=not simple, **numbers)  # type: ignore[arg-type]
    return dataclasses.replace(config, score=score, encoder=encoder, bridge=bridge)


def load(path: str | os.PathLike[str], *, name: str | None = None, options: Facts = MappingProxyType({})) -> DBAE:
    """Read an official checkpoint strictly: evaluation mode, float32, on the CPU. Never runs code from the file.

    Args:
        options: answers to `QUESTION`, which a file of no published configuration needs.

    Raises:
        UserError: not a readable file of tensors, not a DBAE, keys and shapes that do not fit, or a missing answer.
    """
    path = Path(path)
    state = torchfile.read(path)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(
            f"{path}: expected a state dict of tensors alone, found {type(state).__name__} of other things."
        )
    config = detect(state)
    if config is None:
        raise UserError(
            f"{path}: expected a published DBAE checkpoint (keys label_emb.*, encoder.*, decoder.*), found "
            f"{len(state)} tensors such as {sorted(state)[:3]}."
        )
    if options or not published(config):
        known = FACTS if published(config) else {}
        config = settled(config, QUESTION.answered(path, user=options, file={}, published=known), path)
    with torch.device("meta"):
        model = DBAE(config, name=name or path.stem)
    # Tensors of these files are views into two flat storages, and would keep all of it alive.
    load_strictly(model, {our_key(key): torchfile.own_copy(value) for key, value in state.items()}, path)
    return model.eval()
