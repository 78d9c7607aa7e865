"""Batches depend on seed and step, and on nothing else."""

from __future__ import annotations

import pickle
import threading
from itertools import islice

import numpy as np
import pytest
import torch

from dbae.data import ImageDataset, InMemory, Subset, TrainingStream, iterate
from dbae.support.errors import UserError


class Numbered(ImageDataset):
    """Image i is filled with i mod 251, its left column with 255; image `broken` cannot be read."""

    name, size, fingerprint = "numbered", 4, "0" * 64

    def __init__(self, n: int, broken: int = -1) -> None:
        self.n, self.broken = n, broken
        self.splits = {"all": np.arange(n), "train": np.arange(n // 2)}

    def __len__(self) -> int:
        return self.n

    def image(self, index: int) -> np.ndarray:
        if index == self.broken:
            raise UserError(f"image {index} is broken")
        out = np.full((4, 4, 3), index % 251, np.uint8)
        out[:, 0] = 255
        return out


def stream(n: int = 10, **options: object) -> TrainingStream:
    return TrainingStream(Numbered(n), np.arange(n), 4, **({"seed": 0} | options))  # type: ignore[arg-type]


def test_every_epoch_holds_every_image_once_in_another_order() -> None:
    seen = np.concatenate([stream().plan(step)[0] for step in range(15)]).reshape(6, 10)
    for epoch in seen:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in seen}) == 6
    assert not np.array_equal(seen[0], np.concatenate([stream(seed=1).plan(s)[0] for s in range(3)])[:10])


def test_any_step_without_replay() -> None:
    running = [(i.tolist(), x) for i, x in islice(stream().batches(), 12)]
    for step in (11, 0, 7):
        indices, images = stream().batch(step)
        assert indices.tolist() == running[step][0]
        assert torch.equal(images, running[step][1])
    resumed = [i.tolist() for i, _ in islice(stream().batches(start=5), 7)]
    assert resumed == [i for i, _ in running[5:]]


def test_images_are_those_of_the_indices_and_flips_mirror() -> None:
    s = stream()
    flips = []
    for step in range(50):
        indices, images = s.batch(step)
        assert (images.dtype, images.shape, indices.dtype) == (torch.uint8, (4, 3, 4, 4), np.int64)
        assert images[:, 0, 0, 1].tolist() == indices.tolist()
        mirrored = images[:, 0, 0, 3] == 255
        assert mirrored.tolist() == s.plan(step)[1].tolist()
        flips += mirrored.tolist()
    assert 70 < sum(flips) < 130
    assert not any(stream(flip=False).plan(step)[1].any() for step in range(10))


def test_flips_are_drawn_anew_every_epoch() -> None:
    s = TrainingStream(Numbered(40), np.arange(40), 40, seed=0)
    by_image = [dict(zip(*map(np.ndarray.tolist, s.plan(e)), strict=True)) for e in range(2)]
    assert by_image[0] != by_image[1]


def test_batch_larger_than_the_data() -> None:
    s = TrainingStream(Numbered(3), np.arange(3), 8, seed=0)
    indices = s.plan(0)[0]
    assert len(indices) == 8
    assert sorted(indices[:3]) == sorted(indices[3:6]) == [0, 1, 2]


def test_training_reads_only_the_given_indices() -> None:
    s = TrainingStream(Numbered(10), np.array([7, 2, 5]), 3, seed=0)
    assert sorted(s.plan(4)[0]) == [2, 5, 7]
    assert pickle.loads(pickle.dumps(s)).plan(4)[0].tolist() == s.plan(4)[0].tolist()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers: int) -> None:
    state = torch.get_rng_state()
    alone = [(i.tolist(), x) for i, x in islice(stream().batches(2), 6)]
    helped = [(i.tolist(), x) for i, x in islice(stream(workers=workers).batches(2), 6)]
    for (i, x), (j, y) in zip(alone, helped, strict=True):
        assert i == j
        assert torch.equal(x, y)
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="found 0 and 4"):
        TrainingStream(Numbered(3), np.arange(0), 4, seed=0)
    with pytest.raises(ValueError, match="found 3 and 0"):
        TrainingStream(Numbered(3), np.arange(3), 0, seed=0)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_iterate_reads_in_order(workers: int, batch_size: int) -> None:
    wanted = np.array([9, 0, 3, 3, 8, 1, 2])
    batches = list(iterate(Numbered(10), wanted, batch_size, workers=workers))
    assert np.concatenate([i for i, _ in batches]).tolist() == wanted.tolist()
    assert torch.cat([x for _, x in batches])[:, 0, 0, 1].tolist() == wanted.tolist()
    assert all(len(i) == batch_size for i, _ in batches[:-1])


def test_iterate_flips_all_or_none() -> None:
    (_, plain), (_, flipped) = (next(iterate(Numbered(4), np.arange(4), 4, flip=f)) for f in (False, True))
    assert torch.equal(plain.flip(-1), flipped)
    assert not torch.equal(plain, flipped)


def test_iterate_does_not_read_far_ahead() -> None:
    class Counting(Numbered):
        reads = 0

        def image(self, index: int) -> np.ndarray:
            Counting.reads += 1
            return super().image(index)

    batches = iterate(Counting(200), np.arange(200), 2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert Counting.reads <= 8
    assert not [t for t in threading.enumerate() if t.name.startswith("dbae-data")]


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_keep_their_message(workers: int) -> None:
    with pytest.raises(UserError, match=r"^image 3 is broken$"):
        list(iterate(Numbered(5, broken=3), np.arange(5), 2, workers=workers))
    with pytest.raises(UserError, match=r"^image 3 is broken$"):
        list(islice(TrainingStream(Numbered(5, broken=3), np.arange(5), 5, seed=0, workers=workers).batches(), 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_in_memory_is_the_same_data_set(workers: int) -> None:
    source = Numbered(300)
    data = InMemory(source, workers=workers, progress=False)
    assert (len(data), data.name, data.size, data.fingerprint) == (300, "numbered", 4, source.fingerprint)
    assert data.splits is source.splits
    np.testing.assert_array_equal(data.image(299), Numbered(300).image(299))
    assert torch.equal(data.batch([5, 2, 5]), source.batch([5, 2, 5]))
    indices, flipped = next(iterate(data, np.arange(4), 4, flip=True))
    assert torch.equal(data.batch(indices).flip(-1), flipped)  # flipping a batch leaves the stored images alone


def test_in_memory_refuses_what_cannot_fit() -> None:
    with pytest.raises(UserError, match=r"numbered: expected images that fit .* \(1000000000000 images of 4 pixels\)"):
        InMemory(Huge(), progress=False)


class Huge(Numbered):
    """A data set of which only the length is asked."""

    def __init__(self) -> None:
        super().__init__(1)

    def __len__(self) -> int:
        return 10**12


def test_subset_carries_groups_and_order() -> None:
    source = Numbered(6)
    source.groups = np.array([0, 0, 1, 1, 2, 2])
    part = Subset(source, np.array([4, 1]))
    assert part.groups is not None
    assert part.groups.tolist() == [2, 0]
    assert part.batch([0, 1])[:, 0, 0, 1].tolist() == [4, 1]
    assert {name: i.tolist() for name, i in part.splits.items()} == {"all": [0, 1], "train": [1]}
    assert part.fingerprint != Subset(source, np.array([1, 4])).fingerprint
