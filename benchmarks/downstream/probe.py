"""Linear probes of protocol "paper": how well a linear map, trained as published, predicts attributes from z.

    f(z) = W z + b        W, b ~ U(-1/sqrt(d), 1/sqrt(d)), PyTorch's default
    classification        binary cross-entropy on logits, mean over images x attributes
    regression            squared error, mean over images x attributes
    optimiser             Adam(lr 1e-3, betas 0.9 0.999, eps 1e-8), 15 epochs, last partial batch kept

yue-zhongqi/diti, eval/multitask_classification.py and attribute_regression.py: z as it comes, drawn anew on every call
where the encoder is stochastic, evaluation included.
  - classification: batches of 128 in file order, mirrored with probability 1/2; the epoch of the best validation AP.
  - regression: shuffled batches of 64, no mirroring; the last epoch, and the epoch of the best r on the *test* split,
    with the MSE of that same epoch.

15 epochs do not converge: what they reach depends on the scale of z and on how correlated its dimensions are. What a
linear map can read is measured by protocol "standard" (`benchmarks.downstream.standard`).

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
ProtocolName = Literal["paper", "standard"]
ProbeKind = Literal["linear", "mlp", "knn"]

METRICS: dict[Kind, dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "classification": {"AP": prediction.average_precision},
    "regression": {"Pearson_r": prediction.pearson, "MSE": prediction.mean_squared_error},
}
"""Metric name -> (targets, predictions) -> one value an attribute. The first of a kind is the one that selects."""


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """How one probe is trained.

    Attributes:
        batch_size, epochs, learning_rate: of Adam.
        shuffle: another order every epoch; otherwise file order.
        flip: mirror training images with probability 1/2.
        sample: draw z = mu + sigma * eps on every call; otherwise z = mu.
        select: "val" reports the epoch that is best on validation; "test" reports the last epoch and the one that is
            best on the test split.
    """

    batch_size: int = 128
    epochs: int = 15
    learning_rate: float = 1e-3
    shuffle: bool = True
    flip: bool = False
    sample: bool = False
    select: Literal["val", "test"] = "val"


def paper_config(kind: Kind) -> ProbeConfig:
    """The published configuration."""
    if kind == "classification":
        return ProbeConfig(shuffle=False, flip=True, sample=True)
    return ProbeConfig(batch_size=64, sample=True, select="test")


@dataclasses.dataclass(frozen=True)
class Split:
    """What a probe sees of one split: latents of n images and targets (n, k), 0/1 or real; and who is in each image,
    where that matters and is known.
    """

    latents: Latents
    targets: np.ndarray
    people: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A probe measured on the test split.

    Attributes:
        scores: metric -> float64 (k,).
        predictions: logits or values (n, k), from which the scores are.
        selected_on: what chose the epoch or the strength: "val", "test" or None (the last epoch).
        chosen: the same for a person, with what was chosen.
        epoch: the epoch, where there are epochs.
        train, val: the first metric on the training and validation images, float64 (k,), NaN where not defined.
        gradient: norm of each attribute's gradient at the end, float64 (k,).
        rank: directions in which the codes vary.
    """

    scores: dict[str, np.ndarray]
    predictions: np.ndarray
    selected_on: Literal["val", "test"] | None
    chosen: str
    epoch: int | None = None
    train: np.ndarray | None = None
    val: np.ndarray | None = None
    gradient: np.ndarray | None = None
    rank: int | None = None


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

    def z(self, latents: Latents, epoch: int, call: str) -> Float[Tensor, "n d"]:
        """The latents of one call: another call or epoch has other draws where the protocol samples."""
        flip = self.config.flip and call == "train"
        return latents.draw(mixed_seed(self.seed, epoch, call), sample=self.config.sample, flip=flip)

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
    def predictions(self, split: Split, epoch: int, call: str) -> np.ndarray:
        """Logits or values, float32 (n, k), with `head` as it is."""
        return self.head(self.z(split.latents, epoch, call)).numpy()

    def outcome(self, test: Split, epoch: int, selected_on: Literal["val", "test"] | None) -> Outcome:
        """Every metric of the kind, with `head` as it is."""
        predicted = self.predictions(test, epoch, "test")
        chosen = f"epoch {epoch + 1}" + (f", best on {selected_on}" if selected_on else "")
        return Outcome(scores(self.kind, test.targets, predicted), predicted, selected_on, chosen, epoch)


def scores(kind: Kind, targets: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric of a kind, float64 (k,)."""
    return {name: metric(targets, predicted) for name, metric in METRICS[kind].items()}


def run_paper(
    train: Split, val: Split | None, test: Split, *, kind: Kind, seed: int, config: ProbeConfig | None = None
) -> list[Outcome]:
    """Train one probe and measure it on `test`: one outcome, or two where the protocol selects on the test split.

    Args:
        config: default: the published one.

    Raises:
        ValueError: the protocol selects on validation and `val` is None.
    """
    probe = Probe(train, kind, config or paper_config(kind), seed)
    criterion = next(iter(METRICS[kind]))
    if probe.config.select == "val":
        if val is None:
            raise ValueError("this protocol selects on a validation split")
        metric, held_out = METRICS[kind][criterion], val
        curve = (
            float(metric(held_out.targets, probe.predictions(held_out, epoch, "val")).mean())
            for epoch in probe.epochs()
        )
        best, _ = select_epoch(probe.head, curve)
        return [probe.outcome(test, best, "val")]
    outcomes = [probe.outcome(test, epoch, None) for epoch in probe.epochs()]
    means = np.array([outcome.scores[criterion].mean() for outcome in outcomes])
    best = int(np.nanargmax(means)) if np.isfinite(means).any() else len(outcomes) - 1
    chosen = dataclasses.replace(outcomes[best], selected_on="test", chosen=f"epoch {best + 1}, best on test")
    return [outcomes[-1], chosen]


def initial_head(d: int, k: int, seed: int) -> nn.Linear:
    """`nn.Linear(d, k)` with PyTorch's default distribution, drawn from `seed` and not from the global generator."""
    head: nn.Linear = nn.utils.skip_init(nn.Linear, d, k)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.uniform_(-(d**-0.5), d**-0.5, generator=generator)
    return head


def training_epochs(
    head: nn.Module,
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


def select_epoch(head: nn.Module, scores: Iterator[float]) -> tuple[int, list[float]]:
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
