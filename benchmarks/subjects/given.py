"""z alone, and a table of labels alone: what probes and disentanglement need where there are no model and no images.

    z        (n, d) numbers, or an .npz with `z` and, where z is drawn, `sigma`, as `python -m dbae.encode` writes it
    labels   a data set whose image i belongs to row i of z, or a pandas table with a row for each of them

In a table, a column of true/false or 0/1 is a binary attribute, one of other numbers a continuous one. A column `split`
says train, val or test; without one, a fifth of the rows, drawn from a fixed seed, is the test split.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from baselines.interface import LoadedModel
from dbae.data import Attributes, ImageDataset
from dbae.latents import Latents
from dbae.noise import mixed_seed
from dbae.support.arrays import DAMAGE
from dbae.support.errors import UserError

if TYPE_CHECKING:
    import pandas

SPLIT = "split"
TEST_SHARE = 0.2
MOST_ROUNDING = 1e-3
"""Of a column of z to float32, in standard deviations of the column."""


@runtime_checkable
class HasLatents(Protocol):
    """A model whose latents are there already."""

    def latents(self, indices: Int64[np.ndarray, " n"]) -> Latents:
        """Of images `indices` of the data set that it was made for."""
        ...


class GivenLatents:
    """z of every image of a data set, in its order; it encodes and decodes nothing.

    Args:
        z: mean of the posterior; sigma: its standard deviation, None where z is a function of the image.
    """

    samplers: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    encode_nfe = 0

    def __init__(
        self, z: Float32[np.ndarray, "n d"], sigma: Float32[np.ndarray, "n d"] | None = None, *, name: str = "z"
    ) -> None:
        self.name, self.image_size, self.latent_dim = name, 0, z.shape[1]
        posterior = np.stack([z] if sigma is None else [z, sigma], axis=1)
        self._views = np.stack([posterior, posterior], axis=1)  # a mirrored image's z is not known: as random z's

    def __len__(self) -> int:
        return len(self._views)

    def latents(self, indices: Int64[np.ndarray, " n"]) -> Latents:
        """See `HasLatents`."""
        return Latents(self._views[indices])

    @property
    def sha256(self) -> str:
        """Hash of the numbers."""
        return hashlib.sha256(np.ascontiguousarray(self._views[:, 0]).tobytes()).hexdigest()

    def posterior(self, x: Any) -> NoReturn:
        """There is no encoder. Raises UserError."""
        raise UserError(f"{self.name}: expected a model, found z alone, which can be probed and nothing else.")

    def encode(self, x: Any, *, noise: Any = None) -> NoReturn:
        """There is no encoder. Raises UserError."""
        self.posterior(x)

    def decode(self, z: Any, *, x_T: Any = None, sampler: Any = None, noise: Any = None) -> NoReturn:
        """There is no decoder. Raises UserError."""
        self.posterior(z)


def open_latents(source: str | Path | np.ndarray, *, name: str | None = None) -> LoadedModel:
    """z as a model.

    Raises:
        UserError: no file of that name, not one row of finite numbers an image, or numbers that float32 does not hold.
    """
    if isinstance(source, np.ndarray):
        z, sigma = source, None
    else:
        z, sigma = _read(Path(source))
        name = name or Path(source).stem
    name = name or "z"
    for what, array in (("z", z), ("sigma", sigma)):
        if array is not None and (array.ndim != 2 or array.shape != z.shape or array.dtype.kind not in "fiu"):
            raise UserError(f"{name}: expected {what} of numbers (n, d), found {array.dtype} {array.shape}.")
        if array is not None and not np.isfinite(array).all():
            raise UserError(f"{name}: expected finite numbers, found NaN or infinity in {what}.")
    if not z.size:
        raise UserError(f"{name}: expected z (n, d) with a row and a column or more, found {z.shape}.")
    rounded = _rounded(name, "z", z)
    _require_spread(name, z, rounded)
    model = GivenLatents(rounded, None if sigma is None else _rounded(name, "sigma", sigma), name=name)
    return LoadedModel(
        model, name, method="given z", variant="" if sigma is None else "stochastic", sha256=model.sha256
    )


class LabelTable(ImageDataset):
    """A table of labels as a data set without images.

    Raises:
        UserError: a column without a name of its own, with text or missing values, or splits that are none.
    """

    size = 0

    def __init__(self, labels: pandas.DataFrame, *, name: str = "table") -> None:
        self.name, self._n = name, len(labels)
        names = [_named(column) for column in labels.columns]
        if len(set(names)) < len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise UserError(
                f"labels: expected a name of its own for every column, found two of {repeated!r}. Rename one."
            )
        columns = {name: labels[column].to_numpy() for name, column in zip(names, labels.columns, strict=True)}
        split = columns.pop(SPLIT, None)
        numbers = {name: _numbers(name, values) for name, values in columns.items()}
        binary = {name: values for name, values in numbers.items() if set(np.unique(values)) <= {0, 1}}
        continuous = {name: values for name, values in numbers.items() if name not in binary}
        self.attributes = Attributes(
            tuple(binary), _columns(binary, self._n).astype(np.int8), tuple(continuous), _columns(continuous, self._n)
        )
        self.splits = self._splits(split)

    def __len__(self) -> int:
        return self._n

    def image(self, index: int) -> UInt8[np.ndarray, "s s 3"]:
        """There is none: raises UserError."""
        raise UserError(
            f"{self.name}: expected images, found a table of labels. Name a data set: data='folder:photos'."
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of names, labels and splits."""
        labels = self.attributes
        assert labels is not None
        digest = hashlib.sha256(repr((labels.binary_names, labels.continuous_names)).encode())
        for array in (labels.binary, labels.continuous, *(self.splits[name] for name in sorted(self.splits))):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _splits(self, given: np.ndarray | None) -> dict[str, np.ndarray]:
        everything = np.arange(self._n)
        if given is None:
            order = np.random.default_rng(mixed_seed(0, "split of a table")).permutation(self._n)
            test = round(TEST_SHARE * self._n)
            return {"all": everything, "train": np.sort(order[test:]), "test": np.sort(order[:test])}
        names = set(map(str, given))
        if not {"train", "test"} <= names <= {"train", "val", "test"}:
            raise UserError(
                f"{self.name}, column {SPLIT}: expected train, test and perhaps val, found {sorted(names)}."
            )
        return {"all": everything} | {name: np.flatnonzero(given == name) for name in sorted(names)}


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if isinstance(arrays, np.ndarray):
                return arrays, None
            if "z" not in arrays:
                raise UserError(f"{path}: expected an array called z, found {', '.join(arrays.files) or 'nothing'}.")
            return arrays["z"], arrays.get("sigma")
    except FileNotFoundError:
        raise UserError(f"{path}: expected an npz with z, found no such file. Check the path.") from None
    except DAMAGE as error:
        raise UserError(f"{path}: expected an npz with z, could not read it ({error}). Write it again.") from error


