"""The models of a results file, each under a name that tells it from the others, and found by words of it.

Who a row is about is (model, method, variant, training data, length of z, weights, hash): a file may have several
encoders that are all called "untrained", and several checkpoints of one training.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.results.record import Record

_HASH = 4
"""Digits of a hash that a name shows, and fewest that find it."""
_PARTS = ("method", "variant", "train_data", "latent_dim", "hash", "weights")
"""What can set namesakes apart, in the order in which it is tried."""


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


def told_apart(records: Sequence[Record]) -> list[Record]:
    """The records, for a table.

    Of namesakes on one data set `model` is the name that `names_of` gives them, and of data sets of one name `dataset`
    is the one that `data_names` gives them.
    """
    there = dict.fromkeys((record.dataset, Model.of(record)) for record in records)
    bearers = Counter((dataset, model.model) for dataset, model in there)
    names, data = named(model for dataset, model in there if bearers[dataset, model.model] > 1), data_names(records)
    return [
        dataclasses.replace(
            record,
            model=names.get(Model.of(record), record.model),
            dataset=data[record.dataset, record.data_sha256],
        )
        for record in records
    ]


def data_names(records: Iterable[Record]) -> dict[tuple[str, str], str]:
    """(name, fingerprint) of data sets -> the name, and where several have it also the beginning of the fingerprint."""
    there = dict.fromkeys((record.dataset, record.data_sha256) for record in records)
    bearers = Counter(name for name, _ in there)
    return {(name, sha): f"{name} {sha[:4]}".strip() if bearers[name] > 1 else name for name, sha in there}


def named(models: Iterable[Model]) -> dict[Model, str]:
    """Each of the models with its name and, of what sets it apart from its namesakes, as much as is needed."""
    texts = {model: _texts(model) for model in models}
    names: dict[Model, str] = {}
    for namesakes in _grouped(list(texts), texts, ("name",)):
        shown = ("name", "method", "hash") if namesakes[0].model == "untrained" else ("name",)
        for alike in _grouped(namesakes, texts, shown):
            names |= _set_apart(alike, texts, shown, _PARTS)
    return {model: names[model] for model in texts}


_Texts = Mapping[Model, Mapping[str, str]]


def _set_apart(alike: Sequence[Model], texts: _Texts, shown: Sequence[str], parts: Sequence[str]) -> dict[Model, str]:
    """Names of models that `shown` does not tell apart: by the first of `parts` in which they differ, and so on."""
    for i, part in enumerate(parts):
        groups = _grouped(alike, texts, (part,))
        if part not in shown and len(groups) > 1:
            apart = (_set_apart(group, texts, (*shown, part), parts[i + 1 :]) for group in groups)
            return {model: name for names in apart for model, name in names.items()}
    return {m: " ".join(text for part, text in texts[m].items() if part in shown and text) for m in alike}


def _grouped(models: Sequence[Model], texts: _Texts, parts: Sequence[str]) -> list[list[Model]]:
    groups: dict[tuple[str, ...], list[Model]] = {}
    for model in models:
        groups.setdefault(tuple(texts[model][part] for part in parts), []).append(model)
    return list(groups.values())


def _texts(model: Model) -> dict[str, str]:
    digits = "" if model.latent_dim is None else f"z of {model.latent_dim}"
    texts = {"name": model.model, "method": model.method, "variant": model.variant, "train_data": model.train_data}
    return texts | {"latent_dim": digits, "hash": model.checkpoint_sha256[:_HASH], "weights": model.weights}


def find(text: str, names: Mapping[Model, str]) -> list[Model]:
    """The models that `text` means: those of exactly this name, also in other case, else those it has the words of.

    All its words have to be said of a model. A word is one of the name, method, variant, training data or weights, or
    the beginning of the hash.
    """
    for written in (str, str.casefold):
        called = written(text)
        if exact := [model for model, name in names.items() if called in (written(name), written(model.model))]:
            return exact
    words = [word.strip("(),").casefold() for word in text.split()]
    return [model for model in names if words and all(_said_of(word, model) for word in words)]


def _said_of(word: str, model: Model) -> bool:
    return word in model.words or (len(word) >= _HASH and model.checkpoint_sha256.startswith(word))


def counterparts(model: Model, among: Sequence[Model]) -> list[Model]:
    """Those baselines that have the model's method, variant and length of z; its method; its length; else all."""
    by_method = (("method", "variant", "latent_dim"), ("method",)) if model.method else ()  # controls have none
    for same in (*by_method, ("latent_dim",)):
        alike = [other for other in among if all(getattr(other, p) == getattr(model, p) for p in same)]
        if alike:
            return alike
    return list(among)
