"""A plain diffusion model that another method builds on."""

from __future__ import annotations

from baselines.method import Load
from baselines.methods.ddim import DDIM
from dbae.support.errors import UserError


def plain_model(source: str, load: Load, image_size: int) -> tuple[DDIM, dict[str, str]]:
    """A plain diffusion model to build on, and what a card says of it.

    Raises:
        UserError: another kind of model, images of another size, or a network that predicts a variance.
    """
    found = load(source)
    model = found.model
    if not isinstance(model, DDIM):
        raise UserError(f"{source}: expected a plain diffusion model (ddim) to build on, found {found.method}.")
    if model.image_size != image_size or model.config.learn_sigma:
        raise UserError(
            f"{source}: expected a plain model of {image_size} px that predicts no variance, found one of "
            f"{model.image_size} px{' that does' if model.config.learn_sigma else ''}. Take the preset of its size, or "
            "train another with `python -m baselines.train --method ddim`."
        )
    return model, {"pretrained": found.name, "sha256": found.sha256}
