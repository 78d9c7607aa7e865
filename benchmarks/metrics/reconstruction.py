r"""How close is a reconstruction? SSIM in three conventions, MSE in two, PSNR.

With a window w (11 x 11 Gaussian, sigma 1.5, sum 1), <x> = w * x and data range 1, per channel and pixel

    SSIM = (2 <x><y> + C1) (2 s_xy + C2) / ((<x>^2 + <y>^2 + C1) (s_xx + s_yy + C2)),   s_xy = <xy> - <x><y>
    C1 = 0.01^2,  C2 = 0.03^2;   the value of an image is the mean over channels and pixels
    MSE  = mean (x - y)^2,   PSNR = -10 log10 MSE          on pixels in [0, 1]

What happens at the border names the convention:

    ssim                zero padding by 5, mean over the whole map
    ssim_skimage        no padding: the 5 outer pixels are left out
    ssim_dbae_released  as `ssim`, of arrays (b, h, w, c) taken for (b, c, h, w)

The last one slides the window over columns and colours, with zeros beside an axis of length 3: two unrelated images
score 0.74 where they have 0.21. The published DBAE numbers very likely contain it.

Sources, in order: phizaz/diffae, ssim.py, and the same function in ckczzj/PDAE, metric/utils.py; scikit-image's
structural_similarity with gaussian_weights; aailab-kaist/DBAE, eval_reconstruction.py.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dbae.support.errors import UserError

_RADIUS = 5
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_SLACK = 1e-3


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """One value an image, (b,), in the units of the module; the table values are plain means over images.

    Attributes:
        ssim, ssim_skimage, mse, psnr: of float images, clamped, not quantised. PSNR of a perfect copy is infinite.
        ssim_dbae_released, mse_dbae_released: float64, of uint8 images, the reconstruction rounded down.

    Of a reconstruction with a NaN, which no byte can say, or an infinite value, all of them are NaN.
    """

    ssim: Float[Tensor, " b"]
    ssim_skimage: Float[Tensor, " b"]
    ssim_dbae_released: Float[Tensor, " b"]
    mse: Float[Tensor, " b"]
    mse_dbae_released: Float[Tensor, " b"]
    psnr: Float[Tensor, " b"]


def measure(*, real: Float[Tensor, "b 3 h w"], fake: Float[Tensor, "b 3 h w"]) -> Reconstruction:
    """Every metric of this module in one pass, on the device of the images.

    Args:
        real: images in [-1, 1] that were uint8.
        fake: their reconstructions; clamped to [-1, 1], since a model's output may leave it.

    Raises:
        ValueError: `real` leaves [-1, 1], an image is smaller than the window, or shapes differ.
    """
    _require_one_shape(real, fake)
    fake = torch.where(fake.isfinite(), fake, torch.nan)
    x, y = _unit(real.add(1).div(2)), fake.clamp(-1, 1).add(1).div(2)
    map_ = _similarity(x, y)
    mse = _image_mean((x - y).square())
    # DEVIATION: the released script compares bytes, and makes those of the reconstruction by truncation.
    x_bytes, y_bytes = _bytes(x.mul(255).round()), _bytes(fake.clamp(-1, 1).add(1).mul(127.5))
    lost = torch.where(mse.isnan(), mse, 0).double()
    return Reconstruction(
        ssim=_image_mean(map_),
        ssim_skimage=_image_mean(_interior(map_)),
        ssim_dbae_released=ssim_dbae_released(x_bytes, y_bytes) + lost,
        mse=mse,
        mse_dbae_released=_image_mean((x_bytes.double() - y_bytes.double()).div(255).square()) + lost,
        psnr=_decibel(mse),
    )


def ssim(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """SSIM as DiffAE and PDAE compute it, of images in [0, 1], in their dtype. Range [-1, 1], 1 for equal images.

    Raises:
        ValueError: values leave [0, 1] by more than 1e-3, or shapes differ.
    """
    return _image_mean(_similarity(_unit(x), _unit(y)))


def ssim_skimage(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """SSIM as scikit-image computes it with `gaussian_weights`, images in [0, 1]; see `ssim`."""
    return _image_mean(_interior(_similarity(_unit(x), _unit(y))))


def require_scikit_image_agrees(*, real: Float[Tensor, "b 3 h w"], fake: Float[Tensor, "b 3 h w"]) -> None:
    """Have scikit-image itself measure the first image, since a metric bears its name.

    All images are measured by `ssim_skimage`, on their device and in the pass that gives the other conventions: the
    package measures one image after another, on the CPU.

    Args:
        real, fake: as of `measure`.

    Raises:
        UserError: the package that is installed computes something else.
    """
    from skimage.metrics import structural_similarity

    x, y = (image[:1].double().clamp(-1, 1).add(1).div(2).cpu() for image in (real, fake))
    found = float(ssim_skimage(x, y)) if not y.isnan().any() else math.nan
    options = {"gaussian_weights": True, "sigma": _SIGMA, "use_sample_covariance": False, "data_range": 1.0}
    expected = float(structural_similarity(x[0].numpy(), y[0].numpy(), channel_axis=0, **options))
    if not math.isnan(found) and abs(found - expected) > 1e-5:
        raise UserError(
            f"SSIM_skimage: expected {expected:.6f} of the first image, as the installed scikit-image says, "
            f"found {found:.6f}. Install the version of scikit-image that constraints.txt names."
        )


def ssim_dbae_released(x: UInt8[Tensor, "b c h w"], y: UInt8[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """SSIM as DBAE's released script computes it, float64, of uint8 images in the usual layout.

    DEVIATION: the script hands channel-last arrays to a channel-first function; the axes are moved here to do so.
    """
    _require_one_shape(x, y)
    x, y = (image.permute(0, 2, 3, 1).double().div(255) for image in (x, y))
    return _image_mean(_similarity(x, y))


def mse(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Mean squared error of each image, pixels in [0, 1]; see `ssim`."""
    _require_one_shape(x, y)
    return _image_mean((_unit(x) - _unit(y)).square())


