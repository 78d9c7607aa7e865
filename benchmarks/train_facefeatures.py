"""Train the feature extractor of `benchmarks.extractors.faces` on drawn faces.

The weights that come with the package (10 minutes of one core):

    OMP_NUM_THREADS=1 python -m benchmarks.train_facefeatures

A quick trial of it:

    python -m benchmarks.train_facefeatures --steps 100 --data "faces:?n=2000&size=64" --out runs/trial.safetensors

The faces are another population (seed 1) than the one that benchmarks measure by default (seed 0). Half of the batches
pass through 32 pixels, so that the features serve models of both sizes. The loss is the mean cross-entropy of the
binary attributes plus the mean squared error of the continuous ones. The same options give the same file on the same
kind of machine with the same number of threads.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.extractors.faces import NAME, OUTPUTS, SIZE, WEIGHTS, FaceNetwork, network_input
from benchmarks.metrics.prediction import average_precision, pearson
from dbae.data import Attributes, ImageDataset, TrainingStream, iterate, open_data, require_apart
from dbae.noise import mixed_seed
from dbae.support import cli
from dbae.support.errors import UserError
from dbae.support.files import atomic_path
from dbae.support.progress import progress_bar

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    data: str = "faces:?n=20000&size=64&seed=1"
    """Images with 78 attributes, of 64 pixels; its splits train and test are used."""
    out: Path = WEIGHTS
    """The file to write."""
    steps: int = 3000
    """Batches."""
    batch_size: int = 128
    """Images a batch."""
    lr: float = 2e-3
    """Largest learning rate of AdamW; it rises for 5 % of the steps and falls along a cosine to 0."""
    seed: int = 0
    """Seed of the weights and of the order of images."""


def train(options: Options, dataset: ImageDataset, labels: Attributes) -> FaceNetwork:
    """The trained network, in evaluation mode. Global random state stays as it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(mixed_seed(options.seed, "weights"))
        network = FaceNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.lr, options.steps, pct_start=0.05)
    targets = torch.from_numpy(np.concatenate([labels.binary, labels.continuous], axis=1).astype(np.float32))
    stream = TrainingStream(dataset, dataset.split("train"), options.batch_size, seed=options.seed, flip=False)
    with progress_bar(options.steps, "train", unit="step") as bar:
        for step in range(options.steps):
            indices, images = stream.batch(step)
            x = network_input(_through_32(images) if step % 2 else images)
            found = network(x.contiguous(memory_format=torch.channels_last))
            loss = _loss(found, targets[indices], labels.binary.shape[1])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.update()
            if step % 100 == 99:
                log.info("step %d: loss %.4f", step + 1, loss.item())
    return network.eval()


def _loss(found: Float[Tensor, "b k"], target: Float[Tensor, "b k"], binary: int) -> Float[Tensor, ""]:
    entropy = F.binary_cross_entropy_with_logits(found[:, :binary], target[:, :binary])
    return entropy + F.mse_loss(found[:, binary:], target[:, binary:])


def _through_32(images: UInt8[Tensor, "b 3 64 64"]) -> UInt8[Tensor, "b 3 32 32"]:
    small = F.interpolate(images.float(), (32, 32), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


@torch.inference_mode()
def score(network: FaceNetwork, dataset: ImageDataset, labels: Attributes, *, small: bool) -> tuple[float, float]:
    """Mean AP and mean Pearson r over attributes on the test split, at 64 pixels or through 32 (`small`)."""
    indices = dataset.split("test")
    batches = (images for _, images in iterate(dataset, indices, 256))
    found = torch.cat([network(network_input(_through_32(x) if small else x)) for x in batches]).numpy()
    k = labels.binary.shape[1]
    ap = average_precision(labels.binary[indices], found[:, :k])
    return float(ap.mean()), float(pearson(labels.continuous[indices], found[:, k:]).mean())


def main(options: Options) -> None:
    """Train, score, write."""
    require_apart([options.data], options.out)
    dataset = open_data(options.data, size=SIZE)
    labels = dataset.attributes
    if labels is None or dataset.size != SIZE or labels.binary.shape[1] + labels.continuous.shape[1] != OUTPUTS:
        raise UserError(
            f"--data {options.data}: expected images of {SIZE} pixels with {OUTPUTS} attributes in all. Use faces."
        )
    network = train(options, dataset, labels)
    scores = {pixels: score(network, dataset, labels, small=pixels == 32) for pixels in (64, 32)}
    for pixels, (ap, r) in scores.items():
        log.info("%d px: mean AP %.4f, mean r %.4f on %d test images", pixels, ap, r, len(dataset.split("test")))
    about = {"name": NAME, "data": dataset.fingerprint, "steps": options.steps, "batch_size": options.batch_size}
    about |= {"lr": options.lr, "seed": options.seed, "scores": scores}
    tensors = {key: _half(value) for key, value in network.state_dict().items()}
    with atomic_path(options.out) as temporary:
        save_file(tensors, temporary, metadata={"about": json.dumps(about)})
    log.info("%s: %.2f MB", options.out, options.out.stat().st_size / 1e6)


def _half(value: Tensor) -> Tensor:
    """Floats as float16: half the size, and far more precise than training is repeatable."""
    return (value.half() if value.is_floating_point() else value).contiguous()


if __name__ == "__main__":
    sys.exit(cli.run(main, Options, module="benchmarks.train_facefeatures", description=__doc__))
