"""Benchmarks from Python: a model that is there already in place of --ckpt, a data set in place of --data.

    import benchmarks.reconstruction
    table = benchmarks.reconstruction.measure(model, data="folder:photos", out="mine.csv", nfe=(10, 20))

A model is what `baselines.load.load` returns, any object that satisfies `baselines.interface.RepresentationModel`, a
checkpoint's file or name, z alone (`benchmarks.subjects.given`), or a list of them. Every option of the command line is
an argument of the same name. Rows go to `out` as they do from a command, and come back as a pandas table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from baselines.interface import LoadedModel, require_model
from benchmarks.results.table import table
from benchmarks.runner.benchmark import Family
from benchmarks.runner.options import ModelOptions
from benchmarks.subjects.given import GivenLatents, LabelTable, open_latents
from dbae.data import ImageDataset, open_data
from dbae.support.errors import UserError
from dbae.support.values import fitted

if TYPE_CHECKING:
    import pandas


def measure(family: Family[Any, Any], model: Any, data: Any = None, **options: Any) -> pandas.DataFrame:
    """Measure; all rows of this call, those found in `out` included.

    Args:
        model: see the module; one or a list.
        data: a source as in --data, an `ImageDataset`, a pandas table of labels (z alone needs no images), or a list.

    Raises:
        UserError: an option that the benchmark has not, or what its command refuses.
    """
    prior = options.pop("prior") if not isinstance(options.get("prior"), str | Path | None) else None
    models = dict(_model(one, i, prior) for i, one in enumerate(_several(model)))
    datasets = {} if data is None else dict(_dataset(one, i) for i, one in enumerate(_several(data)))
    given: dict[str, Any] = {"ckpt": tuple(models)} | ({"data": tuple(datasets)} if datasets else {})
    chosen = options_of(family.options, options | given)

    def load(source: str) -> LoadedModel:
        from baselines.load import load

        loaded = models.get(source)
        return load(source) if loaded is None else loaded

    def opened(source: str, *, size: int | None = None) -> ImageDataset:
        dataset = datasets.get(source)
        return open_data(source, size=size or None) if dataset is None else dataset

    for source, loaded in models.items():
        if loaded is not None and isinstance(loaded.model, GivenLatents):
            models[source] = _of_size(loaded, loaded.model, [opened(name) for name in datasets], chosen)
    chosen.check()
    session = family.session(chosen)
    family.measured(chosen, session, load, opened)
    return table(session.results.touched.values())


def _several(given: Any) -> Sequence[Any]:
    return given if isinstance(given, list | tuple) else [given]


def options_of(kind: type[ModelOptions], given: Mapping[str, Any]) -> Any:
    """Options of a class, those of its nested `settings` included, with values as `fitted` takes them.

    Raises:
        UserError: an option that the class has not, or a value that the option has not.
    """
    default: Any = kind()
    own = {field.name for field in dataclasses.fields(kind)}
    nested = default.settings if "settings" in own else None  # of generation it is a method
    inner = {field.name for field in dataclasses.fields(nested)} if nested is not None else set()
    for name in given:
        if name not in own | inner:
            known = ", ".join(sorted((own | inner) - {"settings", "ckpt"}))
            raise UserError(f"{name}: expected an option of this benchmark, found none of that name. There is {known}.")
    values = _fitted_all(kind, {name: value for name, value in given.items() if name in own})
    changes = {name: value for name, value in given.items() if name not in own}
    if changes and nested is not None:
        settings = values.get("settings", nested)
        values["settings"] = dataclasses.replace(settings, **_fitted_all(type(nested), changes))
    return dataclasses.replace(default, **values)


def _fitted_all(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {name: fitted(name, hints[name], value) for name, value in given.items()}


def _model(model: Any, number: int, prior: Any) -> tuple[str, LoadedModel | None]:
    source, loaded = f"model {number}", model
    named = isinstance(model, str | Path)
    if named and str(model).endswith((".csv", ".tsv", ".parquet")):
        raise UserError(
            f"{model}: expected a checkpoint, or z in an .npz or .npy, found a table. Read it and give its numbers: "
            "pandas.read_csv(...).to_numpy()."
        )
    if isinstance(model, np.ndarray) or (named and str(model).endswith((".npz", ".npy"))):
        loaded = open_latents(model)
    elif named:
        if prior is None:
            return str(model), None
        from baselines.load import load

        loaded = load(model)
    elif not isinstance(model, LoadedModel):
        require_model(model)
        loaded = LoadedModel.of(model)
    return source, dataclasses.replace(loaded, prior=prior) if prior is not None else loaded


def _dataset(data: Any, number: int) -> tuple[str, ImageDataset | None]:
    if isinstance(data, str | Path):
        return str(data), None
    return f"data set {number}", data if isinstance(data, ImageDataset) else LabelTable(data)


def _of_size(
    loaded: LoadedModel, given: GivenLatents, datasets: Sequence[ImageDataset], options: ModelOptions
) -> LoadedModel:
    """z alone, as a model of images of the data's size."""
    for dataset in datasets:
        if len(dataset) != len(given):
            raise UserError(
                f"{loaded.name}: expected one row of z for each of the {len(dataset)} images of {dataset.name}, in "
                f"their order; found {len(given)}."
            )
        given.image_size = dataset.size
    if getattr(options, "limit", None) is not None:
        raise UserError("limit: expected none where z alone is given. Give fewer rows of z and of labels.")
    return loaded
