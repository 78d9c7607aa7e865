"""The rows of the variation benchmark: many reconstructions of a few images by one model, setting by setting.

Metrics are those of `metrics.spread`, and LPIPS_pairwise where weights are found: the mean over the draws (1, 2),
(2, 3) .. (m, 1), an unbiased estimate of the mean over all pairs. `n` counts images; `seed` says the number of draws.

Beside the results lies one npz a setting: `x0` uint8, `mean_map` and `std_map` float32 (n, 3, s, s), these in [0, 1];
`draws` uint8 (n, 3, 3, s, s), the first three; every metric float64 (n,); and what `image_values` says.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from baselines.interface import LoadedModel
from benchmarks.extractors.perceptual import Distance, of_these_weights, weights_of
from benchmarks.metrics.spread import spread
from benchmarks.reconstruction.study import ProtocolName
from benchmarks.results import Record
from benchmarks.results.circumstances import circumstances
from benchmarks.results.images import values_path
from benchmarks.runner import Session
from benchmarks.subjects import Decoding, Setting, cells_of, cells_of_data, decode, reads_latents
from benchmarks.variation.report import Shown
from dbae.data import ImageDataset
from dbae.images import naming, to_float, to_uint8
from dbae.noise import PerImageNoise, mixed_seed
from dbae.support.arrays import read_npz
from dbae.support.files import atomic_path
from dbae.support.precision import autocast
from dbae.support.progress import progress_bar

TASK_VERSION = 1
KEPT_DRAWS = 3
_PICTURES = ("x0", "mean_map", "std_map", "draws")
_OTHERS = ("index", "nfe", "encode_nfe", "columns", *_PICTURES)


class Varied(NamedTuple):
    """What one setting gives: a record a metric, and pictures."""

    rows: list[Record]
    shown: Shown


@dataclasses.dataclass(frozen=True)
class VariationStudy:
    """Reconstructions of images `indices` of a data set, `draws` of each, from `seed`.

    `lpips`: metric name -> network, of those whose weights are at hand.
    """

    loaded: LoadedModel
    dataset: ImageDataset
    split: str
    indices: np.ndarray
    draws: int
    session: Session
    seed: int = 0
    lpips: dict[str, Distance] = dataclasses.field(default_factory=dict)

    def rows(self, protocol: ProtocolName, setting: Setting) -> Varied:
        """One record a metric and the pictures: from the results where they are complete, else measured now."""
        results = self.session.results
        columns = self._columns(protocol) | setting.columns
        path = values_path(results.path, columns | {"encode_nfe": setting.encode_steps})
        if stored := self._stored(path, columns):
            return stored
        started = time.perf_counter()
        arrays = self._measure(protocol, setting)
        about: dict[str, Any] = {"seconds": round(time.perf_counter() - started, 2), **circumstances()}
        about["versions"] += weights_of(self.lpips)
        records = _records(columns | about, arrays)
        if self.session.world.is_main:
            _write(path, arrays, columns)
        results.add(records)
        return Varied(records, _shown(columns, arrays))

    def _stored(self, path: Path, columns: dict[str, Any]) -> Varied | None:
        """What a finished setting gave, if it has every metric that can be measured now."""
        arrays = self.session.world.broadcast(read_npz(path) if self.session.world.is_main else None)
        if arrays is None or not {f"{name}_pairwise" for name in self.lpips} <= arrays.keys():
            return None
        rows = self.session.results.find(columns | _counts(arrays), _metrics(arrays))
        return Varied(rows, _shown(columns, arrays)) if rows and of_these_weights(rows, self.lpips) else None

    def _measure(self, protocol: ProtocolName, setting: Setting) -> dict[str, np.ndarray]:
        """Everything the npz holds but its columns; this process's share of the images is measured here."""
        mine = self.session.world.share(self.indices)
        title = (
            f"{self.loaded.name}, {protocol}, {setting.sampler.method} {setting.sampler.nfe}, x_T {setting.endpoint}"
        )
        found = []
        with progress_bar(len(mine) * self.draws, title) as bar:
            for index in mine:
                found.append(self._image(int(index), protocol, setting, bar))
        arrays = {name: np.stack([image[name] for image in found]) for name in found[0]}
        arrays = self.session.world.gather(arrays)
        counts = {name: arrays[name][0] for name in ("nfe", "encode_nfe")}
        return arrays | counts | {"index": self.indices}

    @torch.inference_mode()
    def _image(self, index: int, protocol: ProtocolName, setting: Setting, bar: Any) -> dict[str, np.ndarray]:
        """Pictures and values of one image."""
        x0 = to_float(self.dataset.batch([index]).to(self.session.device))
        parts = []
        for start in range(0, self.draws, self.session.batch_size):
            rows = range(start, min(start + self.session.batch_size, self.draws))
            parts.append(self._decode(x0.expand(len(rows), -1, -1, -1), index, rows, protocol, setting))
            bar.update(len(rows))
        draws = torch.cat([part.images for part in parts])
        found = spread(draws, x0[0])
        values = {name: np.asarray(value) for name, value in found.values.items()}
        for name, lpips in self.lpips.items():
            pairs = [lpips(real=a, fake=b) for a, b in self._pairs(draws)]
            values[f"{name}_pairwise"] = np.asarray(torch.cat(pairs).double().mean().item())
        pictures = {"x0": to_uint8(x0)[0], "draws": to_uint8(draws[:KEPT_DRAWS])}
        pictures |= {"mean_map": found.mean, "std_map": found.std}
        counts = {"nfe": np.asarray(parts[0].nfe), "encode_nfe": np.asarray(parts[0].encode_nfe)}
        return values | counts | {name: picture.cpu().numpy() for name, picture in pictures.items()}

    def _decode(self, x: Tensor, index: int, rows: range, protocol: ProtocolName, setting: Setting) -> Decoding:
        """Reconstructions number `rows` of image `index`, which x repeats."""

        def noise(stream: str) -> PerImageNoise:
            seed = mixed_seed(self.seed, "draws of image", index)
            return PerImageNoise(seed, rows, stream=stream, device=x.device)

        model = self.loaded.model
        names = [f"{self.loaded.name}: draw {row} of image {index} of {self.dataset.name}" for row in rows]
        with naming(names), autocast(x.device, self.session.precision):
            z = None
            if reads_latents(model):
                z = model.encode(x, noise=noise("encode") if protocol == "paper" else None)
            return decode(model, x, z, setting, noise=noise("sample"), x_T_noise=noise("x_T"))

    def _pairs(self, draws: Float[Tensor, "m 3 s s"]) -> list[tuple[Tensor, Tensor]]:
        size = self.session.batch_size
        return list(zip(draws.split(size), draws.roll(-1, 0).split(size), strict=True))

    def _columns(self, protocol: ProtocolName) -> dict[str, Any]:
        """The cells of a record that no setting changes."""
        z = "sampled" if protocol == "paper" and self._stochastic() else "mean"
        return {
            "task": "variation",
            "protocol": protocol,
            "task_version": TASK_VERSION,
            **cells_of(self.loaded),
            **cells_of_data(self.dataset, self.split, len(self.indices)),
            "z": z if reads_latents(self.loaded.model) else "inferred x_T",
            "seed": f"{self.seed}, {self.draws} draws",
            "precision": self.session.precision,
        }

    @torch.inference_mode()
    def _stochastic(self) -> bool:
        """Whether the posterior has a spread to draw from, which an image shows."""
        x = to_float(self.dataset.batch(self.indices[:1]).to(self.session.device))
        return reads_latents(self.loaded.model) and self.loaded.model.posterior(x)[1] is not None


