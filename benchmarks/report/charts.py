"""Figures of a page, as SVG whose colours the page decides: names stand beside the curves, no legend is needed.

Matplotlib draws in stand-in colours, which become CSS variables: --ink and --line, and --c0 ... --c11 of the models, of
which a page has one set for light and one for dark surroundings.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.results.models import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = 12
SALT = "salt-6f1d0c4e"
"""Where the page writes the number of a figure, so that ids are unlike those of others."""
INK, LINE, PALE = "#010203", "#010204", "#010205"
_VARIABLES = {INK: "var(--ink)", LINE: "var(--line)", PALE: "var(--pale)"}
_VARIABLES |= {f"#0102{i:02x}": f"var(--c{i - 16})" for i in range(16, 16 + COLOURS)}
MARKERS = "oDv^<>ph"


def colour(number: int) -> str:
    """Stand-in for the page's colour of model `number`; -1 is a control's."""
    return PALE if number < 0 else f"#0102{16 + number % COLOURS:02x}"


@dataclasses.dataclass(frozen=True)
class Curve:
    """Points of one model in one setting, x increasing; `low` and `high` are ends of intervals, NaN without one."""

    label: str
    number: int
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]
    dashes: int = 0
    level: bool = False
    """Whether it is one value, whatever x is: a control's."""


class Entry(NamedTuple):
    """A number in the table behind a figure: its value, and how it and its interval are written."""

    value: float
    text: str
    spread: str


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of a section of the page; `table`, where it has one, is row -> column -> the number behind a point."""

    task: str
    dataset: str
    protocol: str
    title: str
    svg: str
    table: dict[str, dict[str, Entry]] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Columns of the table."""
        return list(dict.fromkeys(name for entries in self.table.values() for name in entries))


class Palette:
    """One colour a model on the whole page; one a method where there are more models than colours."""

    def __init__(self, models: Iterable[Model]) -> None:
        trained = [model for model in models if model.weights != "control"]
        self.by_method = len({model.model for model in trained}) > COLOURS
        self.numbers: dict[str, int] = {}
        for model in trained:
            self.numbers.setdefault(self._key(model), len(self.numbers))

    def _key(self, model: Model) -> str:
        return model.method or model.model if self.by_method else model.model

    def of(self, model: Model) -> int:
        """Number of a model's colour; -1 for controls."""
        return self.numbers.get(self._key(model), -1) if model.weights != "control" else -1

    def chip(self, model: Model) -> str:
        """Name of a model's colour in the page's style; empty for controls."""
        return f"c{self.of(model) % COLOURS}" if self.of(model) >= 0 else ""

    def logs(self, name: str) -> int:
        """Colour of a training log, which knows no model: that of a model of this name, else the first unused."""
        return self.numbers.setdefault(name, len(self.numbers))


def svg(draw: Callable[[Axes], Any], *, width: float = 5.6, height: float = 3.5, salt: str = SALT) -> str:
    """What `draw` does to the axes of a new figure, as an SVG element; ids begin with `salt`."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[str, Any] = {"svg.fonttype": "none", "svg.hashsalt": salt, "text.parse_math": False, "font.size": 9}
    style |= dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    style |= {"axes.edgecolor": LINE, "grid.color": LINE, "grid.linewidth": 0.5, "axes.spines.top": False}
    style |= {"axes.spines.right": False, "font.family": "sans-serif", "xtick.direction": "out"}
    with matplotlib.rc_context(style):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_page(file.getvalue(), salt)


def _for_page(text: str, salt: str) -> str:
    """The element alone, of any width, its ids unlike those of other figures, colours as variables."""
    text = text[text.index("<svg") :]
    text = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{salt}-', text)
    text = re.sub(r'xlink:href="#', f'href="#{salt}-', text).replace("url(#", f"url(#{salt}-")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, variable)
    return text


def draw_curves(axes: Axes, curves: Sequence[Curve], *, across: str, up: str, logarithmic: bool = False) -> None:
    """Lines with intervals, and each one's name at its end; controls as level lines."""
    xs = sorted({x for curve in curves if not curve.level for x in curve.x})
    styles = ("-", "--", ":", "-.")
    for curve in curves:
        about: dict[str, Any] = {"color": colour(curve.number), "linestyle": styles[curve.dashes % len(styles)]}
        if curve.level:
            axes.axhline(curve.y[0], linewidth=1, **about)
            continue
        axes.plot(
            curve.x,
            curve.y,
            linewidth=1.6,
            marker=_marker(curve.number),
            markersize=3.5 if len(curve.x) < 30 else 0,
            **about,
        )
        if not all(map(math.isnan, curve.low)):
            axes.vlines(curve.x, curve.low, curve.high, color=about["color"], linewidth=1, alpha=0.6)
    if logarithmic:
        axes.set_xscale("log")
        axes.set_xticks(xs, [f"{x:g}" for x in xs], fontsize=8)
        axes.set_xticks([], minor=True)
    values = [y for curve in curves for y in curve.y if math.isfinite(y)]
    if values and min(values) > 0 and max(values) > 30 * min(values):  # decades apart
        axes.set_yscale("log")
    axes.set_xlabel(across, loc="left")
    axes.set_title(up, fontsize=9.5, loc="left", color=INK)
    axes.grid(axis="y")
    name_ends(axes, [(curve.y[-1], curve.label, colour(curve.number)) for curve in curves])


def _marker(number: int) -> str:
    return MARKERS[number // COLOURS % len(MARKERS)] if number >= 0 else "s"


def name_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names to the right of the axes at the heights of the curves' ends, apart enough to be read, in their colours.

    Args:
        ends: height, name and colour of each; a pale one's name is in ink.
    """
    ends = [end for end in ends if end[1] and math.isfinite(end[0])]
    if not ends:
        return
    axes.set_ylim(*axes.get_ylim())  # the places below are for these
    to_share = axes.transData + axes.transAxes.inverted()
    wanted = np.array([to_share.transform((1.0, y))[1] for y, *_ in ends])
    size = axes.get_figure().get_size_inches()[1]  # type: ignore[union-attr]
    places = spread_out(wanted, 0.155 / (size - 0.9))
    for (_, label, shade), at, place in zip(ends, wanted, places, strict=True):
        leader = {"arrowstyle": "-", "color": shade, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0}
        axes.annotate(
            label, (1.0, at), (1.06, place), xycoords="axes fraction", textcoords="axes fraction", va="center",
            fontsize=8, color=INK if shade == PALE else shade, annotation_clip=False,
            arrowprops={**leader, "relpos": (0, 0.5)},
        )  # fmt: skip


def spread_out(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Places near those wanted, in their order, no two closer than `gap`: clusters are centred on their mean."""
    order = np.argsort(wanted, kind="stable")
    groups: list[list[int]] = []
    for i in order:
        groups.append([int(i)])
        while len(groups) > 1 and _bottom(groups[-1], wanted, gap) < _bottom(groups[-2], wanted, gap) + gap * len(
            groups[-2]
        ):
            last = groups.pop()
            groups[-1] += last
    places = np.empty(len(wanted))
    for group in groups:
        places[group] = _bottom(group, wanted, gap) + gap * np.arange(len(group))
    return places


def _bottom(group: Sequence[int], wanted: np.ndarray, gap: float) -> float:
    return float(wanted[group].mean() - gap * (len(group) - 1) / 2)
