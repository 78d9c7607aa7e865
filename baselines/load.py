"""`load(source)`: a checkpoint file or name -> a model that every benchmark can use.

    builtin:dbae            a model that comes with this package (drawn faces, 32 px); `BUILTIN` has them all
    runs/x/...safetensors   written by this package, any method
    ema_0.9999_1020000.pt   published by the authors of DBAE, DiffAE, PDAE or DiTi, or written by their trainers
    diffae/ffhq128          the same by the name of its card, kept as $DBAE_CHECKPOINTS/NAME/FILE (`baselines.list`)

What a file is follows from its header, or from its keys and shapes; of published models there is nothing to configure.
Others, and bare U-Nets of guided-diffusion, do not tell everything (`dbae.checkpoints.facts`). What is missing is added
to their name, as in `lsun.pt?image_size=256&head_channels=64&attention_order=legacy&schedule=linear`, or stands under
`options` in a card lsun.pt.yaml beside it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from urllib.parse import parse_qsl

from torch import Tensor

from baselines import assemble, cards, recognise
from baselines.cards import Card
from baselines.interface import LoadedModel, Prior, Statistics
from baselines.recognise import NO_MODEL, Found
from dbae import pretrained, prior
from dbae.checkpoints import own as checkpoint
from dbae.checkpoints import torchfile
from dbae.checkpoints.fields import from_json
from dbae.support.errors import UserError
from dbae.support.files import sha256

__all__ = ["BUILTIN", "Classifier", "LoadedModel", "NoModel", "load", "load_classifier", "load_prior", "no_model"]

BUILTIN = pretrained.BUILTIN | {
    name: path for name, (path, _) in pretrained.listed(Path(__file__).parent / "builtin").items()
}
"""The models that come with this package: DBAEs and those of other methods."""


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A linear map from standardised z to logits of attributes, as DiffAE, PDAE and DBAE publish it for editing.

    Attributes:
        weight: (attributes, l), a row for each of CelebA's 40 in their usual order; bias: (attributes,).
        statistics: by which its z was standardised, where the file says so.
    """

    weight: Tensor
    bias: Tensor
    statistics: Statistics | None


@dataclasses.dataclass(frozen=True)
class NoModel:
    """A file that holds no model by itself: where it is, and what it is."""

    path: Path
    what: str


@dataclasses.dataclass(frozen=True)
class _Source:
    """A file, its card if it has one, and what the user adds about it."""

    path: Path
    card: Card | None
    options: dict[str, str]


def load(source: str | Path) -> LoadedModel:
    """Open a checkpoint.

    Raises:
        UserError: no such file or name, or a file that cannot be read or does not fit any known model.
    """
    at = _resolve(source)
    if checkpoint.is_own(at.path):
        return _own(at)
    return _published(at, recognise.recognise(torchfile.read(at.path), at.path))


def load_prior(source: str | Path, *, of: LoadedModel | None = None) -> Prior:
    """Open a distribution of z: one of ours, or a latent DPM of DiffAE or PDAE.

    Args:
        of: the model whose z it has to be.

    Raises:
        UserError: no such file, or not a prior.
        AnotherPriorError: one for other latents.
    """
    at = _resolve(source)
    if checkpoint.is_own(at.path):
        found: Prior | None = _own_prior(at.path, of)
    else:
        found = assemble.latent_prior(recognise.recognise(torchfile.read(at.path), at.path), at.path)
    if found is None:
        raise UserError(f"{at.path}: expected a latent prior, found none; `python -m baselines.inspect` tells more.")
    if of is not None and found.latent_dim != of.model.latent_dim:
        raise prior.AnotherPriorError(
            f"{at.path}: expected a prior over the {of.model.latent_dim} numbers of z of {of.name}, found one over "
            f"{found.latent_dim}."
        )
    return found


def _own_prior(path: Path, of: LoadedModel | None) -> Prior:
    """A prior of ours, or a converted one, which draws as its authors do."""
    found, card = prior.load(path, autoencoder_sha256=of.sha256 if of else None)
    if "sampling" in card.objective:
        found.sampling = from_json(prior.LatentSampling, card.objective["sampling"])
    return found


def load_classifier(source: str | Path) -> Classifier:
    """Open a linear classifier of attributes: DiffAE's and PDAE's checkpoints, DBAE's best.pt.

    Raises:
        UserError: no such file, or no such classifier.
    """
    at = _resolve(source)
    found = recognise.recognise(torchfile.read(at.path), at.path)
    weight, bias = (found.parts.get("classifier", {}).get(name) for name in ("weight", "bias"))
    if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise UserError(f"{at.path}: expected a linear classifier (weight, bias), found none of fitting shapes.")
    weight, bias = (torchfile.own_copy(value).float() for value in (weight, bias))
    return Classifier(weight, bias, found.statistics)


def no_model(source: str | Path) -> NoModel | None:
    """What a file is that `load` refuses because it holds no model by itself; None for any other."""
    at = _resolve(source)
    if checkpoint.is_own(at.path):
        method = checkpoint.read(at.path)[0].method
        what = "a prior over latents; give it as --prior beside its autoencoder" if method == prior.METHOD else ""
    else:
        what = NO_MODEL.get(recognise.recognise(torchfile.read(at.path), at.path).kind, "")
    return NoModel(at.path, what) if what else None


def _resolve(source: str | Path) -> _Source:
    text = str(source)
    name, _, query = (text, "", "") if Path(text).exists() else text.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    family = name.split("/")[0]
    if not Path(name).exists() and "/" in name and any(card.startswith(f"{family}/") for card in cards.cards()):
        card, path = cards.find(name)
        return _Source(path, card, options)
    path = pretrained.find(name, BUILTIN)
    return _Source(path, cards.card_of(path), options)


def _own(at: _Source) -> LoadedModel:
    if at.options:
        raise UserError(f"{at.path}: expected no options, since its card tells all; found {', '.join(at.options)}.")
    card, states = checkpoint.read(at.path)
    seen = f" ({card.images_seen} images seen)" if card.images_seen else ""
    trained = card.images_seen > 0 or assemble.CONVERTED in card.training
    return dataclasses.replace(
        assemble.own(card, states, at.path),
        path=at.path,
        sha256=sha256(at.path),
        train_data=f"{card.train_data.get('name', '')}{seen}",
        weights="trained" if trained else "untrained",
    )


def _published(at: _Source, found: Found) -> LoadedModel:
    told = {key: str(value) for key, value in at.card.options.items()} if at.card else {}
    made = assemble.published(found, at.path, at.card.name if at.card else _name(at.path), told | at.options)
    raw = ("the file holds no averaged weights; these are the raw ones.",) * (made.weights_used == "raw")
    train_data = at.card.train_data if at.card else str(found.hyper_parameters.get("data_name", ""))
    return dataclasses.replace(
        made, path=at.path, sha256=sha256(at.path), train_data=train_data, notes=(*made.notes, *raw)
    )


def _name(path: Path) -> str:
    """A name for result rows: that of the folder where all files are called alike."""
    return path.resolve().parent.name if path.stem in ("last", "checkpoint", "latest") else path.stem
