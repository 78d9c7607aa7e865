"""Training options of methods that learn a representation for a diffusion model that is there already."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from baselines.method import Built, LatentOptions, Load, Method
from baselines.methods.ddim import plain_model
from dbae.support.errors import UserError


@dataclasses.dataclass(frozen=True)
class OnPretrained(LatentOptions):
    """Options of methods that learn a representation for a diffusion model that is there already.

    Attributes:
        pretrained: checkpoint of the ddim that the method builds on and leaves as it is; it has to be named.
    """

    pretrained: str | None = None

    def built(self, method: Method, config: Any, seed: int, name: str, load: Load) -> Built:
        """A fresh model on the plain one of `pretrained`. Raises UserError where that is none, or of another method."""
        if self.pretrained is None:
            raise UserError(f"--method {method.key}: name the ddim checkpoint it builds on with --pretrained.")
        plain, about = plain_model(self.pretrained, load)
        kind: Any = method.model
        return Built(kind.on_pretrained(plain, config, seed, name=name), about)

    def shown(self) -> dict[str, str]:
        """Options as of any method, and the file name of `pretrained`."""
        return super().shown() | ({} if self.pretrained is None else {"pretrained": Path(self.pretrained).name})
