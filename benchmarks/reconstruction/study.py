"""The rows of the reconstruction benchmark: every metric of one model on one list of images, setting by setting."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from baselines.interface import RepresentationModel
from benchmarks.extractors.perceptual import Distance, of_these_weights, weights_of
from benchmarks.metrics import reconstruction as metrics
from benchmarks.results import Record
from benchmarks.results.circumstances import circumstances
from benchmarks.results.images import ImageValues, read_values, values_path, write_values
from benchmarks.runner import Session
from benchmarks.subjects import Decoding, Setting, decode
from dbae.data import ImageDataset, iterate
from dbae.images import naming, to_float
from dbae.latents import Latents
from dbae.noise import PerImageNoise, mixed_seed
from dbae.support.precision import autocast
from dbae.support.progress import progress_bar

ProtocolName = Literal["paper", "standard"]

NAMES = {
    "ssim": "SSIM",
    "ssim_skimage": "SSIM_skimage",
    "ssim_dbae_released": "SSIM_dbae_released",
    "mse": "MSE",
    "mse_dbae_released": "MSE_dbae_released",
    "psnr": "PSNR",
}
"""Field of `metrics.Reconstruction` -> metric name in the results."""

_LOWER_IS_BETTER = ("MSE", "LPIPS")


@dataclasses.dataclass(frozen=True)
class ReconstructionStudy:
    """One model on one list of images.

    Attributes:
        latents: of `indices`, in their order; None where z is not kept (`decoding.reads_latents`).
        columns: what all its rows share.
        seed: of z and of the samplers' noise.
        lpips: metric name -> network, of those whose weights are at hand.
    """

    model: RepresentationModel
    dataset: ImageDataset
    indices: np.ndarray
    latents: Latents | None
    columns: dict[str, Any]
    session: Session
    seed: int = 0
    lpips: dict[str, Distance] = dataclasses.field(default_factory=dict)

    def rows(self, protocol: ProtocolName, setting: Setting) -> list[Record]:
        """One record a metric: from the results where they are complete, else measured now and added."""
        results = self.session.results
        columns = self.columns | {"protocol": protocol, "z": self._z_column(protocol)} | setting.columns
        path = values_path(results.path, columns | {"encode_nfe": setting.encode_steps})
        if stored := self._stored(path, columns):
            return stored
        started = time.perf_counter()
        measured = self._measure(protocol, setting)
        about: dict[str, Any] = {"seconds": round(time.perf_counter() - started, 2), **circumstances()}
        about["versions"] += weights_of(self.lpips)
        records = self._records(columns | about, measured)
        if self.session.world.is_main:
            write_values(path, measured, self.indices, columns, self.dataset.groups)
        results.add(records)
        return records

    def _stored(self, path: Path, columns: dict[str, Any]) -> list[Record] | None:
        """The rows of a finished setting, if it has every metric that can be measured now."""
        known = None
        kept = read_values(path) if self.session.world.is_main else None
        if kept is not None and self.lpips.keys() <= kept.values.keys():
            known = columns | kept.counts, tuple(kept.values)
        known = self.session.world.broadcast(known)
        rows = self.session.results.find(*known) if known else None
        return rows if rows and of_these_weights(rows, self.lpips) else None

    def _z_column(self, protocol: ProtocolName) -> str:
        if self.latents is None:
            return "inferred x_T"
        return "sampled" if protocol == "paper" and self.latents.stochastic else "mean"

    @torch.inference_mode()
    def _measure(self, protocol: ProtocolName, setting: Setting) -> ImageValues:
        """The values of every image, this process's share of them measured here."""
        run = self.session
        z = None
        if self.latents is not None:
            z = self.latents.draw(mixed_seed(self.seed, "z"), sample=protocol == "paper", flip=False)
        rows = run.world.share(np.arange(len(self.indices)), block=run.batch_size)
        parts: list[dict[str, Tensor]] = []
        decoded, done = None, int(rows[0])
        title = f"{self.columns['model']}, {protocol}, {setting.sampler.method} {setting.sampler.nfe}"
        with progress_bar(len(rows), title) as bar:
            for indices, images in iterate(self.dataset, self.indices[rows], run.batch_size, workers=run.workers):
                real = to_float(images.to(run.device))
                batch = None if z is None else z[done : done + len(indices)].to(run.device)
                decoded = self._decode(real, batch, indices, setting)
                if not parts:
                    metrics.require_scikit_image_agrees(real=real, fake=decoded.images)
                parts.append(self._values(real, decoded.images))
                done += len(indices)
                bar.update(len(indices))
        assert decoded is not None
        mine = {name: torch.cat([part[name] for part in parts]).double().cpu().numpy() for name in parts[0]}
        return ImageValues(run.world.gather(mine), decoded.nfe, decoded.encode_nfe)

    def _decode(self, real: Tensor, z: Tensor | None, indices: np.ndarray, setting: Setting) -> Decoding:
        noise, x_T_noise = (
            PerImageNoise(self.seed, indices, stream=stream, device=real.device) for stream in ("sample", "x_T")
        )
        names = [f"{self.columns['model']}: image {i} of {self.dataset.name}" for i in indices]
        with naming(names), autocast(real.device, self.session.precision):
            return decode(self.model, real, z, setting, noise=noise, x_T_noise=x_T_noise)

    def _values(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        found = metrics.measure(real=real, fake=fake)
        values = {name: getattr(found, field) for field, name in NAMES.items()}
        return values | {name: lpips(real=real, fake=fake) for name, lpips in self.lpips.items()}

    def _records(self, columns: dict[str, Any], measured: ImageValues) -> list[Record]:
        return [
            Record(
                **columns,
                **measured.counts,
                metric=name,
                better="lower" if name.startswith(_LOWER_IS_BETTER) else "higher",
                value=float(value.mean()),
                # PSNR of a perfect copy is infinite, and its mean has no error.
                stderr=float(value.std(ddof=1) / np.sqrt(len(value))) if np.isfinite(value).all() else None,
            )
            for name, value in measured.values.items()
        ]
