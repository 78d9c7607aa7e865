"""SB-VAE in the plane: eight Gaussians, and what learning the encoder's drift is good for.

  python -m baselines.methods.sb_vae.plane --out docs/sb_vae_plane.png

Three runs of the same length, of small networks: the encoder's drift stays 0 (a score model: X_T is not N(0, I)), is
learned for a third of the run and then left as it is, or is learned all along. Prints the bound that they lower, which
falls in this order, and energy distances, 0 for equality: of X_T to the prior, and of decoded draws to the data.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.methods.sb_vae import bridge
from dbae.networks.blocks import zero_init
from dbae.noise import GeneratorNoise, mixed_seed
from dbae.support import cli
from dbae.support.files import atomic_path

Drifts = Literal["fixed", "stopped", "joint"]
RUNS: tuple[Drifts, ...] = ("fixed", "stopped", "joint")
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Args:
    """Options of the command.

    Attributes:
        out: the figure.
        updates: optimiser steps of a run.
        batch_size: points a step.
        steps: of the chain.
        form: bound that both drifts are trained on: of the chain, or of continuous time, with a divergence.
        g: strength of the noise.
        width: of the networks.
        lr: learning rate at first; it falls to 0 in a straight line.
        seed: of weights, points and noise.
    """

    out: Path
    updates: int = 1000
    batch_size: int = 256
    steps: int = 12
    form: Literal["chain", "total"] = "chain"
    g: float = 1.0
    width: int = 64
    lr: float = 5e-3
    seed: int = 0

    @property
    def grid(self) -> list[float]:
        """Times of the chain, of duration 1, closer near the data."""
        return bridge.times(self.steps, power=2)


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained pair, by what it makes of fresh points.

    Attributes:
        ends: X_T of the encoder; made: what the decoder makes of N(0, I).
        bound: mean of the chain, nats, but for - H(data).
        prior: energy distance of `ends` to N(0, I); generation: of `made` to the data.
    """

    ends: Float[Tensor, "n 2"]
    made: Float[Tensor, "n 2"]
    bound: float
    prior: float
    generation: float


