"""SimCLR: the `method`, and the random `views` of images that it learns from."""

from baselines.methods.simclr.method import METHOD, SimCLR, SimCLRConfig, SimCLROptions, loss, nt_xent
from baselines.methods.simclr.views import Views

__all__ = ["METHOD", "SimCLR", "SimCLRConfig", "SimCLROptions", "Views", "loss", "nt_xent"]
