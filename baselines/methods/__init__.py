"""The methods, one file each, which exports `METHOD`; a family has a room."""

from __future__ import annotations

import importlib

from baselines.method import Method

_FILES = (
    "dbae",
    "ddim",
    "diffae",
    "pdae",
    "pdae.diti",
    "vae.ae",
    "vae",
    "vae.beta_vae",
    "vae.beta_tcvae",
    "vae.info_vae",
    "infodiffusion",
    "drl",
    "drl.vdrl",
    "sami",
    "simclr",
    "lcg_dm",
    "soda",
    "fdae",
    "sb_vae",
    "disdiff",
    "ib_gan",
)
METHODS: dict[str, Method] = {
    method.key: method for method in (importlib.import_module(f"{__name__}.{file}").METHOD for file in _FILES)
}
"""By the key that cards of checkpoints use."""


def method_of(model: object) -> Method | None:
    """The method of a model's class; None for a class of none."""
    return next((method for method in METHODS.values() if type(model) is method.model), None)
