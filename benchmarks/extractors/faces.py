r"""A feature extractor of our own: small enough to come with the package, so that every benchmark runs offline.

    h = six 3 x 3 convolutions of the image at 64 pixels, strides 2 2 1 2 2 1, each with batch normalisation and ReLU
    f = normalised W h      128 features, mean 0 and variance 1 over the images it was trained on
    V max(f, 0) + c         what it was trained to say: the 78 attributes of drawn faces

The features are f. Distances in them are numbers of their own, FD-faces and KD-faces, and no FID: the network has seen
drawn faces only. They rank samples of such faces (noise, blur, collapse, a change of population); on other images they
say little more than that two sets differ. Retraining it makes another extractor, which must get another name.

`python -m benchmarks.train_facefeatures` made the weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from safetensors.torch import load_file
from torch import Tensor, nn

from dbae.support.errors import UserError
from dbae.support.files import sha256

NAME = "faces"
SIZE = 64
DIM = 128
OUTPUTS = 78
WEIGHTS = Path(__file__).parent / "builtin" / "facefeatures.safetensors"


class FaceNetwork(nn.Module):
    """The network; `forward` gives the attributes, `features` what lies before them."""

    def __init__(self) -> None:
        super().__init__()
        layers = ((3, 24, 2), (24, 48, 2), (48, 64, 1), (64, 96, 2), (96, 128, 2), (128, 128, 1))
        self.trunk = nn.Sequential(*(_convolution(*layer) for layer in layers), nn.Flatten())
        self.project = nn.Sequential(nn.Linear(128 * (SIZE // 16) ** 2, DIM), nn.BatchNorm1d(DIM, affine=False))
        self.attributes = nn.Linear(DIM, OUTPUTS)

    def features(self, x: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, "b 128"]:
        """f of the module docstring, of images in [-1, 1]."""
        return self.project(self.trunk(x))

    def forward(self, x: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, "b 78"]:
        """V max(f, 0) + c of the module docstring, of images in [-1, 1]."""
        return self.attributes(F.relu(self.features(x)))


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def network_input(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 64 64"]:
    """Images of any size at 64 pixels (antialiased bicubic, clipped), in [-1, 1]."""
    x = images.float()
    if x.shape[-2:] != (SIZE, SIZE):
        x = F.interpolate(x, (SIZE, SIZE), mode="bicubic", antialias=True).clamp_(0, 255)
    return x / 127.5 - 1


class FaceExtractor:
    """Features of uint8 images of any size, on the device of the network (a `FeatureExtractor`)."""

    name, dim = NAME, DIM
    head: Tensor | None = None

    def __init__(self, network: FaceNetwork, fingerprint: str) -> None:
        self.network, self.fingerprint = network, fingerprint
        self.device = next(network.parameters()).device

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 128"]:
        x = network_input(images.to(self.device))
        return self.network.features(x.contiguous(memory_format=torch.channels_last))


def load_facefeatures(path: Path = WEIGHTS, *, device: torch.device | str = "cpu") -> FaceExtractor:
    """The extractor in evaluation mode, float32.

    Raises:
        UserError: the file is missing or holds other weights.
    """
    network = FaceNetwork()
    try:
        state = load_file(path)
        types = {key: value.dtype for key, value in network.state_dict().items()}
        network.load_state_dict({key: value.to(types[key]) for key, value in state.items()})
    except Exception as error:  # safetensors, KeyError and RuntimeError all mean the same here
        raise UserError(
            f"{path}: expected the weights of the face extractor, could not read them ({str(error).splitlines()[0]}). "
            "Install the package again, or make them with: python -m benchmarks.train_facefeatures"
        ) from error
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return FaceExtractor(network.eval().requires_grad_(False), sha256(path))
