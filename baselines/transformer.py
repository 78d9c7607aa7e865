"""`ReprEncoder`: the encoder of any model as a scikit-learn transformer, from images to z.

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

classifier = make_pipeline(ReprEncoder("builtin:dbae"), StandardScaler(), LogisticRegression())
classifier.fit(["a.jpg", "b.jpg", "c.jpg"], [0, 1, 0]).predict(["d.jpg"])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from baselines.interface import LoadedModel, RepresentationModel, require_model
from baselines.load import load
from dbae.data import CROPS, Crop, Exif, NamedImages, open_images
from dbae.images import to_float
from dbae.interface import on_device
from dbae.support import cli
from dbae.support.errors import UserError
from dbae.support.precision import Precision, advice, autocast
from dbae.support.values import fitted

_OPTIONS = {"crop": Crop, "exif": Exif, "batch_size": int, "precision": Precision, "device": str}
Images = Any
"""Of scikit-learn's callers anything may come; what is taken says `ReprEncoder`."""


class ReprEncoder(TransformerMixin, BaseEstimator):
    """z of images: uint8 (n, h, w, 3), or the names of n files, -> float32 (n, l), the mean of the posterior.

    Names come as a list, a tuple, an array or a pandas Series of str or Path.

    Fitting opens the model and learns nothing, so that a pipeline may be fitted and cross-validated as it is. Images of
    another size than the model's are cut to a square and resized, as by `python -m baselines.encode`.

    Args:
        ckpt: a checkpoint's file or name, what `baselines.load.load` returns, or an object of your own that is a
            `baselines.interface.RepresentationModel`.
        crop: square taken from other aspects: centre; top; whole (black bars).
        exif: upright turns photographs as their EXIF orientation says; ignore reads them as stored.
        batch_size: images encoded at a time; changes no number beyond rounding.
        precision: of the encoder.
        device: where it runs: auto, cpu, cuda, cuda:1.

    Attributes:
        model_: the model, once fitted; n_features_out_: length l of z.
    """

    def __init__(
        self,
        ckpt: Any = "builtin:dbae",
        *,
        crop: Crop = "centre",
        exif: Exif = "upright",
        batch_size: int = 64,
        precision: Precision = "fp32",
        device: str = "auto",
    ) -> None:
        self.ckpt, self.crop, self.exif = ckpt, crop, exif
        self.batch_size, self.precision, self.device = batch_size, precision, device

    def fit(self, X: Images, y: Any = None) -> ReprEncoder:
        """Open the model. No image is read.

        Raises:
            UserError: no such checkpoint or device, an object that is no model, or an option out of range.
        """
        self._require_options()
        model: Any = load(self.ckpt) if isinstance(self.ckpt, str | Path) else self.ckpt
        model = model.model if isinstance(model, LoadedModel) else model
        require_model(model)
        self.model_: RepresentationModel = on_device(model, cli.device(str(self.device)))
        self.n_features_out_ = model.latent_dim
        return self

    @torch.inference_mode()
    def transform(self, X: Images) -> Float32[np.ndarray, "n l"]:
        """z of every image, in order.

        Raises:
            UserError: neither images nor names, a file that is no image, or z that is not finite.
            sklearn.exceptions.NotFittedError: before `fit`.
        """
        check_is_fitted(self, "model_")
        self._require_options()  # those of `set_params` since
        device = cli.device(str(self.device))
        found = [np.empty((0, self.model_.latent_dim), np.float32)]
        for pixels in self._batches(X):
            with autocast(device, self.precision):
                z = self.model_.encode(to_float(pixels.to(device))).float().cpu().numpy()
            if not np.isfinite(z).all():
                raise UserError(f"{self.model_.name}: z is not finite in {self.precision}. {advice(self.precision)}")
            found.append(z)
        return np.concatenate(found)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """z0, z1, ..., for `set_output(transform="pandas")`."""
        check_is_fitted(self, "model_")
        return np.array([f"z{i}" for i in range(self.n_features_out_)], dtype=object)

    def _batches(self, X: Images) -> Iterator[Tensor]:
        """uint8 (b, 3, s, s), `batch_size` at a time."""
        size = self.model_.image_size
        if isinstance(X, np.ndarray) and X.dtype.kind not in "OU":
            if X.dtype != np.uint8 or X.ndim != 4 or X.shape[3] != 3:
                _refuse(f"{X.dtype} {X.shape}")
            for start in range(0, len(X), self.batch_size):
                images = X[start : start + self.batch_size]
                if images.shape[1:3] != (size, size):
                    images = np.stack([_resized(image, size, self.crop) for image in images])
                yield torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        elif names := _names(X):
            data = self._opened(names, size)
            for start in range(0, len(data), self.batch_size):
                yield data.batch(range(start, min(start + self.batch_size, len(data))))

    def _require_options(self) -> None:
        for name, hint in _OPTIONS.items():
            fitted(name, hint, getattr(self, name))
        if self.batch_size < 1:
            raise UserError(f"batch_size: expected 1 or more, found {self.batch_size!r}.")

    def _opened(self, names: list[str], size: int) -> NamedImages:
        data = open_images(names, size=size, crop=self.crop, exif=self.exif)
        if len(data) != len(names):
            raise UserError(f"X: expected the names of {len(names)} image files, found {len(data)} images under them.")
        return data


def _names(X: Any) -> list[str]:
    """The names in a list, a tuple, an array or a pandas Series."""
    listed = (isinstance(X, Sequence) and not isinstance(X, str | bytes)) or getattr(X, "ndim", None) == 1
    other = [type(name).__name__ for name in X if not isinstance(name, str | Path)] if listed else []
    if not listed or other:
        _refuse(f"{type(X).__name__}{f' of {other[0]}' if other else ''}")
    return [str(name) for name in X]


def _refuse(found: str) -> NoReturn:
    raise UserError(
        f"X: expected images as uint8 (n, height, width, 3) or names of files, found {found}. Stack a list of arrays "
        "(np.stack), put a name alone into a list, take one column of a table."
    )


def _resized(image: np.ndarray, size: int, crop: Crop) -> np.ndarray:
    return np.asarray(CROPS[crop].apply(Image.fromarray(image), size))
