"""RUN/summary.html: a training run on one page, with learning curves, for browsers and paper."""

from __future__ import annotations

import dataclasses
import datetime
import html
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bigcodec_cli.files.atomic import atomic_output
from bigcodec_cli.training.log import LOG_NAME, read_log

_Row = Mapping[str, Any]
_Point = tuple[int, float | None]  # a step and the value there, if there is one

_KEY_SETTINGS = (
    "preset data init max_steps batch_size crops.seconds learning_rate final_learning_rate "
    "warmup_steps decay_steps discriminators adversarial.start_step codebook_size precision seed"
).split()

# The inside of a chart of 360 by 176.
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 292, 26, 152
_STRETCHES = 200
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

_STYLE = """
:root { color-scheme: light dark; --paper: #fdfdfc; --ink: #1d1d1b; --soft: #6a6963;
  --line: #e5e3de; --curve: #1f5fa8; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #17181b; --ink: #e9e7e2;
  --soft: #9c9a93; --line: #303238; --curve: #82b4f2; } }
body { max-width: 1120px; margin: 0 auto; padding: 3rem 1.5rem 2rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; font-weight: 600; letter-spacing: -0.015em; }
h2 { margin: 2.5rem 0 1rem; padding-bottom: 0.3rem; border-bottom: 1px solid var(--line);
  font-size: 1.1rem; font-weight: 600; break-after: avoid; }
p, dt, small, footer, .key span { color: var(--soft); }
p { margin: 0.25rem 0 0; } footer { margin-top: 3rem; } dt, small, footer { font-size: 0.8rem; }
dl { display: flex; flex-wrap: wrap; gap: 1rem 2.75rem; margin: 1.75rem 0 0; }
dd { margin: 0; font-size: 1.6rem; line-height: 1.25; } dd small { display: block; }
.key { columns: 3 17rem; column-gap: 2.5rem; font-size: 0.87rem; }
.key div { display: flex; justify-content: space-between; gap: 1rem; padding: 0.2rem 0;
  border-bottom: 1px solid var(--line); break-inside: avoid; }
.key b { font-weight: 400; text-align: right; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr));
  gap: 1.5rem 2rem; }
figure { margin: 0; break-inside: avoid; } figcaption { font-weight: 600; font-size: 0.9rem; }
figcaption::first-letter { text-transform: uppercase; }
svg { display: block; width: 100%; fill: none; overflow: visible; } .mark { stroke: var(--soft); }
text { font-size: 11px; fill: var(--soft); } .value { font-weight: 600; fill: var(--ink); }
.end { text-anchor: end; } .middle { text-anchor: middle; } .grid { stroke: var(--line); }
.curve { stroke: var(--curve); stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round; }
.band { fill: var(--curve); opacity: 0.25; } .last { fill: var(--curve); }
.best { stroke: var(--ink); stroke-width: 1.3; }
@page { margin: 15mm; } @media print { body { max-width: none; padding: 0; font-size: 10pt; }
  :root { --paper: #fff; } text { font-size: 13px; }
  .charts { grid-template-columns: repeat(3, 1fr); gap: 1rem; } h2 { margin-top: 1.25rem; } }
"""


def write_summary(run: Path) -> Path:
    """Write RUN/summary.html from RUN/log.jsonl and RUN/config.json, and return its path.

    Either may be missing or damaged; the page then says less. The configuration may be nested.
    The page stands alone: no scripts, nothing fetched. It is well-formed XML too.

    Raises:
        OSError: a file cannot be read, or the page cannot be written.
    """
    rows = read_log(run / LOG_NAME) if (run / LOG_NAME).is_file() else []
    page = _page(run.resolve().name, rows, _read_config(run / "config.json"))
    with atomic_output(run / "summary.html", overwrite=True) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return run / "summary.html"


def _read_config(path: Path) -> dict[str, Any]:
    """The configuration with nested keys joined by dots; empty if it is missing or damaged."""
    try:
        config = json.loads(path.read_bytes()) if path.is_file() else None
    except ValueError:
        return {}
    flat = dict(_flat(config)) if isinstance(config, dict) else {}
    kinds = {k.split(".")[2]: v for k, v in flat.items() if v and ".discriminators." in k}
    return {**flat, "discriminators": ", ".join(kinds)} if kinds else flat


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _find(config: Mapping[str, Any], name: str) -> Any:
    """A setting by the end of its name, whatever it is nested in; None if there is none."""
    return next((v for key, v in config.items() if f".{key}".endswith(f".{name}")), None)


