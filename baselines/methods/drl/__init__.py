"""DRL and VDRL: one `model` and loss, and what tells the two `method`s apart."""

from baselines.methods.drl.method import METHOD, DRLOptions, method_of_kind
from baselines.methods.drl.model import DRL, DRLConfig, loss

__all__ = ["DRL", "METHOD", "DRLConfig", "DRLOptions", "loss", "method_of_kind"]
