"""LPIPS where its weights are found: the metric names of the results, and which network belongs to each."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.extractors.features import LPIPS_FILES, load_lpips
from benchmarks.results import Record
from dbae.support.errors import UserError

NAMES: dict[str, Literal["alex", "vgg"]] = {"LPIPS": "alex", "LPIPS_vgg": "vgg"}
"""Metric -> trunk. All published tables use AlexNet, hence the plain name."""

log = logging.getLogger(__name__)


@runtime_checkable
class Distance(Protocol):
    """A distance of pairs of images in [-1, 1] (`features.Lpips` is one)."""

    def __call__(self, *, real: Float[Tensor, "b 3 h w"], fake: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]: ...


def available(paths: Sequence[Path], device: torch.device) -> dict[str, Distance]:
    """Metric name -> LPIPS, of every trunk whose weights are given or found on this machine.

    Args:
        paths: files given by the user; one whose name begins with "vgg" is VGG's, any other AlexNet's.
        device: where to compute.

    Raises:
        UserError: a given file is not what it should be. A file that is not found anywhere is only logged.
    """
    given = {"vgg" if path.name.startswith("vgg") else "alex": path for path in paths}
    found: dict[str, Distance] = {}
    for name, net in NAMES.items():
        try:
            found[name] = load_lpips(net, given.get(net), device=device)
        except UserError as error:
            if net in given:
                raise
            _say_left_out(name, net)
            log.debug("%s", error)
            continue
        digest = _fingerprint(found[name])
        if digest and not digest.startswith(LPIPS_FILES[net].digest):
            log.warning("%s: LPIPS's network, but not its published weights (SHA-256 %s)", name, digest[:8])
    return found


def _fingerprint(lpips: Distance) -> str:
    """Hash of its weights; "" of a distance of somebody's own."""
    return getattr(lpips, "fingerprint", "")


def weights_of(lpips: Mapping[str, Distance]) -> str:
    """What `versions` says of the weights: "; LPIPS 1a2b3c4d5e6f", and so on."""
    return "".join(f"; {name} {_fingerprint(one)[:12]}" for name, one in lpips.items())


def of_these_weights(rows: Sequence[Record], lpips: Mapping[str, Distance]) -> bool:
    """Whether all distances among the rows that can be measured now are by these very weights."""
    marks = {name: weights_of({name: one}) for name, one in lpips.items()}
    return all(marks.get(row.metric.removesuffix("_pairwise"), "") in row.versions for row in rows)


@functools.cache
def _say_left_out(name: str, net: Literal["alex", "vgg"]) -> None:
    """Once in a process, however many models it measures."""
    about = f"put {LPIPS_FILES[net].url} into $DBAE_WEIGHTS_DIR, or name it with --lpips-weights"
    log.info("%s: left out, no weights found; %s.", name, about)
