"""The moving average of parameters, against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dbae.training.ema import EMA


@pytest.mark.parametrize("warmup", [True, False])
def test_average_follows_the_formula(warmup):
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 2.0)
    ema, expected = EMA(module, 0.9, warmup=warmup), 2.0
    for k in range(1, 101):
        nn.init.constant_(module.weight, float(k % 7))
        ema.update(k)
        rate = min(0.9, (1 + k) / (10 + k)) if warmup else 0.9
        expected = rate * expected + (1 - rate) * (k % 7)
        assert ema.shadow["weight"].item() == pytest.approx(expected, rel=1e-5)


def test_warmup_ends_where_its_rate_reaches_the_full_one():
    """(1 + k) / (10 + k) = 0.9 at k = 80: after that both averages move alike."""
    module = nn.Linear(1, 1, bias=False)
    moves = []
    for warmup in (True, False):
        ema = EMA(module, 0.9, warmup=warmup)
        for step, equal in ((79, not warmup), (80, True), (10_000, True)):
            ema.shadow["weight"].fill_(0.0)
            nn.init.ones_(module.weight)
            ema.update(step)
            moves.append((ema.shadow["weight"].item() == pytest.approx(0.1, rel=1e-6), equal))
    assert all(found == expected for found, expected in moves)


def test_buffers_are_those_of_the_module():
    module = nn.BatchNorm1d(2)
    ema = EMA(module, 0.5, warmup=False)
    module(torch.randn(8, 2))
    nn.init.zeros_(module.weight)
    ema.update(1)
    state = ema.state_dict()
    assert list(state) == list(module.state_dict())
    assert torch.equal(state["running_mean"], module.running_mean)
    assert state["num_batches_tracked"] == 1
    assert state["weight"].tolist() == [0.5, 0.5]


def test_applied_average_is_taken_off_again_even_after_an_error():
    module = nn.BatchNorm1d(2)
    ema = EMA(module, 0.0, warmup=False)
    nn.init.zeros_(module.weight)
    with ema.applied():
        assert module.weight.tolist() == [1.0, 1.0]
    assert module.weight.tolist() == [0.0, 0.0]
    with pytest.raises(ZeroDivisionError), ema.applied():
        raise ZeroDivisionError
    assert module.weight.tolist() == [0.0, 0.0]
    assert module.weight.requires_grad


def test_state_round_trip():
    module, other = nn.Linear(2, 2), nn.Linear(2, 2)
    ema, restored = EMA(module, 0.5, warmup=False), EMA(other, 0.5, warmup=False)
    restored.load_state_dict(ema.state_dict())
    assert all(torch.equal(v, restored.shadow[k]) for k, v in ema.shadow.items())
    assert not torch.equal(other.weight, module.weight)