def _counts(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: int(arrays[name]) for name in ("nfe", "encode_nfe")}


def _metrics(arrays: dict[str, np.ndarray]) -> list[str]:
    return [name for name in arrays if name not in _OTHERS]


def _records(columns: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[Record]:
    n, cells = len(arrays["index"]), columns | _counts(arrays)
    return [
        Record(
            **cells,
            metric=name,
            better="lower",
            value=float(arrays[name].mean()),
            stderr=float(arrays[name].std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        )
        for name in _metrics(arrays)
    ]


def _write(path: Path, arrays: dict[str, np.ndarray], columns: dict[str, Any]) -> None:
    about = {"columns": np.asarray(json.dumps(columns | _counts(arrays), sort_keys=True))}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        everything: dict[str, Any] = arrays | about
        np.savez_compressed(file, **everything)


def _shown(columns: dict[str, Any], arrays: dict[str, np.ndarray]) -> Shown:
    about = f"{columns['model']}, {columns['protocol']}, {columns['sampler']} NFE {int(arrays['nfe'])}"
    churn = f", churn {columns['churn']}" if columns.get("churn") else ""
    title = f"{about}{churn}, x_T {columns['x_T']}, seed {columns['seed']}"
    return Shown(title, *(arrays[name] for name in _PICTURES))
