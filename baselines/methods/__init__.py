"""The methods, one file each, which exports `METHOD`."""

from __future__ import annotations

import importlib

from baselines.method import Method

_FILES = (
    "dbae",
    "ddim",
    "diffae",
    "pdae",
    "diti",
    "ae",
    "vae",
    "beta_vae",
    "beta_tcvae",
    "info_vae",
    "infodiffusion",
    "drl",
    "vdrl",
    "sami",
)
METHODS: dict[str, Method] = {
    method.key: method for method in (importlib.import_module(f"{__name__}.{file}").METHOD for file in _FILES)
}
"""By the key that cards of checkpoints use."""


def method_of(model: object) -> Method | None:
    """The method of a model's class; None for a class of none."""
    return next((method for method in METHODS.values() if type(model) is method.model), None)
