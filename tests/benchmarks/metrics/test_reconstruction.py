from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from device_watch import Watch
from golden_fill import GOLDEN

from benchmarks.metrics import reconstruction as rec
from dbae.images import to_float
from dbae.support.errors import UserError

KINDS = ["noise", "shift", "contrast", "other"]


def nchw(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def pairs():
    with np.load(GOLDEN / "metrics" / "recon_images.npz") as arrays:
        return {name: nchw(array) for name, array in arrays.items()}


@pytest.fixture(scope="module")
def expected():
    return json.loads((GOLDEN / "metrics" / "recon.json").read_text())


@pytest.mark.golden
@pytest.mark.parametrize("kind", KINDS)
def test_every_golden_of_a_pair(pairs, expected, kind):
    x, y = pairs["real"], pairs[f"fake_{kind}"]
    golden = expected[kind]
    for dtype, key, atol in (
        (torch.float32, "ssim_diffae_f32", 2e-5),
        (torch.float64, "ssim_diffae_f64_window_f32", 1e-6),
        (torch.float64, "ssim_skimage_zero_pad5_full_map", 5e-6),
    ):
        np.testing.assert_allclose(rec.ssim(x.to(dtype) / 255, y.to(dtype) / 255), golden[key], rtol=0, atol=atol)
    a, b = x.double() / 255, y.double() / 255
    cropped = golden["ssim_skimage_gaussian_cropped_border"]
    np.testing.assert_allclose(rec.ssim_skimage(a, b), cropped, rtol=0, atol=5e-6)
    np.testing.assert_allclose(rec.ssim_dbae_released(x, y), golden["ssim_dbae_script_nhwc"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(rec.mse(a, b), golden["mse_01"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(rec.psnr(a, b), golden["psnr_01"], rtol=0, atol=1e-5)


@pytest.mark.golden
def test_released_script_of_dbae():
    with np.load(GOLDEN / "dbae" / "recon_metrics.npz") as golden:
        x, y = nchw(golden["real"]), nchw(golden["fake"])
        np.testing.assert_allclose(rec.ssim_dbae_released(x, y), golden["ssim_as_released_nhwc"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(rec.ssim(x.double() / 255, y.double() / 255), golden["ssim_nchw"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(rec.mse(x.double() / 255, y.double() / 255), golden["mse"], rtol=0, atol=1e-6)


def diffae_pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Inputs of golden/diffae/ssim.npz, from its README."""

    def U(seed, *shape):
        return np.random.RandomState(seed).random_sample(shape).astype(np.float32)

    def N(seed, *shape):
        return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)

    a = U(501, 2, 3, 64, 64)
    y, x = np.meshgrid(np.linspace(0, 1, 128), np.linspace(0, 1, 128), indexing="ij")
    smooth = np.array([[y, x, (y + x) / 2], [np.sin(6 * y) ** 2, np.cos(5 * x) ** 2, y * x]], np.float32)
    noise = N(504, 2, 3, 128, 128)
    return {
        "rand64_indep": (a, U(502, 2, 3, 64, 64)),
        "rand64_noisy": (a, np.clip(a + np.float32(0.1) * N(503, 2, 3, 64, 64), 0, 1)),
        "smooth128_noise02": (smooth, np.clip(smooth + np.float32(0.02) * noise, 0, 1)),
        "smooth128_noise10": (smooth, np.clip(smooth + np.float32(0.10) * noise, 0, 1)),
        "smooth128_shift": (smooth, np.clip(smooth + np.float32(0.05), 0, 1)),
        "smooth128_same": (smooth, smooth),
        "smooth128_m11": (2 * smooth - 1, np.clip(2 * smooth - 1 + np.float32(0.1) * noise, -1, 1)),
        "gray32": (U(505, 2, 1, 32, 32), U(506, 2, 1, 32, 32)),
    }


@pytest.mark.golden
@pytest.mark.parametrize("name", diffae_pairs())
def test_ssim_of_diffae(name):
    x, y = (torch.from_numpy(array) for array in diffae_pairs()[name])
    with np.load(GOLDEN / "diffae" / "ssim.npz") as golden:
        per_image, mean, mse = (golden[f"{name}/{key}"] for key in ("per_image", "mean", "mse"))
        skimage = golden[f"{name}/skimage_gauss"]
        np.testing.assert_allclose(rec._window(), golden["gaussian11"], rtol=0, atol=1e-7)
    if name == "smooth128_m11":  # the reference does not notice that its range is 2
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            rec.ssim(x, y)
        found = rec._image_mean(rec._similarity(x, y))
    else:
        found = rec.ssim(x, y)
        np.testing.assert_allclose(rec.mse(x, y), mse, rtol=0, atol=1e-7)
        np.testing.assert_allclose(rec.ssim_skimage(x.double(), y.double()), skimage, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found, per_image, rtol=0, atol=1e-5)
    assert float(found.double().mean()) == pytest.approx(float(mean), abs=1e-5)


@pytest.mark.parity
def test_ssim_is_that_of_scikit_image(pairs):
    from skimage.metrics import structural_similarity

    x, y = pairs["real"].double() / 255, pairs["fake_noise"].double() / 255
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=0)
    cropped = [structural_similarity(a.numpy(), b.numpy(), **options) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(rec.ssim_skimage(x, y), cropped, rtol=0, atol=5e-6)

    wide = [(0, 0), (5, 5), (5, 5)]
    for a, b, value in zip(x, y, rec.ssim(x, y), strict=True):
        _, full = structural_similarity(np.pad(a, wide), np.pad(b, wide), full=True, **options)
        assert float(value) == pytest.approx(full[:, 5:-5, 5:-5].mean(), abs=5e-6)


def test_another_scikit_image_is_noticed(pairs, monkeypatch):
    real, fake = to_float(pairs["real"]), to_float(pairs["fake_noise"])
    rec.require_scikit_image_agrees(real=real, fake=fake)
    rec.require_scikit_image_agrees(real=real, fake=torch.full_like(fake, torch.nan))
    monkeypatch.setattr("skimage.metrics.structural_similarity", lambda *images, **options: 0.5)
    with pytest.raises(UserError, match=r"SSIM_skimage: expected 0\.5"):
        rec.require_scikit_image_agrees(real=real, fake=fake)


def test_measure_is_the_single_functions(pairs):
    real, fake = to_float(pairs["real"]), to_float(pairs["fake_noise"])
    found = rec.measure(real=real, fake=fake)
    x, y = (real + 1) / 2, (fake + 1) / 2
    for name in ("ssim", "ssim_skimage", "mse", "psnr"):
        np.testing.assert_allclose(getattr(found, name), getattr(rec, name)(x, y), rtol=0, atol=1e-6)


def test_values_do_not_depend_on_the_batch(pairs):
    real, fake = to_float(pairs["real"]), to_float(pairs["fake_shift"])
    together = rec.measure(real=real, fake=fake)
    for i in range(4):
        alone = rec.measure(real=real[i : i + 1], fake=fake[i : i + 1])
        for name, values in vars(together).items():
            assert float(getattr(alone, name)) == pytest.approx(float(values[i]), abs=2e-7), name


def test_truncation_lowers_a_perfect_reconstruction():
    """63 of the 256 grey levels fall by one on the way through [-1, 1]; the float route does not see it."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    found = rec.measure(real=to_float(levels), fake=to_float(levels))
    assert float(found.mse) == 0
    assert torch.isinf(found.psnr).all()
    assert float(found.ssim) == pytest.approx(1, abs=1e-6)
    assert float(found.mse_dbae_released) * 256 * 255**2 == pytest.approx(63, abs=1e-6)


def test_refuses_what_it_cannot_measure(pairs):
    x = pairs["real"].float()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        rec.ssim(x, x)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        rec.measure(real=x, fake=x)
    nan = torch.full((1, 3, 16, 16), torch.nan)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        rec.mse(nan, nan)
    small = torch.zeros(1, 3, 8, 8)
    with pytest.raises(ValueError, match="larger than 10"):
        rec.ssim_skimage(small, small)


@pytest.mark.usefixtures("unchecked")
def test_refuses_another_number_of_reconstructions():
    with pytest.raises(ValueError, match=r"\(3, 3, 16, 16\), found \(1, 3, 16, 16\)"):
        rec.measure(real=torch.zeros(3, 3, 16, 16), fake=torch.zeros(1, 3, 16, 16))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("metric", [rec.ssim, rec.ssim_skimage, rec.ssim_dbae_released, rec.mse, rec.psnr])
@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (3, 1, 16, 16), (16, 16)])
def test_refuses_to_compare_one_image_with_many(metric, shape):
    x, y = torch.zeros(3, 3, 16, 16), torch.zeros(shape)
    if metric is rec.ssim_dbae_released:
        x, y = x.byte(), y.byte()
    with pytest.raises(ValueError, match=r"must have the shape \(3, 3, 16, 16\), found"):
        metric(x, y)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_no_metric_of_an_image_that_is_not_finite_is_a_number(bad):
    real, fake = torch.zeros(3, 3, 16, 16), torch.zeros(3, 3, 16, 16)
    fake[1, 0, 3, 3] = bad
    found = dataclasses.asdict(rec.measure(real=real, fake=fake))
    for name, values in found.items():
        assert values.isnan().tolist() == [False, True, False], name


def test_a_batch_is_measured_without_waiting_for_the_device(monkeypatch):
    """Once its range is checked. On the meta device, whose tensors have no numbers to read or to copy."""
    monkeypatch.setattr(rec, "_unit", lambda x: x)
    images = torch.empty(2, 3, 16, 16, device="meta")
    with Watch() as watch:
        found = rec.measure(real=images, fake=images)
    assert watch.read == []
    values = [getattr(found, field.name) for field in dataclasses.fields(found)]
    assert {value.device.type for value in values} == {"meta"}
