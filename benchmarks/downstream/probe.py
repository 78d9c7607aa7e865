"""Linear probes: how well a linear map predicts attributes from z.

    f(z) = W z + b        W, b ~ U(-1/sqrt(d), 1/sqrt(d)), PyTorch's default
    classification        binary cross-entropy on logits, mean over images x attributes
    regression            squared error, mean over images x attributes
    optimiser             Adam(lr 1e-3, betas 0.9 0.999, eps 1e-8), 15 epochs, last partial batch kept

`protocol="paper"` (yue-zhongqi/diti, eval/multitask_classification.py and attribute_regression.py): z as it comes,
drawn anew on every call where the encoder is stochastic, evaluation included.
  - classification: batches of 128 in file order, mirrored with probability 1/2; the epoch of the best validation AP.
  - regression: shuffled batches of 64, no mirroring; the last epoch, and the epoch of the best r on the *test* split.
`protocol="standard"`: shuffled batches, posterior mean standardised by mean and standard deviation of the training
split, no mirroring (it turns "lit from the left" into its opposite), the epoch of the best validation AP or r.

DEVIATION: the drivers in aailab-kaist/DBAE (dbae_infer_class.py, dbae_infer_reg.py) stop at their first evaluation and
feed training and evaluation different image ranges. Here images are in [-1, 1] throughout, as in the code they adapt.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.metrics import prediction
from dbae.latents import Latents
from dbae.noise import mixed_seed

Kind = Literal["classification", "regression"]
Protocol = Literal["paper", "standard"]

METRICS: dict[Kind, dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "classification": {"AP": prediction.average_precision},
    "regression": {"Pearson_r": prediction.pearson, "MSE": prediction.mean_squared_error},
}
"""Metric name -> (targets, predictions) -> one value an attribute. The first of a kind selects the epoch."""


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """How one probe is trained.

    Attributes:
        batch_size, epochs, learning_rate: of Adam.
        shuffle: another order every epoch; otherwise file order.
        flip: mirror training images with probability 1/2.
        sample: draw z = mu + sigma * eps on every call; otherwise z = mu.
        standardise: subtract mean and divide by standard deviation of the training split's mu.
        select: "val" reports the epoch that is best on validation; "test" reports the last epoch and the one that is
            best on the test split.
    """

    batch_size: int = 128
    epochs: int = 15
    learning_rate: float = 1e-3
    shuffle: bool = True
    flip: bool = False
    sample: bool = False
    standardise: bool = True
    select: Literal["val", "test"] = "val"


def probe_config(protocol: Protocol, kind: Kind) -> ProbeConfig:
    """The configuration of a named protocol."""
    if protocol == "standard":
        return ProbeConfig()
    if kind == "classification":
        return ProbeConfig(shuffle=False, flip=True, sample=True, standardise=False)
    return ProbeConfig(batch_size=64, sample=True, standardise=False, select="test")


@dataclasses.dataclass(frozen=True)
class Split:
    """What a probe sees of one split: latents of n images and targets (n, k), 0/1 or real."""

    latents: Latents
    targets: np.ndarray


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Test metrics of one epoch: `scores[metric]` is float64 (k,); `selected_on` is "val", "test" or None (last)."""

    epoch: int
    selected_on: Literal["val", "test"] | None
    scores: dict[str, np.ndarray]


class Probe:
    """One probe on one set of latents.

    Args:
        train: images to fit.
        kind: decides loss and metrics.
        config: the protocol.
        seed: of initial weights, order, mirroring and noise, each from a generator of its own.
    """

    def __init__(self, train: Split, kind: Kind, config: ProbeConfig, seed: int) -> None:
        self.train, self.kind, self.config, self.seed = train, kind, config, seed
        self.head = initial_head(train.latents.dim, train.targets.shape[1], mixed_seed(seed, "head"))
        self.shift: Tensor | float = 0.0
        self.scale: Tensor | float = 1.0
        if config.standardise:
            mu = train.latents.mean()
            std = mu.std(dim=0, correction=0)
            self.shift, self.scale = mu.mean(dim=0), torch.where(std > 0, std, 1.0)

    def z(self, latents: Latents, epoch: int, call: str) -> Float[Tensor, "n d"]:
        """The latents of one call: another call or epoch has other draws where the protocol samples."""
        flip = self.config.flip and call == "train"
        z = latents.draw(mixed_seed(self.seed, epoch, call), sample=self.config.sample, flip=flip)
        return z.sub_(self.shift).div_(self.scale) if self.config.standardise else z

    def order(self, epoch: int) -> Tensor:
        """Order of the training images in an epoch."""
        n = len(self.train.latents)
        if not self.config.shuffle:
            return torch.arange(n)
        return torch.randperm(n, generator=torch.Generator().manual_seed(mixed_seed(self.seed, epoch, "order")))

    def epochs(self) -> Iterator[int]:
        """Train; yields after every epoch, with `head` as it is then."""
        draw = functools.partial(self.z, self.train.latents, call="train")
        losses = training_epochs(self.head, draw, self.train.targets, LOSSES[self.kind], self.config, order=self.order)
        yield from (epoch for epoch, _ in enumerate(losses))

    @torch.inference_mode()
    def scores(self, split: Split, epoch: int, call: str) -> dict[str, np.ndarray]:
        """Every metric of the kind, float64 (k,), with `head` as it is."""
        predicted = self.head(self.z(split.latents, epoch, call)).numpy()
        return {name: metric(split.targets, predicted) for name, metric in METRICS[self.kind].items()}