def psnr(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
    """Peak signal-to-noise ratio of each image in dB, pixels in [0, 1]; infinite for equal images. See `ssim`."""
    return _decibel(mse(x, y))


def _similarity(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """The SSIM map, zero-padded.

    The window is a product of one along columns and one along rows, and each is a matrix product with a banded matrix:
    twice as fast as depthwise convolutions, and not done in TF32, which is PyTorch's default for convolutions.
    """
    _require_one_shape(x, y)
    down, across = _band(x, x.shape[-2]), _band(x, x.shape[-1])
    mean_x, mean_y, xx, yy, xy = (down @ moment @ across for moment in (x, y, x * x, y * y, x * y))
    product, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
    numerator = (2 * product + _C1) * (2 * (xy - product) + _C2)
    return numerator / ((squares + _C1) * (xx + yy - squares + _C2))


def _band(like: Tensor, size: int) -> Float[Tensor, "n n"]:
    """Row i holds the window centred on i, cut off at the ends (zero padding); symmetric."""
    distance = torch.arange(size)[:, None] - torch.arange(size)
    inside = distance.abs() <= _RADIUS
    return torch.where(inside, _window()[(distance + _RADIUS).clamp(0, 2 * _RADIUS)], 0).to(like)


def _window() -> Float[Tensor, "11"]:
    """One axis of the window. Computed in float32 whatever the dtype of the images, as in the references."""
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float32)
    w = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    return w / w.sum()


def _interior(map_: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c inner_h inner_w"]:
    if min(map_.shape[-2:]) <= 2 * _RADIUS:
        raise ValueError(f"ssim_skimage needs images larger than {2 * _RADIUS} pixels, got {tuple(map_.shape[-2:])}")
    return map_[..., _RADIUS:-_RADIUS, _RADIUS:-_RADIUS]


def _require_one_shape(real: Tensor, fake: Tensor) -> None:
    """Tensors of other shapes might be broadcast."""
    if real.shape != fake.shape:
        raise ValueError(f"reconstructions must have the shape {tuple(real.shape)}, found {tuple(fake.shape)}")


def _unit(x: Tensor) -> Tensor:
    low, high = float(x.min()), float(x.max())
    if not (low >= -_SLACK and high <= 1 + _SLACK):
        raise ValueError(f"images must be in [0, 1] after scaling, found [{low:.4g}, {high:.4g}]")
    return x


def _bytes(x: Tensor) -> UInt8[Tensor, "..."]:
    return x.to(torch.uint8)


def _image_mean(x: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    return x.flatten(1).mean(dim=1)


def _decibel(mse: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    return -10 * torch.log10(mse)
