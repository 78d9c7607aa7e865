"""VDRL: `baselines.methods.drl` with a posterior."""

from __future__ import annotations

from baselines.methods.drl import DRL, method_of_kind


class VDRL(DRL):
    """See the module docstring."""


METHOD = method_of_kind("vdrl", "VDRL", VDRL, variational=True)