def run_probe(
    train: Split, val: Split | None, test: Split, *, kind: Kind, config: ProbeConfig, seed: int
) -> list[Outcome]:
    """Train one probe and measure it on `test`: one outcome, or two where the protocol selects on the test split.

    Raises:
        ValueError: the protocol selects on validation and `val` is None.
    """
    probe = Probe(train, kind, config, seed)
    criterion = next(iter(METRICS[kind]))
    if config.select == "val":
        if val is None:
            raise ValueError("this protocol selects on a validation split")
        held_out = val
        best, _ = select_epoch(
            probe.head, (float(probe.scores(held_out, e, "val")[criterion].mean()) for e in probe.epochs())
        )
        return [Outcome(best, "val", probe.scores(test, best, "test"))]
    curve = [probe.scores(test, epoch, "test") for epoch in probe.epochs()]
    means = np.array([scores[criterion].mean() for scores in curve])
    best = int(np.nanargmax(means)) if np.isfinite(means).any() else len(curve) - 1
    return [Outcome(len(curve) - 1, None, curve[-1]), Outcome(best, "test", curve[best])]


def initial_head(d: int, k: int, seed: int) -> nn.Linear:
    """`nn.Linear(d, k)` with PyTorch's default distribution, drawn from `seed` and not from the global generator."""
    head: nn.Linear = nn.utils.skip_init(nn.Linear, d, k)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.uniform_(-(d**-0.5), d**-0.5, generator=generator)
    return head


def training_epochs(
    head: nn.Linear,
    draw: Callable[[int], Tensor],
    targets: np.ndarray,
    loss: Callable[[Tensor, Tensor], Tensor],
    config: ProbeConfig,
    order: Callable[[int], Tensor],
) -> Iterator[Float[np.ndarray, " steps"]]:
    """Train `head` in place; after every epoch yield the losses of its steps.

    Args:
        head: the probe.
        draw: epoch -> z of all images, float32 (n, d).
        targets: (n, k), cast to float32.
        loss: (predictions, targets) of a batch -> scalar.
        config: epochs, batch size and learning rate.
        order: epoch -> int64 (n,), the order in which images are seen.
    """
    target = torch.from_numpy(targets).float()
    optimiser = torch.optim.Adam(head.parameters(), lr=config.learning_rate)
    for epoch in range(config.epochs):
        z, losses = draw(epoch), []
        for batch in order(epoch).split(config.batch_size):
            value = loss(head(z[batch]), target[batch])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            losses.append(value.detach())
        yield torch.stack(losses).numpy()


def select_epoch(head: nn.Linear, scores: Iterator[float]) -> tuple[int, list[float]]:
    """Run through `scores` (one an epoch, training `head` on the way); leave `head` as it was at the best.

    Best is strictly greater than all before, starting from 0 as the reference does; when no epoch is, the last.

    Returns:
        The best epoch and all scores.
    """
    best, highest, curve = None, 0.0, []
    for epoch, score in enumerate(scores):
        curve.append(score)
        if score > highest:
            best, highest, kept = epoch, score, copy.deepcopy(head.state_dict())
    if best is None:
        return len(curve) - 1, curve
    head.load_state_dict(kept)
    return best, curve


def binary_cross_entropy(logits: Float[Tensor, "b k"], labels: Float[Tensor, "b k"]) -> Float[Tensor, ""]:
    """Mean binary cross-entropy over the entries whose label is known; NaN means unknown."""
    known = ~labels.isnan()
    return F.binary_cross_entropy_with_logits(logits[known], labels[known])


LOSSES: dict[Kind, Callable[[Tensor, Tensor], Tensor]] = {
    "classification": binary_cross_entropy,
    "regression": F.mse_loss,
}
