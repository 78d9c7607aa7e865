"""The models behind metrics: Inception v3 for FID and its relatives, LPIPS.

Features of Inception belong to one of three input conventions (`benchmarks.extractors.inception`), which is part of the
extractor's name: numbers from different ones must not share a column. A distance between features of any other network
is an FD, never an FID; `benchmarks.extractors.faces` has one that needs no file.

Weights are looked for on this machine and never downloaded (`benchmarks.extractors.weights`).
"""

from __future__ import annotations

import logging
import re
import warnings
import zipfile
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from benchmarks.extractors.faces import load_facefeatures
from benchmarks.extractors.inception import (
    CLASSES,
    POOL_DIM,
    Inception,
    InceptionOutput,
    Variant,
    network_input,
    require_clean_fid_agrees,
)
from benchmarks.extractors.torchvision_shim import import_torchvision
from benchmarks.extractors.weights import WeightFile, find_weights, load_state
from dbae.support.errors import UserError
from dbae.support.files import sha256

ExtractorKind = Literal["inception", "faces"]
log = logging.getLogger(__name__)

_RELEASES = "https://github.com/{}/releases/download/{}"
INCEPTION_FILES = (
    WeightFile(
        "pt_inception-2015-12-05-6726825d.pth",
        _RELEASES.format("mseitzer/pytorch-fid", "fid_weights/pt_inception-2015-12-05-6726825d.pth"),
        "6726825d",
    ),
    WeightFile(
        "weights-inception-2015-12-05-6726825d.pth",
        _RELEASES.format("toshas/torch-fidelity", "v0.2.0/weights-inception-2015-12-05-6726825d.pth"),
        "6726825d",
    ),
)
"""The same bytes under two names. clean-fid's TorchScript file holds the same network and is taken from a path."""

TORCHSCRIPT_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
"""Of clean-fid's file, inception-2015-12-05.pt as NVIDIA publishes it."""

LPIPS_FILES: dict[str, WeightFile] = {
    "alex": WeightFile(
        "alexnet-owt-7be5be79.pth", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth", "7be5be79"
    ),
    "vgg": WeightFile("vgg16-397923af.pth", "https://download.pytorch.org/models/vgg16-397923af.pth", "397923af"),
}


@runtime_checkable
class FeatureExtractor(Protocol):
    """What turns images into the features of a distribution metric.

    Attributes:
        name: of rows and caches; says network and input convention.
        dim: features an image.
        fingerprint: SHA-256 of the weights.
        device: where it computes; images may come from anywhere.
        head: the classifier on top, logits = features head^T, without bias as guided-diffusion's Inception Score has
            it; None where there is none, or it is not ImageNet's.
    """

    name: str
    dim: int
    fingerprint: str
    device: torch.device
    head: Float[Tensor, "classes dim"] | None

    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b dim"]: ...


