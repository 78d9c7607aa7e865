"""The models of a results file, each under a name that tells it from the others, and found by words of it.

Who a row is about is (model, method, variant, training data, length of z, weights, hash): a file may have several
encoders that are all called "untrained", and several checkpoints of one training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.results.record import Record

_HASH = 4
"""Digits of a hash that a name shows, and fewest that find it."""


class Model(NamedTuple):
    """Who a row is about."""

    model: str
    method: str
    variant: str
    train_data: str
    latent_dim: int | None
    weights: str
    checkpoint_sha256: str

    @classmethod
    def of(cls, record: Record) -> Model:
        """The model that a row is of."""
        return cls(*(getattr(record, name) for name in cls._fields))

    @property
    def words(self) -> set[str]:
        """What it can be called by, in lower case."""
        about = [self.model, self.method, self.variant, self.train_data, self.weights]
        return {word.strip("(),").casefold() for text in about for word in text.split()} - {""}


def names_of(records: Iterable[Record]) -> dict[Model, str]:
    """The models of the records in their order, each with a name of its own."""
    return named(dict.fromkeys(map(Model.of, records)))


def named(models: Iterable[Model]) -> dict[Model, str]:
    """Each of the models with a name of its own."""
    models = list(models)
    return {model: _name(model, [other for other in models if other.model == model.model]) for model in models}


def _name(model: Model, namesakes: Sequence[Model]) -> str:
    """The model's own name and, of what sets it apart from its namesakes, as much as is needed."""
    texts = {other: _texts(other) for other in namesakes}
    shown = ["method", "hash"] if model.model == "untrained" else []
    for part in ("method", "variant", "train_data", "latent_dim", "hash", "weights"):
        alike = [other for other in namesakes if all(texts[other][p] == texts[model][p] for p in shown)]
        if len(alike) > 1 and part not in shown and len({texts[other][part] for other in alike}) > 1:
            shown.append(part)
    return " ".join(filter(None, [model.model, *(text for part, text in texts[model].items() if part in shown)]))


def _texts(model: Model) -> dict[str, str]:
    digits = "" if model.latent_dim is None else f"z of {model.latent_dim}"
    texts = {"method": model.method, "variant": model.variant, "train_data": model.train_data, "latent_dim": digits}
    return texts | {"hash": model.checkpoint_sha256[:_HASH], "weights": model.weights}


def find(text: str, names: Mapping[Model, str]) -> list[Model]:
    """The models that `text` means: those of exactly this name, else those that all its words are said of.

    A word is one of the name, method, variant, training data or weights, or the beginning of the hash.
    """
    if exact := [model for model, name in names.items() if text in (name, model.model)]:
        return exact
    words = [word.strip("(),").casefold() for word in text.split()]
    return [model for model in names if words and all(_said_of(word, model) for word in words)]


def _said_of(word: str, model: Model) -> bool:
    return word in model.words or (len(word) >= _HASH and model.checkpoint_sha256.startswith(word))


def counterparts(model: Model, among: Sequence[Model]) -> list[Model]:
    """Of several baselines those of the model's method, variant and length of z; of its method; else all."""
    for same in (("method", "variant", "latent_dim"), ("method",)):
        alike = [other for other in among if all(getattr(other, p) == getattr(model, p) for p in same)]
        if model.method and alike:
            return alike
    return list(among)
