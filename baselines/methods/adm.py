"""Bare U-Nets of guided-diffusion (ADM): what their shapes do not tell has to be said.

A file of `openai/guided-diffusion` is a state dict and nothing else. Attention heads, the order of their channels, the
schedule of noise and the size of images leave no trace in it, and wrong ones give wrong images without an error.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from baselines.diffusion.process import Schedule
from baselines.diffusion.shapes import Shape, unet_shape
from baselines.methods.ddim import DDIMConfig
from dbae.support.errors import UserError

SCHEDULES: tuple[Schedule, ...] = ("linear", "cosine")
ORDERS = ("legacy", "new")
OPTIONS = ("image_size", "heads", "head_channels", "attention_order", "schedule")


def config_of(state: Mapping[str, Tensor], options: Mapping[str, str], path: object) -> DDIMConfig:
    """The configuration of a bare U-Net, from its shapes and what `options` say.

    Args:
        options: `image_size`; `heads` or `head_channels`; `attention_order`, unless there is one head; `schedule`.
        path: the file, for messages.

    Raises:
        UserError: something is missing or impossible, or the network takes class labels.
    """
    shape = unet_shape(state)
    if shape is None or shape.in_channels != 3 or shape.out_channels not in (3, 6):
        raise UserError(f"{path}: expected an unconditional U-Net of images, found layers of other shapes.")
    if "label_emb.weight" in state:
        raise UserError(f"{path}: a class-conditional U-Net, whose labels play no part here; only others can be used.")
    needed = {"image_size", "schedule"} | ({"head_channels"} & options.keys() or {"heads"})
    if options.get("heads") != "1":
        needed.add("attention_order")
    if needed != options.keys():
        raise UserError(_message(path, shape, missing=needed - options.keys(), unknown=options.keys() - needed))
    numbers = {name: _positive(options[name], name, path) for name in needed - {"schedule", "attention_order"}}
    order, schedule = options.get("attention_order", "legacy"), options["schedule"]
    for name, value, choices in (("attention_order", order, ORDERS), ("schedule", schedule, SCHEDULES)):
        if value not in choices:
            raise UserError(f"{path}: {name}={value}: expected {' or '.join(choices)}.")
    size, heads, per_head = numbers["image_size"], numbers.get("heads", 1), numbers.get("head_channels")
    unit = 1 << (len(shape.channel_mult) - 1)
    widths = {shape.base * shape.channel_mult[level] for level in (*shape.attention_levels, -1)}
    if size % unit or any(width % (per_head or heads) for width in widths):
        raise UserError(
            f"{path}: expected an image_size that {unit} divides and attention of {sorted(widths)} channels shared "
            f"evenly among heads, found {', '.join(f'{k}={v}' for k, v in numbers.items())}."
        )
    config = shape.config(size, head_channels=per_head, heads=heads, order=order)
    return DDIMConfig(size, config, learn_sigma=shape.out_channels == 6, schedule=schedule)  # type: ignore[arg-type]


def _message(path: object, shape: Shape, *, missing: set[str], unknown: set[str]) -> str:
    faults = [f"says nothing of {' and '.join(sorted(missing))}"] if missing else []
    faults += [f"has no use for {' and '.join(sorted(unknown))}"] if unknown else []
    sides = ", ".join(f"1/{1 << level}" for level in shape.attention_levels) or "no"
    return (
        f"{path}: a bare U-Net of guided-diffusion, which {', and '.join(faults)}. Add them to its name, for example "
        f"'{path}?image_size=256&head_channels=64&attention_order=legacy&schedule=linear', or to {path}.yaml (options: "
        f"{{...}}). Choices: image_size, pixels (attention is on maps of {sides} of it); heads or head_channels, a "
        f"number; attention_order {' or '.join(ORDERS)}, unless heads=1; schedule {' or '.join(SCHEDULES)}."
    )


def _positive(text: str, name: str, path: object) -> int:
    if not text.isdecimal() or not int(text[:9]) > 0:
        raise UserError(f"{path}: {name}={text[:40]}: expected a positive number.")
    return int(text[:9])
