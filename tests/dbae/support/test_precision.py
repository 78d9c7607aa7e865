"""Precision of networks: what is said of numbers that are not finite."""

from __future__ import annotations

import pytest

from dbae.support.precision import advice


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_fp32_is_advised_where_it_can_help(precision):
    assert "--precision fp32" in advice(precision)


def test_in_fp32_the_checkpoint_is_to_blame():
    assert "--precision" not in advice("fp32")
    assert "take one from before" in advice("fp32")
