"""Charts of quality over rate, as SVG."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Callable, Sequence

from bigcodec_cli.evaluation.metrics.bootstrap import Mean
from bigcodec_cli.evaluation.metrics.definitions import Metric

# The inside of a chart of 360 by 232.
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 350, 26, 192
_LABEL_HEIGHT = 13
_LETTER_WIDTH = 6.4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """A codec in a chart."""

    name: str
    is_bigcodec: bool
    kbps: float
    quality: Mean


@dataclasses.dataclass(frozen=True)
class _Frame:
    """Scales from values to places, and where their ticks are."""

    x: Callable[[float], float]
    y: Callable[[float], float]
    x_ticks: Sequence[float]
    y_ticks: Sequence[float]


def rate_chart(metric: Metric, points: Sequence[Point]) -> str:
    """A metric over kilobits a second (log scale), with the intervals of its means."""
    frame = _frame(points)
    parts = [
        f'<svg viewBox="0 0 360 232" role="img" data-metric="{metric.key}">',
        f"<title>{_title(metric, points)}</title>",
        *_axes(frame, metric),
    ]
    for point in points:
        parts += _mark(point, frame)
    return "\n".join([*parts, *_names(points, frame), "</svg>"])


def round_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers, evenly spaced, from at most `low` to at least `high`."""
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    unit = next(u * power for u in (1, 2, 5, 10) if u * power >= rough * 0.999)
    first, last = math.floor(low / unit + 1e-9), math.ceil(high / unit - 1e-9)
    return [index * unit for index in range(first, last + 1)]


def _frame(points: Sequence[Point]) -> _Frame:
    edges = [edge for point in points for edge in _extent(point.quality)]
    y_ticks = round_ticks(min(edges), max(edges))
    low, high = min(p.kbps for p in points) / 1.25, max(p.kbps for p in points) * 1.25
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    x_ticks = [t for p in powers for t in (10.0**p, 2 * 10.0**p, 5 * 10.0**p) if low <= t <= high]
    span = math.log(high / low)

    def x(kbps: float) -> float:
        return _LEFT + math.log(kbps / low) / span * (_RIGHT - _LEFT)

    def y(value: float) -> float:
        share = (value - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return _BOTTOM - share * (_BOTTOM - _TOP)

    return _Frame(x, y, x_ticks, y_ticks)


def _extent(mean: Mean) -> tuple[float, float]:
    if mean.low is None or mean.high is None:
        return mean.mean, mean.mean
    return mean.low, mean.high


def _axes(frame: _Frame, metric: Metric) -> list[str]:
    side = {"high": "higher is better", "low": "lower is better", "": ""}[metric.better]
    unit = f"{metric.unit}, " if metric.unit else ""
    step = frame.y_ticks[1] - frame.y_ticks[0]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    parts = [_text(0, 12, unit + side, "")]
    for tick in frame.y_ticks:
        place = f"{frame.y(tick):.1f}"
        parts.append(f'<path class="grid" d="M{_LEFT} {place}H{_RIGHT}"/>')
        parts.append(_text(_LEFT - 7, frame.y(tick) + 4, f"{tick:.{digits}f}", "end"))
    for tick in frame.x_ticks:
        parts.append(f'<path class="mark" d="M{frame.x(tick):.1f} {_BOTTOM}v4"/>')
        parts.append(_text(frame.x(tick), _BOTTOM + 17, f"{tick:g}", "middle"))
    parts.append(f'<path class="mark" d="M{_LEFT} {_BOTTOM}H{_RIGHT}"/>')
    parts.append(_text(_RIGHT, _BOTTOM + 34, "kbit/s on disk, log scale", "end"))
    return parts


def _mark(point: Point, frame: _Frame) -> list[str]:
    kind = _kind(point)
    x, y = frame.x(point.kbps), frame.y(point.quality.mean)
    low, high = (frame.y(edge) for edge in _extent(point.quality))
    return [
        f'<path class="bar {kind}" d="M{x:.1f} {low:.1f}V{high:.1f}"/>',
        f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>',
    ]


def _names(points: Sequence[Point], frame: _Frame) -> list[str]:
    """The names beside the points, moved apart where they would cover one another."""
    taken: list[tuple[float, float, float]] = []
    parts = []
    for point in sorted(points, key=lambda p: frame.y(p.quality.mean)):
        width = _LETTER_WIDTH * len(point.name)
        x, y = frame.x(point.kbps) + 9, frame.y(point.quality.mean) + 4
        kind = "name " + _kind(point)
        start = x
        if x + width > _RIGHT + 8:
            x, kind = x - 18, kind + " end"
            start = x - width
        for left, right, height in sorted(taken, key=lambda box: box[2]):
            if left < start + width and start < right and abs(y - height) < _LABEL_HEIGHT:
                y = height + _LABEL_HEIGHT
        taken.append((start, start + width, y))
        parts.append(_text(x, y, point.name, kind))
    return parts


def _kind(point: Point) -> str:
    return "bigcodec" if point.is_bigcodec else "baseline"


def _title(metric: Metric, points: Sequence[Point]) -> str:
    values = (f"{p.name} {p.quality.mean:.{metric.digits}f} at {p.kbps:.2f}" for p in points)
    return html.escape(f"{metric.title} over kbit/s: {', '.join(values)}")


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'
