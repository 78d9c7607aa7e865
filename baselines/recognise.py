"""What a file from an authors' drive is, told by the names in it.

    file                                    names                                            kind
    DBAE  ema_0.9999_*.pt                   encoder.*, decoder.*, label_emb.*                DBAE
    DiffAE  last.ckpt (Lightning)           state_dict: ema_model.*, model.*
        autoencoder                             ...encoder.*                                 DiffAE
        autoencoder with latent DPM             ...encoder.*, ...latent_net.*, conds_mean    DiffAE
        plain DPM                               neither                                      DDIM
        attribute classifier                    ema_classifier.*                             classifier
    DiffAE  latent.pkl                      conds, conds_mean, conds_std                     statistics
    PDAE  autoencoder checkpoint.pt         ema_encoder, ema_decoder                         PDAE
    DiTi                                    ... and ssl_model or sgd_optimizer               DiTi
    PDAE  pre-trained DPM                   ema_denoise_fn                                   DDIM
        latent DPM                              ema_latent_denoise_fn too                    PDAE
    PDAE  latent DPM alone                  ema_latent_denoise_fn                            latent DPM
    PDAE  latents, classifier               mean, std; ema_classifier                        statistics, classifier
    guided-diffusion  *.pt                  time_embed.*, input_blocks.*, out.*              U-Net

Averaged (EMA) weights are taken where a file has both. What precedes the names (`module.`, torch.compile's
`_orig_mod.`) is dropped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from baselines.interface import Statistics, WeightsUsed
from dbae.checkpoints import official
from dbae.support.errors import UserError

Kind = Literal["DBAE", "DiffAE", "DDIM", "U-Net", "PDAE", "DiTi", "latent DPM", "classifier", "statistics", "optimiser"]
State = dict[str, Tensor]

NO_MODEL: dict[Kind, str] = {
    "latent DPM": "a latent DPM without the autoencoder it belongs to; give it as --prior next to the autoencoder",
    "classifier": "a linear classifier of attributes over z, which encodes no images; name the autoencoder's file",
    "statistics": "the mean and standard deviation of latents, found by themselves beside the autoencoder's file",
    "optimiser": "the state of an optimiser, without weights; the weights are in ema_*.pt or model_*.pt beside it",
}
"""Kinds that are no model by themselves: what they are, and what to do."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a file is.

    Attributes:
        kind: see the table of the module docstring.
        parts: state dicts with their prefixes removed: "model", or "encoder" and "decoder"; "latent" is a latent
            network, "classifier" a linear map.
        weights_used: which copy of the weights they are; the name of a bare state dict tells ("ema_...", "model...").
        statistics: of the latents, where the file has them.
        hyper_parameters: plain values the authors' program stored (`img_size`, ...); {} if none.
        image_size: pixels, where the file says so by more than its network's shapes.
    """

    kind: Kind
    parts: dict[str, State] = dataclasses.field(default_factory=dict)
    weights_used: WeightsUsed = "raw"
    statistics: Statistics | None = None
    hyper_parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    image_size: int | None = None


def recognise(content: Any, path: object) -> Found:
    """Tell what `torchfile.read(path)` returned.

    Raises:
        UserError: nothing of the table.
    """
    if isinstance(content, dict) and content and all(isinstance(key, str) for key in content):
        for attempt in (_lightning, _statistics, _classifier, _pdae, _optimiser):
            if (found := attempt(content)) is not None:
                return found
        if (found := _bare(content, Path(str(path)).name)) is not None:
            return found
    keys = ", ".join(map(str, list(content)[:4])) if isinstance(content, dict) else type(content).__name__
    raise UserError(
        f"{path}: expected a checkpoint of DBAE, DiffAE, PDAE, DiTi or guided-diffusion, found a file of {keys[:200]}. "
        "If the weights lie under one of these keys, save them alone: torch.save(content['KEY'], 'weights.pt'). "
        "`python -m baselines.list` names the files that their authors publish."
    )


def _lightning(content: dict[str, Any]) -> Found | None:
    state = _state(content.get("state_dict"))
    if state is None:
        return None
    statistics = _statistics_of(state, "conds_mean", "conds_std")
    hyper = content.get("hyper_parameters")
    hyper = dict(hyper) if isinstance(hyper, dict) else {}
    endpoint = state.get("x_T")
    size = endpoint.shape[-1] if endpoint is not None and endpoint.ndim == 4 else None
    prefix, used = ("ema_", "EMA") if any(key.startswith("ema_model.") for key in state) else ("", "raw")
    # Manipulation in DiffAE takes the classifier's training weights, although the file has averaged ones.
    parts = {"model": _under(state, f"{prefix}model."), "classifier": _under(state, "classifier.")}
    parts["latent"] = _under(parts["model"], "latent_net.")
    parts["model"] = {key: value for key, value in parts["model"].items() if not key.startswith("latent_net.")}
    if not parts["model"] and not parts["classifier"]:
        return None
    autoencoder = any(key.startswith("encoder.") for key in parts["model"])
    kind: Kind = "classifier" if parts["classifier"] else "DiffAE" if autoencoder else "DDIM"
    return Found(
        kind,
        {name: part for name, part in parts.items() if part},
        used,  # type: ignore[arg-type]
        statistics,
        hyper,
        size,
    )


def _statistics(content: dict[str, Any]) -> Found | None:
    for names in (("conds_mean", "conds_std"), ("mean", "std")):
        if set(names) <= set(content) <= {*names, "conds"}:
            statistics = _statistics_of(content, *names)
            return Found("statistics", statistics=statistics) if statistics else None
    return None


def _classifier(content: dict[str, Any]) -> Found | None:
    for name in ("ema_classifier", "classifier"):
        if (state := _state(content.get(name))) is not None:
            return Found("classifier", {"classifier": state}, "EMA" if name.startswith("ema_") else "raw")
    if content.keys() == {"weight", "bias"} and (state := _state(content)) is not None:
        return Found("classifier", {"classifier": state})
    return None


def _pdae(content: dict[str, Any]) -> Found | None:
    """Files of PDAE's and DiTi's trainers: a state dict under each of several names."""
    names = {"encoder": "encoder", "decoder": "decoder", "model": "denoise_fn", "latent": "latent_denoise_fn"}
    parts: dict[str, State] = {}
    averaged = set()
    for part, name in names.items():
        for key in (f"ema_{name}", name):
            if (state := _state(content.get(key))) is not None:
                parts[part] = state
                averaged.add(key.startswith("ema_"))
                break
    used: WeightsUsed = "EMA" if averaged == {True} else "raw"
    if {"encoder", "decoder"} <= parts.keys():
        parts.pop("model", None)
        return Found("DiTi" if {"ssl_model", "sgd_optimizer"} & content.keys() else "PDAE", parts, used)
    for part, kind in (("latent", "latent DPM"), ("model", "DDIM")):
        if part in parts:
            return Found(kind, {part: parts[part]}, used)  # type: ignore[arg-type]
    return None


def _bare(content: dict[str, Any], file: str) -> Found | None:
    state = _state(content)
    if state is None:
        return None
    used: WeightsUsed = "EMA" if file.startswith("ema") else "raw" if file.startswith("model") else "not told"
    if official.detect(state) is not None:
        return Found("DBAE", {"model": state}, used)
    if {"time_embed.0.weight", "input_blocks.0.0.weight", "out.2.weight"} <= state.keys():
        return Found("U-Net", {"model": state}, used)
    return None


def _optimiser(content: dict[str, Any]) -> Found | None:
    return Found("optimiser") if {"state", "param_groups"} <= content.keys() else None


def _state(value: Any) -> State | None:
    """`value` with plain keys if it is a state dict of tensors."""
    if not isinstance(value, dict) or not value:
        return None
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items()):
        return None
    state = {key.replace("_orig_mod.", ""): tensor for key, tensor in value.items()}
    return _under(state, "module.") if all(key.startswith("module.") for key in state) else state


def _under(state: Mapping[str, Tensor], prefix: str) -> State:
    """What stands under `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _statistics_of(content: Mapping[str, Any], mean: str, std: str) -> Statistics | None:
    """(1, l) or (l,) tensors under two names."""
    values = [content.get(name) for name in (mean, std)]
    if not all(isinstance(v, Tensor) and v.is_floating_point() and v.ndim in (1, 2) for v in values):
        return None
    flat = [v.detach().float().flatten().clone() for v in values if v is not None]
    return Statistics(*flat) if len(flat[0]) == len(flat[1]) else None
