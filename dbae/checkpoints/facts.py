"""What the shapes of a file's tensors do not tell about its network, and who does.

Heads of attention, the order of their channels, the schedule of noise, the bridge and the size of images leave no trace
in a state dict, and wrong ones give wrong images without an error. They are taken from

    the user         FILE?heads=4&schedule=linear, or `options` in a card FILE.yaml
    the file         hyper-parameters that its program wrote
    publications     where a published model has exactly these shapes, its facts

in this order. What nobody tells is asked for; nothing is guessed. A few facts are constants of the authors' programs,
or options that nobody is known to have changed: they need not be told, but may be, and the question names them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from dbae.networks.encoder import EncoderConfig
from dbae.networks.trunk import UNetConfig
from dbae.support.errors import UserError

CHOICES = {
    "attention_order": ("legacy", "new"),
    "schedule": ("linear", "cosine"),
    "bridge": ("vp", "ve", "vp_simple", "ve_simple"),
    "prediction": ("eps",),
    "timesteps": ("1000",),
}
"""Values of facts that are no free numbers; one with a single value is what all models here have."""
NUMBERS = ("sigma_data", "cov_xy", "beta_d", "beta_min", "sigma_min", "sigma_max")
"""Facts that are real numbers, 0 or more."""
DIFFUSION = {"prediction": "eps", "timesteps": "1000"}
"""What a network of noise is taken to be unless its file or the user says otherwise, and then it is refused."""
_EXAMPLES = {
    "image_size": "image_size=256",
    "heads": "head_channels=64",
    "attention_order": "attention_order=legacy",
    "schedule": "schedule=linear",
    "bridge": "bridge=vp",
}
_HELP = {
    "image_size": "image_size, pixels",
    "heads": "heads or head_channels, a number",
    "attention_order": "attention_order legacy or new, unless heads=1",
    "schedule": "schedule linear or cosine",
    "bridge": "bridge vp, ve, vp_simple or ve_simple",
}
UNET = ("image_size", "heads", "attention_order", "schedule")
"""Facts of a plain U-Net; "heads" stands for itself or `head_channels`."""

Facts = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Question:
    """What a kind of file leaves open.

    Attributes:
        what: of the file, e.g. "a bare U-Net of guided-diffusion".
        asks: names of `UNET`, or "bridge".
        grants: facts that may be told, and what they are if they are not.
    """

    what: str
    asks: Sequence[str]
    grants: Facts = dataclasses.field(default_factory=dict)

    def answered(self, path: object, *, user: Facts, file: Facts, published: Facts) -> dict[str, str]:
        """Every fact, from the sources of the module docstring; an empty one tells nothing.

        Raises:
            UserError: something is missing, impossible or out of place, or the user contradicts the file.
        """
        known: dict[str, str] = dict(self.grants)
        for source in (published, file, user):
            if source.keys() & {"heads", "head_channels"}:
                known = {k: v for k, v in known.items() if k not in ("heads", "head_channels")}
            known |= source
        for name in user.keys() & file.keys():
            if user[name] != file[name]:
                raise UserError(f"{path}: expected {name}={file[name]}, as the file says itself, found {user[name]}.")
        by_width = "head_channels" in known
        needed = {"head_channels" if name == "heads" and by_width else name for name in self.asks}
        if known.get("heads") == "1":
            needed.discard("attention_order")
        needed |= self.grants.keys()
        missing, unknown = needed - known.keys(), user.keys() - needed
        if missing or unknown:
            raise UserError(self._message(path, missing, unknown))
        for name in needed:
            _check(name, known[name], path)
        return {"attention_order": "legacy"} | {name: known[name] for name in needed}

    def _message(self, path: object, missing: set[str], unknown: set[str]) -> str:
        faults = [f"says nothing of {' and '.join(sorted(missing))}"] if missing else []
        faults += [f"has no use for {' and '.join(sorted(unknown))}"] if unknown else []
        example = "&".join(_EXAMPLES[name] for name in self.asks)
        return (
            f"{path}: {self.what}, which {', and '.join(faults)}. No shape shows it, and a wrong value gives wrong "
            f"images without an error. Add what it was trained with to its name, for example '{path}?{example}', or to "
            f"{path}.yaml (options: {{...}}). Choices: {'; '.join(_HELP[name] for name in self.asks)}."
            + (f" Taken for granted unless told: {shown(self.grants)}." if self.grants else "")
        )


def applied(config: UNetConfig, facts: Facts, path: object, *, size: int, was: int) -> UNetConfig:
    """The U-Net with its facts.

    Args:
        config: read off the shapes, with maps of attention for images of `was` pixels.
        size: pixels of the images.

    Raises:
        UserError: the size or the heads do not divide.
    """
    sizes = tuple(side * size // was for side in config.attention_sizes)
    numbers = {name: int(facts[name]) for name in ("heads", "head_channels") if name in facts}
    unit = 1 << (len(config.levels) - 1)
    widths = {width for level, width in enumerate(config.levels) if size >> level in sizes} | {config.levels[-1]}
    if size % unit or any(width % number for width in widths for number in numbers.values()):
        found = ", ".join(f"{k}={v}" for k, v in ({"image_size": size} | numbers).items())
        raise UserError(
            f"{path}: expected an image_size that {unit} divides and attention of {sorted(widths)} channels shared "
            f"evenly among heads, found {found}."
        )
    return dataclasses.replace(
        config,
        attention_sizes=sizes,
        heads=numbers.get("heads", 1),
        head_channels=numbers.get("head_channels"),
        attention_order=facts["attention_order"],  # type: ignore[arg-type]
    )


def applied_encoder(config: EncoderConfig, facts: Facts, path: object, *, size: int, was: int) -> EncoderConfig:
    """The same for an encoder of DiffAE's."""
    found = applied(UNetConfig(**dataclasses.asdict(config)), facts, path, size=size, was=was)
    return EncoderConfig(**{field.name: getattr(found, field.name) for field in dataclasses.fields(EncoderConfig)})


def shown(options: Facts) -> str:
    """What a user said, for the column `variant`."""
    return ", ".join(f"{name}={options[name]}" for name in sorted(options))


def _check(name: str, text: str, path: object) -> None:
    if name in CHOICES:
        if text not in CHOICES[name]:
            raise UserError(f"{path}: {name}={text}: expected {' or '.join(CHOICES[name])}.")
    elif name in NUMBERS:
        if not _is_number(text):
            raise UserError(f"{path}: {name}={text[:40]}: expected a number, 0 or more.")
    elif not text.isdecimal() or not 0 < int(text[:9]) <= 1 << 16:
        raise UserError(f"{path}: {name}={text[:40]}: expected a positive number.")


def _is_number(text: str) -> bool:
    try:
        return 0 <= float(text) < float("inf")
    except ValueError:
        return False