class InceptionExtractor:
    """Inception features of uint8 images of any size, on the device of the network."""

    dim = POOL_DIM

    def __init__(self, network: nn.Module, variant: Variant, fingerprint: str, *, name: str | None = None) -> None:
        self.network, self.variant, self.fingerprint = network, variant, fingerprint
        self.name = name or f"inception-{variant}"
        self.is_fids = name is None
        self.device = next(network.parameters()).device
        self.head = network.fc.weight.detach() if isinstance(network, Inception) else None

    @torch.inference_mode()
    def __call__(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048"]:
        """Pool features."""
        found = self.network(network_input(images.to(self.device), self.variant))
        return found.pool if isinstance(found, InceptionOutput) else found

    @torch.inference_mode()
    def outputs(self, images: UInt8[Tensor, "b 3 h w"]) -> InceptionOutput:
        """Pool features, spatial features (sFID) and logits (Inception Score) in one pass.

        Raises:
            UserError: the network is clean-fid's TorchScript, which gives pool features only.
        """
        if not isinstance(self.network, Inception):
            raise UserError(
                "the TorchScript file of clean-fid gives pool features only; the Inception Score and sFID need "
                f"--inception-weights {INCEPTION_FILES[0].name}"
            )
        return self.network(network_input(images.to(self.device), self.variant))


class TorchScriptInception(nn.Module):
    """clean-fid's file (inception-2015-12-05.pt), as clean-fid runs it: its layers without its own resizing.

    A TorchScript file is a program, which is executed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.base = torch.jit.load(str(path), map_location="cpu").eval()

    def forward(self, x: Float[Tensor, "b 3 299 299"]) -> Float[Tensor, "b 2048"]:
        """Pooled features of images resized and scaled as the published file wants them."""
        return self.base.layers(x).flatten(1)


def load_inception(
    path: Path | None = None,
    *,
    variant: Variant = "clean",
    device: torch.device | str = "cpu",
    execute_code: bool = False,
) -> InceptionExtractor:
    """Inception in evaluation mode.

    Args:
        path: a file of `INCEPTION_FILES` or clean-fid's TorchScript, recognised by content; None searches.
        variant: how images are resized and normalised; "clean" is clean-fid's default.
        device: where to compute.
        execute_code: run the program in a TorchScript file that is not clean-fid's. What it computes is no FID: the
            extractor is named after the file.

    Raises:
        UserError: no file (with its name, address and place), another network's weights, or a program that is not to be
            executed.
    """
    path = find_weights("Inception v3 of FID", INCEPTION_FILES, path, option="--inception-weights")
    network: nn.Module
    digest, name = sha256(path), None
    if _is_torchscript(path):
        if digest != TORCHSCRIPT_SHA256:
            _require_permission(path, digest, execute_code)
            name = "file-" + re.sub(r"\W+", "-", path.stem)  # never the name of an extractor that is known
        network = TorchScriptInception(path)
    else:
        state = load_state(path)
        _check_inception(path, state)
        with torch.device("meta"):
            network = Inception()
        network.load_state_dict(state, strict=True, assign=True)
        if not digest.startswith(INCEPTION_FILES[0].digest):
            log.warning("%s: FID's network, but not its published weights (SHA-256 %s)", path, digest[:8])
    network = network.to(device).eval().requires_grad_(False)
    return InceptionExtractor(network, variant, digest, name=name)


def load_extractors(
    kinds: tuple[ExtractorKind, ...] = (),
    inception_weights: Path | None = None,
    *,
    device: torch.device | str = "cpu",
    execute_code: bool = False,
) -> list[FeatureExtractor]:
    """The extractors of a run: every input convention of Inception, and our own of drawn faces.

    Args:
        kinds: which; () takes Inception where a file of its weights is given or found, else our own with a message.
        execute_code: see `load_inception`.

    Raises:
        UserError: Inception was asked for, and there are no weights for it.
    """
    found: list[FeatureExtractor] = []
    for kind in kinds or ("inception",):
        if kind == "faces":
            found.append(load_facefeatures(device=device))
            continue
        try:
            first = load_inception(inception_weights, device=device, execute_code=execute_code)
        except UserError as error:
            if kinds or inception_weights is not None:
                raise
            log.warning("%s\nUntil then: FD-faces by the built-in extractor, which is no FID.", error)
            found.append(load_facefeatures(device=device))
        else:
            variants = get_args(Variant) if first.is_fids else ()
            if variants:
                require_clean_fid_agrees()
            found += [InceptionExtractor(first.network, v, first.fingerprint) for v in variants] or [first]
    return found


def _require_permission(path: Path, digest: str, execute_code: bool) -> None:
    if not execute_code:
        raise UserError(
            f"{path}: expected FID's Inception ({INCEPTION_FILES[0].name}, or clean-fid's TorchScript file, of SHA-256 "
            f"{TORCHSCRIPT_SHA256[:8]}...), found another TorchScript file ({digest[:8]}...), which is a program. "
            f"Get {INCEPTION_FILES[0].url}, or, if you trust this program, add --execute-inception-code."
        )
    log.warning("%s: its code is executed; distances in its features are FD-file-..., no FID", path)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _check_inception(path: Path, state: dict[str, Tensor]) -> None:
    head = state.get("fc.weight")
    if head is not None and head.shape == (1000, POOL_DIM):
        raise UserError(
            f"{path}: this is torchvision's Inception (1000 classes), another network than the one of FID "
            f"({CLASSES} outputs). Use {INCEPTION_FILES[0].url}."
        )
    with torch.device("meta"):
        expected = {key: value.shape for key, value in Inception().state_dict().items()}
    wrong = sorted(
        key for key in expected.keys() | state.keys() if getattr(state.get(key), "shape", None) != expected.get(key)
    )
    if wrong:
        raise UserError(
            f"{path}: {len(wrong)} of {len(expected)} tensors of FID's Inception are missing, unknown or of another "
            f"shape, first {wrong[0]}. Use {INCEPTION_FILES[0].url}."
        )


class Lpips:
    """LPIPS version 0.1 by the lpips package: its heads, a trunk from a file.

    Sum over 5 layers of the mean over space of w . (f_real - f_fake)^2, features f normalised over channels.
    """

    def __init__(self, module: nn.Module, net: str, fingerprint: str) -> None:
        self.module, self.name, self.fingerprint = module, f"LPIPS-{net}", fingerprint
        self.device = next(module.parameters()).device

    @torch.inference_mode()
    def __call__(self, *, real: Float[Tensor, "b 3 h w"], fake: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Distance of each pair, images in [-1, 1]; 0 for equal images. The table values are means over images."""
        return self.module(real.to(self.device), fake.to(self.device)).flatten()


def load_lpips(
    net: Literal["alex", "vgg"] = "alex", path: Path | None = None, *, device: torch.device | str = "cpu"
) -> Lpips:
    """LPIPS in evaluation mode. All published tables here use "alex".

    Args:
        net: the trunk.
        path: torchvision's state dict of the trunk (its classifier is not needed); None searches.
        device: where to compute.

    Raises:
        UserError: no file (with its name, address and place), or another network's weights.
    """
    path = find_weights(f"LPIPS trunk {net}", (LPIPS_FILES[net],), path, option="--lpips-weights")
    import_torchvision()
    import lpips

    # Its trunk starts from random weights, asked for in a way that torchvision has deprecated.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore", category=UserWarning):
        module = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    _load_trunk(module.net, path, net)
    return Lpips(module.to(device).eval().requires_grad_(False), net, sha256(path))


def _load_trunk(trunk: nn.Module, path: Path, net: str) -> None:
    """lpips calls torchvision's `features.3` `slice2.3`: the number is the same, the slice is its own."""
    state = load_state(path)
    own = {key: f"features.{key.partition('.')[2]}" for key in trunk.state_dict()}
    shapes = {key: value.shape for key, value in trunk.state_dict().items()}
    wrong = [theirs for key, theirs in own.items() if getattr(state.get(theirs), "shape", None) != shapes[key]]
    if wrong:
        raise UserError(
            f"{path}: {wrong[0]} is missing or of another shape than in LPIPS's trunk {net}. "
            f"Use {LPIPS_FILES[net].url}."
        )
    trunk.load_state_dict({key: state[theirs] for key, theirs in own.items()}, strict=True)
