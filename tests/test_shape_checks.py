"""Annotated shapes and types are checked in every test, in the first calls of a function."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError
from shape_checks import FIRST

from dbae.images import to_float

PIXELS = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
WRONG = PIXELS.double()


@pytest.mark.parametrize("calls", [0, FIRST - 1, FIRST, 5 * FIRST])
def test_the_first_calls_are_checked(calls):
    """In each of these tests anew."""
    for _ in range(calls):
        to_float(PIXELS)
    if calls < FIRST:
        with pytest.raises(TypeCheckError):
            to_float(WRONG)
    else:
        to_float(WRONG)
