"""Tables of aligned text: what all lines share stands once, and wide ones go on below."""

from __future__ import annotations

from dbae.support import text

LINES = [["data", "x_T", "model", "MSE"], ["faces", "", "a", "1"], ["faces", "", "bb", "1"]]


def test_shared_cells_stand_above_and_empty_ones_nowhere():
    assert text.table(LINES, 3) == "data: faces\nmodel  MSE\na      1\nbb     1"  # MSE is no key, though all agree


def test_nothing_above_where_nothing_is_shared():
    assert text.table([["model", "MSE"], ["a", "1"], ["b", "2"]], 1) == "model  MSE\na      1\nb      2"


def test_wide_tables_go_on_below_with_their_keys():
    lines = [["model", *(f"metric{i}" for i in range(9))], ["a", *["1" * 20] * 9], ["b", *["2" * 20] * 9]]
    blocks = text.table(lines, 1, wrap=True).split("\n\n")
    assert [block.split("\n")[0].split() for block in blocks] == [
        ["model", *(f"metric{i}" for i in some)] for some in (range(5), range(5, 9))
    ]
    assert max(len(line) for block in blocks for line in block.split("\n")) <= text.WIDTH
    assert "\n\n" not in text.table(lines, 1)