def _page(name: str, rows: Sequence[_Row], config: Mapping[str, Any]) -> str:
    curves = _curves(rows)
    named = {curve.name: curve for section in curves.values() for curve in section}
    key = [(k, _find(config, k)) for k in _KEY_SETTINGS if _find(config, k) is not None]
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{_text(name)}: training run</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f"<header>\n<h1>{_text(name)}</h1>\n<p>{_text(_subtitle(rows, config))}</p>\n</header>",
        _headline(rows, config, named),
    ]
    if rows:
        x = _x_scale([row["step"] for row in rows])
        parts += [_section(heading, section, x) for heading, section in curves.items()]
    if key:
        parts.append(f"<h2>Settings</h2>\n{_settings(key)}")
    made = "Made from log.jsonl and config.json. A dot marks the last value, a ring the best."
    return "\n".join([*parts, f"<footer>{made}</footer>\n</body>\n</html>\n"])


def _subtitle(rows: Sequence[_Row], config: Mapping[str, Any]) -> str:
    parts = ["Training run"]
    if preset := _find(config, "preset"):
        parts.append(f"preset {preset}")
    if seconds := _number(rows[-1].get("time")) if rows else None:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        parts.append(f"{moment.day} {moment:%B %Y, %H:%M} UTC")
    return " · ".join(parts if rows else [*parts, "nothing was recorded yet"])


def _headline(rows: Sequence[_Row], config: Mapping[str, Any], curves: Mapping[str, _Curve]) -> str:
    """The figures that say how the run went: how long, and each measure, best and last."""
    figures = []
    if rows:
        wanted, done = _number(_find(config, "max_steps")), max(row["step"] for row in rows)
        figures.append(("Steps", f"{done:,}", f"of {wanted:,.0f}" if wanted else ""))
        hours = _hours(rows)
        spent = f"{_short(hours)} h" if hours >= 1 else f"{_short(hours * 60)} min"
        figures.append(("Time spent on steps", spent, ""))
    measured = [curve for curve in curves.values() if curve.goal]
    for curve in measured or [c for k, c in curves.items() if k == "losses/mel"]:
        step, best = curve.best
        small = f"at step {_steps(step)}; last {_short(curve.known[-1][1])}"
        figures.append((f"Best {curve.title}", _short(best), small))
    if codes := curves.get("codes_used"):
        size = _number(_find(config, "codebook_size"))
        small = f"of {size:,.0f}" if size else ""
        figures.append(("Codes used", _short(codes.known[-1][1]), small))
    items = (
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}<small>{_text(small)}</small></dd></div>"
        for name, value, small in figures
    )
    return f"<dl>\n{chr(10).join(items)}\n</dl>"


def _hours(rows: Sequence[_Row]) -> float:
    """Time spent on steps. Times of day are no use: a run may rest before it is resumed."""
    reports = ((row["step"], _number(row.get("steps_per_second"))) for row in rows)
    timed = [(int(step), speed) for step, speed in reports if speed]
    # A log may begin late in a run: its first report is taken to be as long as its second.
    first = max(0, 2 * timed[0][0] - timed[1][0]) if len(timed) > 1 else 0
    starts = [first, *(step for step, _ in timed)]
    pairs = zip(timed, starts, strict=False)
    return sum((end - start) / speed for (end, speed), start in pairs) / 3600


def _section(heading: str, curves: Sequence[_Curve], x: _Scale) -> str:
    figures = "\n".join(
        f"<figure>\n<figcaption>{_text(curve.title)}</figcaption>\n{_chart(curve, x)}\n</figure>"
        for curve in curves
    )
    return f'<h2>{heading}</h2>\n<div class="charts">\n{figures}\n</div>'


def _settings(settings: Iterable[tuple[str, Any]]) -> str:
    lines = ['<div class="key">']
    for name, value in settings:
        # A folder of data may come with a weight: as on the command line, DIR=WEIGHT.
        pairs = map(_listed, _listed(value))
        shown = ", ".join("=".join(str(v) for v in pair if v is not None) for pair in pairs)
        lines.append(f"<div><span>{_text(name)}</span><b>{_text(shown)}</b></div>")
    return "\n".join([*lines, "</div>"])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: str) -> str:
    """Text for HTML and XML; neither can hold control characters."""
    return html.escape("".join(c for c in value if c.isprintable()))


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable and math.isfinite(value) else None


