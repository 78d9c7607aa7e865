"""What a checkpoint file is, and what a benchmark can do with it.

Examples:
  python -m baselines.inspect builtin:dbae
  python -m baselines.inspect checkpoints/ffhq128_autoenc/last.ckpt

Method, architecture and sizes are read off the names and shapes of the file; what they do not tell is asked for.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from torch import nn
from tyro.conf import Positional

from baselines.interface import InfersEndpoint
from baselines.load import LoadedModel, NoModel, load, no_model
from dbae.checkpoints.own import as_json, is_own, read
from dbae.model import parameter_counts
from dbae.support.cli import run
from dbae.support.files import sha256


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    source: Positional[Path]
    """A checkpoint file, or a name that `--ckpt` takes."""


def inspect(options: Options) -> None:
    """Run the command."""
    other = no_model(options.source)
    facts = _identified(other) if other else describe(load(options.source))
    print("\n".join(f"{name:14} {line}" for name, value in facts.items() for name, line in _lines(name, value)))


def describe(loaded: LoadedModel) -> dict[str, Any]:
    """Everything that is known about a model, by heading."""
    model = loaded.model
    facts: dict[str, Any] = {
        "file": _sized(loaded.file),
        "sha256": loaded.sha256,
        "method": ", ".join(filter(None, (loaded.method, loaded.variant))),
        "weights": f"{loaded.weights_used}, {loaded.weights}",
        "trained on": loaded.train_data or "the file does not say",
        "images": f"{model.image_size} px",
        "latent": f"z of {model.latent_dim} numbers",
    }
    if isinstance(model, nn.Module):
        facts["parameters"] = [f"{count:13,} {part}" for part, count in parameter_counts(model).items()]
        facts["configuration"] = _flat(as_json(dataclasses.asdict(model.config)))  # type: ignore[call-overload]
    return facts | {"benchmarks": _uses(loaded), "note": list(loaded.notes)} | _told(loaded.file)


def _told(path: Path) -> dict[str, Any]:
    """What the card of one of our files tells of its training, and which results it expects."""
    if not is_own(path):
        return {}
    card, _ = read(path)
    results = [f"{value:<8g} {name}" for name, value in card.expected.items()]
    return {"command": [card.command] * bool(card.command), "about": [card.note] * bool(card.note), "results": results}


def _uses(loaded: LoadedModel) -> list[str]:
    """What a benchmark can do with the model."""
    model = loaded.model
    cost = f"{model.encode_nfe} network evaluations an image" if model.encode_nfe else "one pass an image"
    uses = [f"downstream, disentanglement: z by {cost}"]
    if model.samplers:
        uses.append(f"reconstruction: x_T {' or '.join(model.endpoints)}; samplers {', '.join(model.samplers)}")
    if "inferred" in model.endpoints and not isinstance(model, InfersEndpoint):
        uses.append("inferred x_T: not here")
    if not model.endpoints:
        return [*uses, "reconstruction, variation, generation: n/a, there is no decoder"]
    prior = f"the prior in the file ({type(loaded.prior).__name__})" if loaded.prior else "--prior FILE"
    return [*uses, f"generation: mode ae as it is; mode prior with {prior}"]


def _identified(other: NoModel) -> dict[str, Any]:
    return {"file": _sized(other.path), "sha256": sha256(other.path), "what": other.what}


def _sized(path: Path) -> str:
    return f"{path} ({path.stat().st_size / 1e6:.1f} MB)"


def _flat(config: dict[str, Any], prefix: str = "") -> list[str]:
    """One line for each number of a nested configuration, e.g. "score.base 128"."""
    lines: list[str] = []
    for key, value in config.items():
        name = f"{prefix}{key}"
        lines += _flat(value, f"{name}.") if isinstance(value, dict) else [f"{name} {json.dumps(value)}"]
    return lines


def _lines(name: str, value: Any) -> list[tuple[str, Any]]:
    """A value with its heading; of a list only the first line has one."""
    values = value if isinstance(value, list) else [value]
    return [("" if i else name, line) for i, line in enumerate(values)]


if __name__ == "__main__":
    raise SystemExit(run(inspect, Options, module="baselines.inspect", description=__doc__))
