"""Drawing faces. The aim is 500 a second and core at 64 pixels."""

from __future__ import annotations

import pytest

from dbae.data.faces import Faces


@pytest.mark.parametrize("size", [32, 64, 128])
def test_drawing(measure, size):
    dataset = Faces(256, size)
    measure(lambda: dataset.batch(range(256)), items=256, unit="faces", rounds=3)