def _short(value: float, *, among: float | None = None) -> str:
    """A value with 3 digits, or in full from 1000. A tick needs all its digits, and its power of
    ten if the largest tick `among` which it stands is tiny."""
    size = abs(value) if among is None else among
    if value == 0:
        return "0"
    if size < 2e-3 or size >= 1e7:
        mantissa, _, power = f"{value:.2e}".partition("e")
        text = f"{float(mantissa):g}×10{str(int(power)).translate(_SUPERSCRIPT)}"
    elif among is not None:
        text = f"{value:,.7g}"
    else:
        text = f"{value:,.0f}" if size >= 999.5 else f"{value:#.3g}".rstrip(".")
    return text.replace("-", "−")


def _steps(value: float) -> str:
    """A number of steps, short: 500, 2.5k, 1.2M."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.4g}{letter}"
    return f"{value:.4g}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Curve:
    """One series: `axis` says what is counted, `goal` which end is better, if one is."""

    name: str
    title: str
    axis: str
    points: Sequence[_Point]
    goal: str = ""

    @property
    def known(self) -> list[tuple[int, float]]:
        """The points that have a value."""
        return [(step, value) for step, value in self.points if value is not None]

    @property
    def best(self) -> tuple[int, float]:
        """The highest known point if that is the goal, else the lowest; the first of equals."""
        sign = -1 if self.goal == "high" else 1
        return min(self.known, key=lambda point: sign * point[1])


def _curves(rows: Sequence[_Row]) -> dict[str, list[_Curve]]:
    """The curves that have at least one value, under the headings of the page."""
    reports = [row for row in rows if row["event"] == "progress"]
    checks = [row for row in rows if row["event"] == "validation"]
    lower, higher = "distance (lower is better)", "score (higher is better)"
    found = {
        "Validation": [
            _curve(checks, "validation/mel", "mel distance", lower, "low"),
            _curve(checks, "validation/stoi", "STOI", higher, "high"),
            _curve(checks, "validation/pesq", "PESQ", higher, "high"),
        ],
        "Losses": _curves_within(reports, "losses", "loss", "mean of the steps"),
        "Codebook": [
            _curve(reports, "codes_used", "codes used", "codes"),
            _curve(reports, "perplexity", "perplexity", "codes"),
        ],
        "Optimizer": [
            *_curves_within(reports, "gradient_norms", "gradient", "norm before clipping"),
            _curve(reports, "learning_rate", "learning rate", "rate"),
        ],
    }
    present = {heading: [c for c in curves if c.known] for heading, curves in found.items()}
    return {heading: curves for heading, curves in present.items() if curves}


def _curve(rows: Sequence[_Row], name: str, title: str, axis: str, goal: str = "") -> _Curve:
    key = name.rpartition("/")[2]
    points = [(row["step"], _number(row.get(key))) for row in rows]
    return _Curve(name=name, title=title, axis=axis, points=points, goal=goal)


def _curves_within(rows: Sequence[_Row], outer: str, kind: str, axis: str) -> list[_Curve]:
    """The curves of a mapping in the rows, in the order in which its names first appear."""
    inner = [(row["step"], row[outer]) for row in rows if isinstance(row.get(outer), dict)]
    names = dict.fromkeys(name for _, values in inner for name in values)
    return [
        _Curve(
            name=f"{outer}/{name}",
            title=f"{'VQ' if name == 'vq' else name.replace('_', ' ')} {kind}",
            axis=axis,
            points=[(step, _number(values.get(name))) for step, values in inner],
        )
        for name in names
    ]


@dataclasses.dataclass(frozen=True)
class _Scale:
    """From values to positions: `low` goes to `start`, `high` to `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]
    log: bool = False

    def __call__(self, value: float) -> float:
        value, low, high = (math.log10(v) if self.log else v for v in (value, self.low, self.high))
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def _round_ticks(low: float, high: float) -> list[float]:
    """Four to seven round numbers, evenly spaced, from at most `low` to at least `high`."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = abs(high) / 10 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    unit = next(unit for unit in (1, 2, 5, 10) if unit * power >= rough * 0.999) * power
    indices = range(math.floor(low / unit + 1e-9), math.ceil(high / unit - 1e-9) + 1)
    return [index * unit for index in indices]


def _y_scale(curve: _Curve) -> _Scale:
    values = [value for _, value in curve.known]
    low, high = min(values), max(values)
    if "/" in curve.name and low > 0 and high >= 10 * low:  # a loss or a gradient norm
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if low / 1.1 <= tick <= high * 1.1]
        ticks = ticks[:: math.ceil(len(ticks) / 6)]
        return _Scale(low / 1.1, high * 1.1, _BOTTOM, _TOP, ticks, log=True)
    ticks = _round_ticks(low, high)
    return _Scale(ticks[0], ticks[-1], _BOTTOM, _TOP, ticks)


def _x_scale(steps: Sequence[int]) -> _Scale:
    """The same for all charts; from 0, unless the log begins late in the run."""
    low, high = min(steps), max(1, *steps)
    low = low if high / 4 < low < high else 0
    ticks = [tick for tick in _round_ticks(low, high) if low <= tick <= high and tick % 1 == 0]
    return _Scale(low, high, _LEFT, _RIGHT, ticks)


def _chart(curve: _Curve, x: _Scale) -> str:
    """The curve as an SVG of its own."""
    y = _y_scale(curve)
    step, last = curve.known[-1]
    parts = [
        f'<svg viewBox="0 0 360 176" role="img" data-series="{_text(curve.name)}">',
        f"<title>{_text(curve.title)}: {_short(last)} at step {step:,}</title>",
        _axes(x, y, curve.axis + (", log scale" if y.log else "")),
        *_lines(curve.points, x, y),
    ]
    if curve.goal and curve.best[0] != step:
        place = f'cx="{x(curve.best[0]):.1f}" cy="{y(curve.best[1]):.1f}"'
        parts.append(f'<circle class="best" {place} r="4.5"/>')
    parts.append(f'<circle class="last" cx="{x(step):.1f}" cy="{y(last):.1f}" r="3"/>')
    parts.append(_label(x(step) + 7, y(last) + 4, _short(last), "value"))
    return "\n".join([*parts, "</svg>"])


def _axes(x: _Scale, y: _Scale, axis: str) -> str:
    among = max(map(abs, y.ticks))
    parts = [_label(0, 12, axis, "axis"), _label(_RIGHT + 24, _BOTTOM + 17, "step", "axis")]
    for tick in y.ticks:
        parts.append(f'<path class="grid" d="M{_LEFT} {y(tick):.1f}H{_RIGHT}"/>')
        parts.append(_label(_LEFT - 7, y(tick) + 4, _short(tick, among=among), "end"))
    for tick in x.ticks:
        parts.append(f'<path class="mark" d="M{x(tick):.1f} {_BOTTOM}v4"/>')
        parts.append(_label(x(tick), _BOTTOM + 17, _steps(tick), "middle"))
    parts.append(f'<path class="mark" d="M{_LEFT} {_BOTTOM}H{_RIGHT}"/>')
    return "\n".join(parts)


def _label(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{_text(text)}</text>'


def _path(points: Iterable[_Point], x: _Scale, y: _Scale) -> str:
    """The line; a missing value interrupts it, a value with none beside it becomes a dot."""
    parts = []
    for missing, group in itertools.groupby(points, key=lambda point: point[1] is None):
        if not missing:
            places = [f"{x(s):.1f} {y(v):.1f}" for s, v in group if v is not None]
            parts.append("M" + "L".join(places) + ("h0" if len(places) == 1 else ""))
    return "".join(parts)


def _lines(points: Sequence[_Point], x: _Scale, y: _Scale) -> Iterable[str]:
    """The curve; one of very many points as the means of 200 stretches and their range behind."""
    size = math.ceil(len(points) / _STRETCHES)
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    known = [(p[len(p) // 2][0], [value for _, value in p if value is not None]) for p in parts]
    if size > 1:
        upper = [f"{x(step):.1f} {y(max(values)):.1f}" for step, values in known if values]
        lower = [f"{x(step):.1f} {y(min(values)):.1f}" for step, values in known if values]
        yield f'<path class="band" d="M{"L".join(upper + lower[::-1])}Z"/>'
    means = [(step, sum(values) / len(values) if values else None) for step, values in known]
    yield f'<path class="curve" d="{_path(means, x, y)}"/>'
