"""Line and point charts: scales, ticks, and where `chart.svg.j2` draws what."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

WIDTH, HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 292, 26, 152
_MAX_POINTS = 200
_LABEL_HEIGHT = 13
_LETTER_WIDTH = 6.4
_LABEL_GAP = 8
_DOT_RADIUS = 4.5
_SHIFTS = sorted((step * 6.5 for step in range(-12, 13)), key=abs)
"""How far a label may move up or down, the nearest first."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Point = tuple[float, float | None]
"""x, and y where it is known."""
KnownPoint = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Scale:
    """From values to coordinates: `low` is drawn at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    log: bool = False

    def __call__(self, value: float) -> float:
        """The coordinate of a value, rounded to a tenth of a pixel."""
        value, low, high = (math.log10(v) if self.log else v for v in (value, self.low, self.high))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    @property
    def largest_tick(self) -> float:
        """The largest magnitude among the ticks."""
        return max(map(abs, self.ticks))


def x_scale(low: float, high: float) -> Scale:
    """A linear horizontal scale from `low` to `high`, with round ticks between."""
    ticks = [tick for tick in round_ticks(low, high) if low <= tick <= high * (1 + 1e-9)]
    return Scale(low, high, _LEFT, _RIGHT, ticks)


def log_x_scale(values: Sequence[float]) -> Scale:
    """A logarithmic horizontal scale of positive values, with a margin."""
    return _log_scale(values, _LEFT, _RIGHT)


def y_scale(values: Sequence[float]) -> Scale:
    """A linear vertical scale that begins and ends at a round tick."""
    ticks = round_ticks(min(values), max(values))
    return Scale(ticks[0], ticks[-1], _BOTTOM, _TOP, ticks)


def log_y_scale(values: Sequence[float]) -> Scale:
    """A logarithmic vertical scale of positive values, with a margin."""
    return _log_scale(values, _BOTTOM, _TOP)


def _log_scale(values: Sequence[float], start: float, end: float) -> Scale:
    low, high = min(values) / 1.25, max(values) * 1.25
    if high < 10 * low:
        ticks = round_ticks(low, high)
    else:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    return Scale(low, high, start, end, ticks[:: math.ceil(len(ticks) / 7)], log=True)


def round_ticks(low: float, high: float) -> list[float]:
    """Four to seven round numbers, evenly spaced, from at most `low` to at least `high`."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = abs(high) / 10 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    unit = next(unit for unit in (1, 2, 5, 10) if unit * power >= rough * 0.999) * power
    indices = range(math.floor(low / unit + 1e-9), math.ceil(high / unit - 1e-9) + 1)
    return [index * unit for index in indices]


def number_text(value: float, largest_tick: float | None = None) -> str:
    """A value with 3 digits, or in full from 1000.

    A tick has all its digits, and a power of ten only where all ticks are tiny or huge.
    """
    size = abs(value) if largest_tick is None else largest_tick
    if value == 0:
        return "0"
    if size < 2e-3 or size >= 1e7:
        mantissa, _, power = f"{value:.2e}".partition("e")
        text = f"{float(mantissa):g}×10{str(int(power)).translate(_SUPERSCRIPT)}"
    elif largest_tick is not None:
        text = f"{value:,.7g}"
    else:
        text = f"{value:,.0f}" if size >= 999.5 else f"{value:#.3g}".rstrip(".")
    return text.replace("-", "−")


def count_text(value: float) -> str:
    """A count with few letters: 500, 2.5k, 1.2M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """Points of one kind, in the order of x, with at least one known y.

    A line joins the points, and a dot marks the last one, with `label` beside it. `style` is the
    CSS class of all these. `interval` is the range of y that a bar at the last point shows, `best`
    a point that gets a ring.
    """

    points: Sequence[Point]
    style: str
    label: str = ""
    interval: tuple[float, float] | None = None
    best: KnownPoint | None = None

    @property
    def last(self) -> KnownPoint:
        """The last point with a known y."""
        return next((x, y) for x, y in reversed(self.points) if y is not None)


@dataclasses.dataclass(frozen=True)
class Label:
    """Text at a place, `end` if it ends there instead of beginning."""

    text: str
    style: str
    x: float
    y: float
    end: bool


@dataclasses.dataclass(frozen=True)
class _Box:
    """A rectangle of a chart, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        """Whether the two have a place in common."""
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)

    def is_inside(self) -> bool:
        """Whether all of it lies between the axes, or to the right of them."""
        return (
            self.left >= _LEFT and self.right <= WIDTH and self.top >= 14 and self.bottom <= _BOTTOM
        )


