"""A method: all that commands and benchmarks have to know of a kind of model, one value `METHOD` that its file exports.

A new method is a file in `baselines/methods/` and a line in `baselines/methods/__init__.py`; no command and no
benchmark knows its name. What it needs at least is a configuration, a class and presets with a loss: then it trains
(`baselines.train`), its checkpoints open, and everything measures it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from baselines.interface import LoadedModel, Prior, RepresentationModel
from baselines.recognise import Kind
from dbae.checkpoints.facts import Facts, Question
from dbae.checkpoints.fields import from_json
from dbae.noise import mixed_seed
from dbae.prior import LatentSampling
from dbae.support.errors import UserError
from dbae.training.objective import Objective

State = Mapping[str, Tensor]
Load = Callable[[str], LoadedModel]
"""Name or file of a checkpoint -> its model."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """A configuration of a method, and the options of `TrainConfig` with which to train it where they are others."""

    config: Callable[[], Any]
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Built:
    """A fresh model, and what its card says of its loss beside the method's own."""

    model: nn.Module
    objective: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Options of `baselines.train` that a method has of its own: of one that has none.

    A derived class adds fields with defaults, documented under Attributes, and says what they do.
    """

    def configured(self, config: Any) -> Any:
        """The preset's configuration, changed."""
        return config

    def built(self, method: Method, config: Any, seed: int, name: str, load: Load) -> Built:
        """A model with fresh weights, a function of `seed`. `load` opens checkpoints that it builds on."""
        return Built(method.fresh(config, seed, name))

    def shown(self) -> dict[str, str]:
        """What was asked for, by option, as the card's command names it."""
        values = ((field.name, getattr(self, field.name), field.default) for field in dataclasses.fields(self))
        return {name.replace("_", "-"): str(value) for name, value, default in values if value != default}


@dataclasses.dataclass(frozen=True)
class LatentOptions(TrainingOptions):
    """Options of a method whose configuration has a `latent_dim`.

    Attributes:
        latent_dim: length of z, the code of an image.
    """

    latent_dim: int | None = None

    def __post_init__(self) -> None:
        if self.latent_dim is not None and self.latent_dim < 1:
            raise UserError(f"--latent-dim: expected 1 or more, found {self.latent_dim}; change --latent-dim.")

    def configured(self, config: Any) -> Any:
        """The preset with another `latent_dim`, where one is given."""
        return config if self.latent_dim is None else dataclasses.replace(config, latent_dim=self.latent_dim)


@dataclasses.dataclass(frozen=True)
class Official:
    """Files of other programs that hold a model of a method.

    Attributes:
        claims: kinds of `baselines.recognise` that it opens; on_request: those that it opens for `?method=KEY`.
        detect: the configuration, from the parts of a file; None if their shapes fit no such network.
        state: our state dict of theirs.
        question: what shapes leave open; settled: the configuration with the answers, for the file of a path.
        facts: the answers of all published models; published: whether the authors publish one of this configuration.
        written: answers in the plain values that their program stores in a file.
        latent_sampling: how their program draws z from a latent DPM, where not as `LatentPrior` does.
    """

    claims: tuple[Kind, ...]
    detect: Callable[[Mapping[str, State]], Any]
    state: Callable[[Mapping[str, State]], dict[str, Tensor]]
    question: Question
    settled: Callable[[Any, Facts, Any], Any]
    facts: Facts = dataclasses.field(default_factory=dict)
    published: Callable[[Any], bool] = lambda config: False
    written: Callable[[Mapping[str, Any]], Facts] = lambda hyper_parameters: {}
    on_request: tuple[Kind, ...] = ()
    latent_sampling: LatentSampling | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """A kind of model.

    Attributes:
        key: its name in cards of checkpoints and on the command line, e.g. "diffae".
        label: its name in tables, e.g. "DiffAE".
        config: frozen dataclass of plain values that fixes the function, but its weights; has `image_size`.
        model: its class: `model(config, name=...)` is a torch module and a `RepresentationModel`.
        loss: model, images, generator -> `loss` and `mse`, one number an image each; see `dbae.training.loop`.
        presets: by name.
        options: what `baselines.train` can be told beyond the preset; None for a method with a command of its own.
        official: files of other programs.
        variant: what tells models of the method apart in tables, of a configuration.
        prior: a distribution of z that a model has without learning it.
        least: images that the loss of a configuration has to see at once, as it compares them with each other.
    """

    key: str
    label: str
    config: type[Any]
    model: Callable[..., Any]
    loss: Objective
    presets: dict[str, Preset]
    options: type[TrainingOptions] | None = TrainingOptions
    official: tuple[Official, ...] = ()
    variant: Callable[[Any], str] = lambda config: ""
    prior: Callable[[Any], Prior | None] = lambda model: None
    least: Callable[[Any], int] = lambda config: 1

    def of_card(self, config: Mapping[str, Any], name: str) -> Any:
        """A model without weights of the configuration that a card has, as `dbae.checkpoints.own.filled` wants it."""
        return self.model(from_json(self.config, config), name=name)

    def fresh(self, config: Any, seed: int, name: str) -> nn.Module:
        """A model with initial weights that are a function of `seed`; global random state stays as it was."""
        with torch.random.fork_rng([]):
            torch.manual_seed(mixed_seed(seed, "weights"))
            return self.model(config, name=name)

    def blank(self, config: Any, name: str) -> Any:
        """A model on the meta device, to be filled by `dbae.checkpoints.own.load_strictly`."""
        with torch.device("meta"):
            return self.model(config, name=name)

    def untrained(self, config: Any, name: str) -> Callable[[int], RepresentationModel]:
        """seed -> a fresh model that is ready to be measured."""
        return lambda seed: ready(self.fresh(config, seed, name))

    def preset(self, name: str) -> Preset:
        """The preset of that name.

        Raises:
            UserError: there is none.
        """
        if name not in self.presets:
            raise UserError(f"--preset {name}: {self.key} has the presets {', '.join(self.presets)}.")
        return self.presets[name]


def ready(model: Any) -> Any:
    """For inference, in the memory layout that convolutions are fastest in."""
    return model.eval().to(memory_format=torch.channels_last)
