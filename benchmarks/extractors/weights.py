"""Where the weights of other people's networks are: nothing is ever downloaded.

Search order: the path given; the folder $DBAE_WEIGHTS_DIR; PyTorch's own cache, where torch-fidelity, pytorch-fid and
lpips put the same files ($TORCH_HOME/hub/checkpoints, by default ~/.cache/torch/hub/checkpoints).
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch

from dbae.support.errors import UserError
from dbae.support.files import sha256


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """A published file.

    Attributes:
        name: the file name.
        url: where its authors publish it.
        digest: the first digits of its SHA-256.
    """

    name: str
    url: str
    digest: str


def there(files: tuple[WeightFile, ...], path: Path | None = None) -> bool:
    """Whether `find_weights` would find a file."""
    try:
        return bool(find_weights("weights", files, path, option=""))
    except UserError:
        return False


def find_weights(what: str, files: tuple[WeightFile, ...], path: Path | None, *, option: str) -> Path:
    """The first file found; a file under its published name must have the published hash.

    Args:
        what: what the weights are for, in words for the message.
        files: published files that serve, the preferred one first.
        path: a file the user named, under any name.
        option: the command line option that names it.

    Raises:
        UserError: there is none (says which file belongs where), or it is incomplete.
    """
    places = [Path(folder) for folder in (os.environ.get("DBAE_WEIGHTS_DIR"),) if folder]
    places.append(Path(torch.hub.get_dir()) / "checkpoints")
    candidates = [path] if path is not None else [folder / file.name for folder in places for file in files]
    for candidate in candidates:
        if candidate.is_file():
            _check_hash(candidate, files)
            return candidate
    best = files[0]
    if path is not None:
        raise UserError(f"{path}: no such file; {option} expects {what}, for instance {best.name} from {best.url}")
    looked = "\n  ".join(str(candidate) for candidate in candidates)
    unset = "" if "DBAE_WEIGHTS_DIR" in os.environ else " (DBAE_WEIGHTS_DIR is not set)"
    raise UserError(
        f"{what}: no weights found. Looked for{unset}:\n  {looked}\n"
        f"Download {best.url} to {places[0] / best.name}, or name a copy with {option} PATH."
    )


def _check_hash(path: Path, files: tuple[WeightFile, ...]) -> None:
    for file in files:
        if path.name == file.name and not (found := sha256(path)).startswith(file.digest):
            raise UserError(
                f"{path}: SHA-256 should begin with {file.digest}, begins with {found[:8]}; the download is incomplete "
                f"or not the published file. Delete it and get {file.url} again."
            )


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """A state dict of tensors, on the CPU.

    Raises:
        UserError: the file is something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types, none of which says more
        raise UserError(f"{path}: expected a PyTorch state dict (.pth), could not read it ({error})") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path}: expected a state dict of tensors, found {type(state).__name__} of other objects")
    return state