def _rounded(name: str, what: str, array: np.ndarray) -> Float32[np.ndarray, "n d"]:
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        most = np.abs(array.astype(np.float64)).max()
        raise UserError(f"{name}: expected numbers of float32, up to 3.4e38, found {most:.3g} in {what}. Scale them.")
    return numbers


def _require_spread(name: str, z: np.ndarray, rounded: Float32[np.ndarray, "n d"]) -> None:
    """Raise UserError if a column differs between rows by less than its numbers are rounded by."""
    exact = z.astype(np.float64)
    error, spread = np.abs(rounded - exact).max(axis=0), exact.std(axis=0)
    lost = (z.max(axis=0) != z.min(axis=0)) & (error >= MOST_ROUNDING * spread)  # >=: int64 may lose all in float64
    if lost.any():
        i = int(lost.argmax())
        raise UserError(
            f"{name}: expected numbers that keep their differences in float32, found column {i} of z with mean "
            f"{exact[:, i].mean():.3g} and standard deviation {spread[i]:.3g}. Subtract the mean of "
            "each column, and where they are tiny divide by the standard deviation."
        )


def _named(column: object) -> str:
    text = str(column)
    if not text.strip() or text.startswith("Unnamed:") or "\n" in text or "\r" in text:
        raise UserError(f"labels: expected a name in one line for every column, found {text!r}. Rename or drop it.")
    return text


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biuf" or not np.isfinite(values.astype(np.float64)).all():
        raise UserError(
            f"labels, column {name}: expected numbers or true/false in every row, found {values.dtype}"
            f"{' with missing values' if values.dtype.kind == 'f' else ''}. Drop it or fill it."
        )
    return values.astype(np.float64)


def _columns(named: dict[str, np.ndarray], n: int) -> np.ndarray:
    return np.column_stack(list(named.values())) if named else np.empty((n, 0))