class PlaneDrift(nn.Module):
    """A drift in the plane, 0 at first; the decoder's grows as 1 / sqrt(t) near the data."""

    def __init__(self, width: int, *, decodes: bool) -> None:
        super().__init__()
        self.decodes = decodes
        self.layers = nn.Sequential(
            nn.Linear(3, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
        )
        zero_init(self.layers[-1])

    def forward(self, t: Float[Tensor, " b"], x: Float[Tensor, "b 2"]) -> Float[Tensor, "b 2"]:
        root = t[:, None].sqrt()
        drift = self.layers(torch.cat([root, x], 1))
        return drift / root if self.decodes else drift


def eight_gaussians(n: int, generator: torch.Generator) -> Float[Tensor, "n 2"]:
    """Points around eight centres on the circle of radius 2, of deviation 0.15."""
    angle = torch.randint(8, (n,), generator=generator) * (torch.pi / 4)
    centre = 2 * torch.stack([angle.cos(), angle.sin()], 1)
    return centre + 0.15 * torch.randn(n, 2, generator=generator)


def energy_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, without pairs of a point with itself; 0 for equal distributions."""
    own = [torch.cdist(z, z).sum() / (len(z) * (len(z) - 1)) for z in (x, y)]
    return float(2 * torch.cdist(x, y).mean() - own[0] - own[1])


def run(args: Args, drifts: Drifts, points: int = 4000) -> Run:
    """Train a pair, and measure it on so many fresh points."""
    with torch.random.fork_rng([]):
        torch.manual_seed(mixed_seed(args.seed, "weights"))
        u, s = PlaneDrift(args.width, decodes=False), PlaneDrift(args.width, decodes=True)
    noise = GeneratorNoise(torch.Generator().manual_seed(mixed_seed(args.seed, "training")))
    optimizer = torch.optim.Adam([*u.parameters(), *s.parameters()], args.lr)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 1 - update / args.updates)
    learned = {"fixed": 0, "stopped": args.updates // 3, "joint": args.updates}[drifts]
    for update in range(args.updates):
        x0 = eight_gaussians(args.batch_size, noise.generator)
        bound = _bound(args, u, s, x0, noise) if update < learned else _decoder_alone(args, u, s, x0, noise)
        bound.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        decay.step()
    return _measured(args, u, s, points)


def _bound(args: Args, u: PlaneDrift, s: PlaneDrift, x0: Tensor, noise: GeneratorNoise) -> Float[Tensor, " b"]:
    """The bound of both drifts, by paths that carry gradients."""
    if args.form == "chain":
        return bridge.chain(u, s, x0, args.grid, args.g, noise)
    total, path = x0.new_zeros(len(x0)), bridge.walk(u, x0, args.grid, args.g, noise)
    next(path)
    for before, t, x in zip(args.grid, args.grid[1:], path, strict=False):
        drift, div = bridge.divergence(s, bridge.at(t, x), x)
        total = total + (t - before) * bridge.continuous_term(u(bridge.at(t, x), x), drift, div, args.g)
    return total + bridge.prior_term(x)


def _decoder_alone(args: Args, u: PlaneDrift, s: PlaneDrift, x0: Tensor, noise: GeneratorNoise) -> Float[Tensor, " b"]:
    """The decoder's terms of the chain on given paths: regression, of all steps at once."""
    with torch.no_grad():
        path = list(bridge.walk(u, x0, args.grid, args.g, noise))
    before, after = torch.cat(path[:-1]), torch.cat(path[1:])
    grid = torch.tensor(args.grid)
    t, h = (part.repeat_interleave(len(x0)) for part in (grid[1:], grid.diff()))
    terms = bridge.chain_term(s(t, after), before, after, h[:, None], args.g)
    return terms.unflatten(0, (args.steps, -1)).sum(0)


@torch.no_grad()
def _measured(args: Args, u: PlaneDrift, s: PlaneDrift, points: int) -> Run:
    noise = GeneratorNoise(torch.Generator().manual_seed(mixed_seed(args.seed, "points")))
    *_, ends = bridge.walk(u, eight_gaussians(points, noise.generator), args.grid, args.g, noise)
    *_, made = bridge.walk_back(u, s, noise.normal((points, 2)), args.grid, args.g, noise)
    prior = energy_distance(ends, noise.normal((points, 2)))
    generation = energy_distance(made, eight_gaussians(points, noise.generator))
    bound = bridge.chain(u, s, eight_gaussians(points, noise.generator), args.grid, args.g, noise).mean()
    return Run(ends, made, float(bound), prior, generation)


def draw(runs: dict[Drifts, Run], path: Path) -> None:
    """X_T of the encoder above, what the decoder makes of N(0, I) below; a column a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, len(runs), sharex=True, sharey=True)
    for column, (name, found) in enumerate(runs.items()):
        for row, (points, title) in enumerate(
            (
                (
                    found.ends,
                    f"drift {name}, bound {found.bound:.3f} nats: $X_T$\nenergy distance to N(0, I) {found.prior:.4f}",
                ),
                (found.made, f"decoded from N(0, I)\nenergy distance to the data {found.generation:.4f}"),
            )
        ):
            axes[row, column].scatter(*points.T, s=2, alpha=0.4, linewidths=0)
            axes[row, column].set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
            axes[row, column].set_title(title, fontsize=9)
    with atomic_path(path) as part:
        figure.savefig(part, dpi=110, format="png")


def main(args: Args) -> None:
    """Run the command."""
    runs = {}
    for drifts in RUNS:
        found = runs[drifts] = run(args, drifts)
        print(
            f"drift {drifts:8} bound {found.bound:.3f} prior {found.prior:.4f} generation {found.generation:.4f}",
            flush=True,
        )
    draw(runs, args.out)
    log.info("%s: the points", args.out)


if __name__ == "__main__":
    raise SystemExit(cli.run(main, Args, module="baselines.methods.sb_vae.plane", description=__doc__))
