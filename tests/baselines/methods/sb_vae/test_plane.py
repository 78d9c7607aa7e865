"""Eight Gaussians in the plane: what the encoder's drift is good for, in the order that its paper has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from baselines.methods.sb_vae import plane

ARGS = plane.Args(Path("unused.png"), updates=120, batch_size=128, steps=8, width=32, lr=5e-3)


@pytest.fixture(scope="module")
def runs() -> dict[plane.Drifts, plane.Run]:
    return {drifts: plane.run(ARGS, drifts, points=1000) for drifts in plane.RUNS}


def test_the_longer_the_drift_learns_the_lower_is_the_bound(runs):
    """And a learned drift, even one that stopped, brings the prior nearer and with it what is made."""
    fixed, stopped, joint = (runs[drifts] for drifts in plane.RUNS)
    assert joint.bound < stopped.bound - 0.003
    assert stopped.bound < fixed.bound - 0.5
    assert max(stopped.prior, joint.prior) < 0.1 * fixed.prior
    assert joint.generation < stopped.generation < 0.6 * fixed.generation


def test_the_form_with_a_divergence_trains_both_drifts_too(runs):
    found = plane.run(dataclasses.replace(ARGS, updates=60, form="total"), "joint", points=1000)
    assert found.prior < 0.5 * runs["fixed"].prior


def test_energy_distance():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(1500, 2, generator=generator), torch.randn(1500, 2, generator=generator)
    assert abs(plane.energy_distance(x, y)) < 0.01
    far = plane.energy_distance(x, y + torch.tensor([30.0, 0.0]))
    assert far == pytest.approx(60 - 2 * torch.pi**0.5, rel=0.02)  # E|X - X'| is sqrt(pi) in the plane


def test_the_figure_is_drawn(tmp_path, runs):
    plane.draw(runs, tmp_path / "plane.png")
    assert (tmp_path / "plane.png").read_bytes().startswith(b"\x89PNG")
