"""What a benchmark measures: the images that --limit leaves of a data set, and the cells of a record that name both."""

from __future__ import annotations

from typing import Any

import numpy as np

from baselines.interface import LoadedModel
from dbae.data import ImageDataset, Subset
from dbae.support.errors import UserError

CONTROLS = ("untrained", "pca", "random", "prevalence", "pixels", "factors", "real")
"""What controls are called in the column `model`."""


def limited(dataset: ImageDataset, limit: int | None) -> ImageDataset:
    """The first `limit` images of every split, as a data set with a fingerprint of its own; None keeps all."""
    if limit is None:
        return dataset
    named = {name: indices for name, indices in dataset.splits.items() if name != "all"}
    kept = [indices[:limit] for indices in (named or dataset.splits).values()]
    return Subset(dataset, np.unique(np.concatenate(kept)))


def require_size(loaded: LoadedModel, dataset: ImageDataset) -> None:
    """Raises UserError where the model takes images of another size."""
    if dataset.size != loaded.model.image_size:
        raise UserError(
            f"{dataset.name}: {loaded.name} takes images of {loaded.model.image_size} pixels, found {dataset.size}. "
            "Leave out size= in --data."
        )


def require_names(loaded: LoadedModel) -> LoadedModel:
    """The model, if result rows can have its name. Raises UserError where they cannot, before hours are measured."""
    for what in ("name", "method", "variant", "train_data"):
        text = getattr(loaded, what)
        if "\n" in text or "\r" in text or (what == "name" and not text.strip()):
            raise UserError(
                f"{what} of the model: expected text in one line, found {text!r}. Rename the file or correct its card."
            )
    if loaded.name.casefold() in CONTROLS:
        raise UserError(
            f"name of the model: expected another than {', '.join(CONTROLS)}, which controls have in tables, found "
            f"{loaded.name!r}. Rename the file, or correct its card."
        )
    return loaded


def split_of(dataset: ImageDataset, wanted: str) -> str:
    """The split that a command measures: `wanted`, else test where there is one, else all."""
    return wanted or ("test" if "test" in dataset.splits else "all")


def cells_of(loaded: LoadedModel) -> dict[str, Any]:
    """The columns of a record that say which model it is of."""
    return {
        "model": loaded.name,
        "method": loaded.method,
        "variant": loaded.variant,
        "train_data": loaded.train_data,
        "weights": loaded.weights,
        "checkpoint_sha256": loaded.sha256,
        "latent_dim": loaded.model.latent_dim,
    }


def cells_of_data(dataset: ImageDataset, split: str, n: int) -> dict[str, Any]:
    """The columns of a record that say which n images it is of."""
    return {"dataset": dataset.name, "data_sha256": dataset.fingerprint, "split": split, "n": n}
