"""Noise belongs to images, not to batches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from dbae.noise import GeneratorNoise, Noise, PerImageNoise, ReplayNoise, image_generator, mixed_seed


def test_batches_and_order_do_not_matter():
    """Two draws of different shapes, images one by one, in threes, shuffled."""
    shapes = [(3, 4, 4), (5,)]

    def draws(indices):
        noise = PerImageNoise(7, indices)
        return [noise.normal((len(indices), *shape)) for shape in shapes]

    whole = draws(range(10))
    for size in (1, 3):
        parts = [draws(range(10)[i : i + size]) for i in range(0, 10, size)]
        for one, many in zip(zip(*parts, strict=True), whole, strict=True):
            assert torch.equal(torch.cat(one), many)
    order = [9, 0, 4, 4]
    assert all(torch.equal(shuffled, all_[order]) for shuffled, all_ in zip(draws(order), whole, strict=True))


def test_every_draw_seed_index_and_stream_differs():
    sources = [
        PerImageNoise(seed, [index], stream=stream)
        for seed, index, stream in itertools.product((0, 1), (0, 1), ("", "encode", "sample"))
    ]
    drawn = [source.normal((1, 8)) for source in sources for _ in range(2)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))


def test_draws_are_standard_normal_float32():
    x = PerImageNoise(0, range(4)).normal((4, 50_000))
    assert x.dtype == torch.float32
    assert x.mean(1).abs().max() < 5 / 50_000**0.5
    assert (x.std(1) - 1).abs().max() < 5 / 100_000**0.5
    assert torch.corrcoef(x).fill_diagonal_(0).abs().max() < 5 / 50_000**0.5


def test_device_changes_where_numbers_are_not_what_they_are():
    assert PerImageNoise(0, [1], device="meta").normal((1, 2)).device.type == "meta"
    assert PerImageNoise(0, [1]).normal((1, 2)).device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_gets_the_same_numbers():
    there = PerImageNoise(0, [1, 2], device="cuda").normal((2, 8))
    assert torch.equal(there.cpu(), PerImageNoise(0, [1, 2]).normal((2, 8)))


def test_batch_of_another_size_is_refused():
    with pytest.raises(ValueError, match="asked for noise of 2 images; this source serves 3"):
        PerImageNoise(0, range(3)).normal((2, 4))


def test_numpy_indices_are_those_of_python():
    assert torch.equal(PerImageNoise(0, np.arange(2)).normal((2, 3)), PerImageNoise(0, [0, 1]).normal((2, 3)))


def test_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    PerImageNoise(0, range(3)).normal((3, 4))
    GeneratorNoise(torch.Generator().manual_seed(0)).normal((2, 2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_replay_gives_recorded_draws_in_order():
    recorded = [np.zeros((2, 3), np.float32), torch.ones(1)]
    noise = ReplayNoise(recorded)
    assert torch.equal(noise.normal((2, 3)), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"recorded draw has shape \(1,\), asked for \(2,\)"):
        noise.normal((2,))
    with pytest.raises(StopIteration):
        noise.normal((1,))


def test_one_generator_draws_on():
    noise = GeneratorNoise(torch.Generator().manual_seed(3))
    first, second = noise.normal((2, 3)), noise.normal((2, 3))
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(first, torch.randn(2, 3, generator=generator))
    assert torch.equal(second, torch.randn(2, 3, generator=generator))


def test_all_sources_follow_the_protocol():
    sources = PerImageNoise(0, [0]), ReplayNoise([]), GeneratorNoise(torch.Generator())
    assert all(isinstance(source, Noise) for source in sources)


def test_mixed_seeds_are_fixed_and_distinct():
    """Their values are part of every result: a change would change all of them."""
    assert mixed_seed(0, "step", 0) == 5763866446675112022
    assert mixed_seed(5, 7, "encode") == 6255472311268169871
    seeds = [mixed_seed(a, b, c) for a in range(8) for b in ("step", "epoch") for c in range(64)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in [*seeds, mixed_seed(-1), mixed_seed(2**63)])
    assert image_generator(1, 2, "encode").initial_seed() == mixed_seed(1, 2, "encode")
