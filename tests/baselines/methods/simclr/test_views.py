"""Views: each change is torchvision's, every image has its own, and the generator decides all."""

from __future__ import annotations

import functools
import importlib

import pytest
import torch

from baselines.methods.simclr import Views
from baselines.methods.simclr.views import blended, blurred, grey, turned
from benchmarks.extractors.torchvision_shim import import_torchvision

X = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
FACTORS = torch.tensor([0.2, 0.7, 1.0, 1.8])
SHIFTS = torch.tensor([-0.2, 0.0, 0.07, 0.2])


@pytest.fixture(scope="module")
def torchvision():
    """Its changes of images."""
    import_torchvision()
    return importlib.import_module("torchvision.transforms.functional")


def each(change, values):
    return torch.stack([change(image, float(value)) for image, value in zip(X, values, strict=True)])


def drawn(seed: int = 1, n: int = 200, **options: bool) -> torch.Tensor:
    """Views of one image."""
    return Views(**options).draw((2 * X[:1] - 1).expand(n, -1, -1, -1), torch.Generator().manual_seed(seed))


@pytest.mark.parity
def test_changes_of_colour_are_torchvisions(torchvision):
    black, mean = X.new_zeros(()), grey(X).mean((1, 2, 3), keepdim=True)
    found = [blended(X, other, FACTORS) for other in (black, mean, grey(X))]
    found += [turned(X, SHIFTS), turned(grey(X).expand_as(X), SHIFTS)]
    changes = ("adjust_brightness", "adjust_contrast", "adjust_saturation")
    expected = [each(getattr(torchvision, change), FACTORS) for change in changes]
    expected += [each(torchvision.adjust_hue, SHIFTS), grey(X).expand_as(X)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)
    torch.testing.assert_close(grey(X), torchvision.rgb_to_grayscale(X))


@pytest.mark.parity
@pytest.mark.parametrize(("size", "width"), [(16, 1), (32, 3), (64, 7)])
def test_blur_is_torchvisions(torchvision, size, width):
    image = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    deviations = torch.tensor([0.4, 1.7])
    expected = torch.stack(
        [torchvision.gaussian_blur(x, [width, width], [float(s)] * 2) for x, s in zip(image, deviations, strict=True)]
    )
    torch.testing.assert_close(blurred(image, deviations), expected)


def test_views_are_a_function_of_the_generator_and_stay_in_range():
    for options in ({}, {"crop": True}):
        views = drawn(**options)
        assert torch.equal(views, drawn(**options))
        assert views.abs().max() <= 1 + 1e-6
        assert len(torch.unique(views.flatten(1).mean(1))) > 150
        assert not torch.equal(views, drawn(seed=2, **options))


def test_how_often_a_view_is_grey_or_keeps_its_colours():
    views = drawn(n=1000)
    colourless = (views.amax(1) - views.amin(1)).flatten(1).amax(1) < 1e-6
    assert 0.16 < colourless.float().mean() < 0.25
    x = 2 * X[0] - 1
    kept = functools.reduce(torch.logical_or, [(views - y).flatten(1).abs().amax(1) < 1e-5 for y in (x, x.flip(2))])
    assert 0.11 < kept.float().mean() < 0.21  # .2 .8, unless blurred, which at 16 px has no neighbours to blur with


def test_without_crop_every_pixel_stays_where_it_is():
    """Of an image of two colours, views have two: where the border was, or its mirror image."""
    image = torch.full((1, 3, 8, 8), -0.5)
    image[..., :2] = torch.tensor([0.8, 0.3, -0.4])[:, None, None]
    views = Views().draw(image.expand(100, -1, -1, -1), torch.Generator().manual_seed(0))
    left = (views[..., :2] - views[..., :1]).abs().amax((1, 2, 3)) < 1e-5
    right = (views[..., -2:] - views[..., -1:]).abs().amax((1, 2, 3)) < 1e-5
    assert (left & right).all()
    cropped = Views(crop=True).draw(image.expand(100, -1, -1, -1), torch.Generator().manual_seed(0))
    alike = (cropped - cropped[..., :1]).abs().amax((1, 2, 3)) < 1e-3
    assert 0.05 < alike.float().mean() < 0.95  # some crops show one colour, others both
