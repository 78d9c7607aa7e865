"""DiffAE's grid of discrete times, of images and of latents alike (`phizaz/diffae`, diffusion/diffusion.py)."""

from __future__ import annotations

from dbae.support.errors import UserError

T = 1000
_STRIDES = {len(range(0, T, stride)): stride for stride in range(T - 1, 0, -1)}  # steps -> the smallest stride


def stride_times(steps: int) -> list[int]:
    """0, s, 2 s, ... below 1000 with the smallest stride s that gives so many.

    Sampling starts at the last of them, not at 999: at 900 for 10 steps, at 990 for 100.

    Raises:
        UserError: no stride gives so many; the message names the nearest numbers that one does.
    """
    if steps not in _STRIDES:
        below = max((n for n in _STRIDES if n < steps), default=None)
        above = min((n for n in _STRIDES if n > steps), default=None)
        near = " and ".join(str(n) for n in (below, above) if n)
        raise UserError(
            f"{steps} steps: no stride through {T} times gives {steps} steps. The nearest numbers that one gives: "
            f"{near}. 10, 20, 50, 100, 250, 500 and 1000 are all right."
        )
    return list(range(0, T, _STRIDES[steps]))
