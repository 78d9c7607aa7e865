"""Our checkpoint format: one safetensors file with a card in its header; nothing to unpickle.

    NAME.safetensors         tensors `raw.*` (training weights) and/or `ema.*` (averaged), header `card` = JSON
    NAME.state.safetensors   what training needs to go on: optimiser tensors, header `state` = JSON

`raw.*` and `ema.*` are whole state dicts. As in the reference, `ema.*` averages parameters only: its buffers
(batch-norm statistics, spectral-norm vectors) are those of the training weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dbae.checkpoints import torchfile
from dbae.checkpoints.fields import at_most, from_json
from dbae.model import DBAE, DBAEConfig
from dbae.support.errors import UserError
from dbae.support.files import atomic_path, remove

FORMAT = 1
Weights = Literal["ema", "raw"]
States = Mapping[Weights, Mapping[str, Tensor]]
"""State dicts of one model by kind."""
_M = TypeVar("_M", bound=torch.nn.Module)


@dataclasses.dataclass(frozen=True)
class Card:
    """What a checkpoint is and how it came to be.

    Attributes:
        method: which model class the weights are for ("dbae", "latent prior", ...).
        name: name used in result rows.
        config: the model's configuration as plain JSON values.
        train_data: name, fingerprint, split and size of the training images.
        images_seen: training images the weights have seen, repetitions counted.
        training: options of the training run.
        objective: options of its loss that are not the method's own.
        processes: how many shared every training batch.
        command: the command that trained it; data is named without its folder.
        versions: packages, revision of the code and hardware it was trained with.
        expected: metrics that benchmarks gave for these weights.
        note: free text.
        format: version of this format.
    """

    method: str
    name: str
    config: dict[str, Any]
    train_data: dict[str, Any] = dataclasses.field(default_factory=dict)
    images_seen: int = 0
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    objective: dict[str, Any] = dataclasses.field(default_factory=dict)
    processes: int = 1
    command: str = ""
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    expected: dict[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""
    format: int = FORMAT


def as_json(value: Any) -> Any:
    """What `value` looks like after a round trip through JSON (tuples become lists)."""
    return json.loads(json.dumps(value))


def save(
    path: str | os.PathLike[str],
    card: Card,
    *,
    raw: Mapping[str, Tensor] | None = None,
    ema: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a checkpoint atomically. `dtype` (e.g. torch.float16) rounds floating tensors, for sharing."""
    tensors = {
        f"{prefix}.{key}": value.to(dtype) if dtype and value.is_floating_point() else value
        for prefix, state in (("raw", raw), ("ema", ema))
        for key, value in (state or {}).items()
    }
    write_tensors(path, tensors, {"card": json.dumps(dataclasses.asdict(card), sort_keys=True)})


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a safetensors file atomically from tensors on any device."""
    plain = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    with atomic_path(path) as temporary, _private_folder(temporary) as folder:
        try:
            save_file(plain, folder / temporary.name, metadata=dict(header))
        except SafetensorError as error:  # its own type for a full disk
            raise OSError(None, str(error), str(temporary)) from error
        os.replace(folder / temporary.name, temporary)


@contextlib.contextmanager
def _private_folder(temporary: Path) -> Iterator[Path]:
    """A folder for the temporary files that safetensors makes under names of its own, so that they can be found."""
    folder = temporary.with_suffix(".d")
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def is_own(path: Path) -> bool:
    """Whether a file is to be read as safetensors: by its name, or by its beginning whatever its name is.

    That is the length of a header, which fits into the file, and the header, which is JSON.
    """
    if path.suffix == ".safetensors" or not path.is_file():
        return path.suffix == ".safetensors"
    with open(path, "rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") + 8 <= path.stat().st_size


def read_tensors(path: str | os.PathLike[str], header: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a safetensors file and the JSON under `header`.

    Raises:
        UserError: no such file, truncated or not safetensors, or without that header.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if header not in metadata:
                about = f"found headers {sorted(metadata) or 'none'}. Train one with `python -m dbae.train`"
                if path.name.endswith(".state.safetensors"):
                    model = path.name.removesuffix(".state.safetensors")
                    about = f"found the optimiser's state. The model lies beside it: name {model}.safetensors"
                raise UserError(
                    f"{path}: expected a safetensors file with a '{header}' header written by this package, {about}."
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            values = json.loads(metadata[header])
        if not isinstance(values, dict):
            raise ValueError(f"its {header} is a {type(values).__name__}")
        return tensors, values
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        remedy = "It may be truncated: copy or download it again."
        if torchfile.begins(path):
            remedy = "It is a file of PyTorch's: give it a name that ends in .pt."
        raise UserError(
            f"{path} ({path.stat().st_size} bytes): not a complete safetensors file ({error}). {remedy}"
        ) from error


def read(path: str | os.PathLike[str]) -> tuple[Card, dict[Weights, dict[str, Tensor]]]:
    """The card of a checkpoint of any method, and its state dicts by kind ("ema", "raw"), those it has.

    Raises:
        UserError: see `read_tensors`; also a header that is no card of this format.
    """
    tensors, values = read_tensors(path, "card")
    card = _card(path, values)
    states: dict[Weights, dict[str, Tensor]] = {
        kind: {k.removeprefix(f"{kind}."): v for k, v in tensors.items() if k.startswith(f"{kind}.")}
        for kind in get_args(Weights)
    }
    return card, {kind: state for kind, state in states.items() if state}


def load(path: str | os.PathLike[str], *, weights: Weights | None = None) -> tuple[DBAE, Card]:
    """Read a DBAE in evaluation mode, float32 on the CPU, and its card.

    Args:
        weights: "ema" or "raw"; None prefers EMA where the file has it.

    Raises:
        UserError: see `read`; also a checkpoint of another method, keys or shapes that do not fit the card, and
            non-finite weights.
    """

    def build(config: dict[str, Any], name: str) -> DBAE:
        return DBAE(from_json(DBAEConfig, config), name=name)

    return load_as("dbae", build, path, weights=weights)


def load_as(
    method: str, build: Callable[[dict[str, Any], str], _M], path: str | os.PathLike[str], *, weights: Weights | None
) -> tuple[_M, Card]:
    """Read a checkpoint of `method` into the module that `build(config, name)` of its card makes (on the meta device).

    Arguments, result and errors otherwise as in `load`.
    """
    card, states = read(path)
    if card.method != method:
        raise UserError(
            f"{path}: expected a checkpoint of method {method!r}, found one of method {card.method!r}. "
            "`python -m baselines.inspect` says what can be measured of it."
        )
    return filled(card, states, build, path, weights=weights), card


def filled(
    card: Card,
    states: States,
    build: Callable[[dict[str, Any], str], _M],
    path: str | os.PathLike[str],
    *,
    weights: Weights | None = None,
) -> _M:
    """The module of a card and state dicts that `read(path)` gave; arguments and errors otherwise as in `load_as`."""
    kind = weights or next(iter(states), None)
    if kind is None or kind not in states:
        raise UserError(f"{path}: expected '{kind or 'ema'}.*' weights, found {' and '.join(states) or 'none'}.")
    try:
        with torch.device("meta"), at_most(2 * len(states[kind])):  # spectral norm registers its weights twice
            model = build(card.config, card.name)
    except (TypeError, KeyError, ValueError, ArithmeticError, LookupError, RuntimeError, UserError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        raise UserError(f"{path}: its card does not describe a model of method {card.method!r} ({reason}).") from error
    load_strictly(model, states[kind], path)
    return model.eval()


def _card(path: str | os.PathLike[str], values: dict[str, Any]) -> Card:
    if values.get("format") != FORMAT:
        raise UserError(
            f"{path}: expected a card of format {FORMAT}, found format {values.get('format')!r} "
            f"(method {values.get('method')!r}). A newer version of this package may read it."
        )
    try:
        return from_json(Card, values)
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{path}: its card does not describe a checkpoint ({error}).") from error


def load_strictly(model: torch.nn.Module, state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Put `state` into `model` (which may live on the meta device): same keys, shapes and kinds, finite values.

    Floating tensors become float32.

    Raises:
        UserError: names the first few keys that differ.
    """
    expected = model.state_dict()
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    faults = [f"missing {k}" for k in expected if k not in state]
    faults += [f"unexpected {k}" for k in state if k not in expected]
    faults += [
        f"{k} has shape {tuple(v.shape)}, expected {tuple(expected[k].shape)}"
        for k, v in state.items()
        if k in expected and v.shape != expected[k].shape
    ]
    faults += [f"{k} is {v.dtype}" for k, v in state.items() if k in expected and v.dtype != expected[k].dtype]
    faults += [f"{k} has NaN or infinite values" for k, v in state.items() if not torch.isfinite(v).all()]
    if faults:
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise UserError(f"{path}: its tensors do not fit the architecture: {shown}.")
    model.load_state_dict(state, strict=True, assign=True)