def _box_of(label: Label) -> _Box:
    """The place of a label, whose `y` is that of its baseline."""
    width = _LETTER_WIDTH * len(label.text)
    left = label.x - width * label.end
    return _Box(left, label.y - _LABEL_HEIGHT + 3, left + width, label.y + 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """One or more series on the same scales. `summary` says in words what the chart shows."""

    name: str
    summary: str
    x: Scale
    y: Scale
    x_label: str
    y_label: str
    series: Sequence[Series]

    width, height = WIDTH, HEIGHT

    def line(self, series: Series) -> str:
        """The SVG path of a series; of very many points, of the means of stretches of them.

        An unknown y interrupts the line; a point between two of these becomes a dot.
        """
        means = ((x, sum(ys) / len(ys) if ys else None) for x, ys in _stretches(series.points))
        parts = []
        for unknown, group in itertools.groupby(means, key=lambda point: point[1] is None):
            if not unknown:
                places = [self._place(x, y) for x, y in group if y is not None]
                parts.append("M" + "L".join(places) + ("h0" if len(places) == 1 else ""))
        return "".join(parts)

    def band(self, series: Series) -> str:
        """The SVG path around the range of each stretch; empty if no point was joined to one."""
        if len(series.points) <= _MAX_POINTS:
            return ""
        known = [(x, ys) for x, ys in _stretches(series.points) if ys]
        upper = [self._place(x, max(ys)) for x, ys in known]
        lower = [self._place(x, min(ys)) for x, ys in known]
        return "M" + "L".join(upper + lower[::-1]) + "Z"

    def labels(self) -> list[Label]:
        """The labels beside the last points, where they cover no dot, no bar and no other label."""
        taken = [box for series in self.series for box in self._marks(series)]
        labels = []
        for series in sorted(self.series, key=lambda s: self.y(s.last[1])):
            if series.label:
                label = self._label(series, taken)
                labels.append(label)
                taken.append(_box_of(label))
        return labels

    def _label(self, series: Series, taken: Sequence[_Box]) -> Label:
        """The label of a series at the nearest free place: to the right or left of its dot, or
        above or below of there; to the right where no place is free."""
        x, y = self.x(series.last[0]), self.y(series.last[1]) + 4
        width = _LETTER_WIDTH * len(series.label)
        ends = (False, True) if x + _LABEL_GAP + width <= WIDTH else (True, False)
        places = [
            Label(series.label, series.style, round(x + gap, 1), round(y + shift, 1), end)
            for shift in _SHIFTS
            for end in ends
            for gap in [-_LABEL_GAP if end else _LABEL_GAP]
        ]
        inside = [place for place in places if _box_of(place).is_inside()] or places[:1]
        free = (place for place in inside if not any(map(_box_of(place).overlaps, taken)))
        return next(free, inside[0])

    def _marks(self, series: Series) -> list[_Box]:
        """The dot of a series, and the bar through it."""
        x, y = self.x(series.last[0]), self.y(series.last[1])
        dot = _Box(x - _DOT_RADIUS, y - _DOT_RADIUS, x + _DOT_RADIUS, y + _DOT_RADIUS)
        if series.interval is None:
            return [dot]
        low, high = map(self.y, series.interval)
        return [dot, _Box(x - 1, min(low, high), x + 1, max(low, high))]

    def _place(self, x: float, y: float) -> str:
        return f"{self.x(x)} {self.y(y)}"


def _stretches(points: Sequence[Point]) -> list[tuple[float, list[float]]]:
    """At most 200 stretches of points: the x in the middle of each, and its known values of y."""
    size = math.ceil(len(points) / _MAX_POINTS)
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(part[len(part) // 2][0], [y for _, y in part if y is not None]) for part in parts]
