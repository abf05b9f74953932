"""Draws the runs of scripts/experiments/compare_parts.sh, and prints their last figures as a table.

    python scripts/experiments/draw_comparison.py [runs/comparison] [--out docs/comparison.svg]

Curves are over minutes, validations included, which is what the runs were given alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigcodec_cli.evaluation.report.charts import round_ticks
from bigcodec_cli.training.log import LOG_NAME, read_log

_SEQUENCES = ("lstm", "attention")
_MEASURES = {
    "mel": "mel distance, lower is better",
    "stoi": "STOI, higher is better",
    "pesq": "PESQ-WB, higher is better",
}
_DIGITS = {"mel": 3, "stoi": 3, "pesq": 2}
_COLOURS = ("#1f5fa8", "#c2571a", "#3b8a3e", "#7d4fa3", "#8a6d00")

# A chart with its margins, and the inside of it.
_WIDTH, _HEIGHT = 330, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 312, 48, 200
_STYLE = (
    "text{font:11px system-ui,'Liberation Sans',sans-serif;fill:#55544f}.end{text-anchor:end}"
    ".middle{text-anchor:middle}.head{font-weight:600;fill:#1d1d1b}"
    "path{fill:none}.grid{stroke:#e5e3de}.mark{stroke:#6a6963}"
    ".curve{stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}"
)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's name, its validations with `minutes` in each, and its steps a second."""

    name: str
    checks: Sequence[Mapping[str, Any]]
    speed: float


def read_run(folder: Path) -> Run:
    """A run from its log.

    Raises:
        OSError: it cannot be read.
        ValueError: it has no report or no validation.
    """
    rows = read_log(folder / LOG_NAME)
    reports = [row for row in rows if row["event"] == "progress"]
    if not reports or all(row["event"] == "progress" for row in rows):
        raise ValueError(f"{folder}: the run has no report or no validation yet")
    # Reports follow each other without a gap: the time of a validation is in the one after it.
    steps, seconds = [0], [0.0]
    for row in reports:
        seconds.append(seconds[-1] + (row["step"] - steps[-1]) / row["steps_per_second"])
        steps.append(row["step"])
    speed = steps[-1] / seconds[-1]
    clock = dict(zip(steps, seconds, strict=True))
    checks = []
    for row in rows:
        if row["event"] == "validation":
            before = max(step for step in steps if step <= row["step"])
            passed = clock[before] + (row["step"] - before) / speed
            checks.append({**row, "minutes": passed / 60})
    return Run(folder.name, checks, speed)


def find_runs(folder: Path) -> tuple[list[Run], list[Run]]:
    """The runs from random weights, and those with discriminators that went on from one."""
    finished = sorted(path.parent for path in folder.glob("*/done"))
    first = [read_run(folder / name) for name in _SEQUENCES if folder / name in finished]
    return first, [read_run(path) for path in finished if path.name not in _SEQUENCES]


def markdown(runs: Sequence[Run]) -> str:
    """A table of the last figures of each run."""
    head = ["run", "minutes", "steps", "steps/s", *_MEASURES]
    rows = [head, ["---"] * len(head)]
    for run in runs:
        last = run.checks[-1]
        figures = [_figure(last[name], _DIGITS[name]) for name in _MEASURES]
        pace = [f"{last['minutes']:.1f}", str(last["step"]), f"{run.speed:.2f}"]
        rows.append([run.name, *pace, *figures])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def drawing(groups: Mapping[str, Sequence[Run]]) -> str:
    """All measures side by side, a line of charts for each group of runs, as one SVG."""
    width, height = _WIDTH * len(_MEASURES), _HEIGHT * len(groups)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{html.escape('; '.join(groups))}</title><style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for line, (title, runs) in enumerate(groups.items()):
        for column, measure in enumerate(_MEASURES):
            heading = title if column == 0 else ""
            parts.append(f'<g transform="translate({column * _WIDTH} {line * _HEIGHT})">')
            parts += [*_chart(runs, measure, heading), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _chart(runs: Sequence[Run], measure: str, heading: str) -> list[str]:
    curves = [
        [(check["minutes"], check[measure]) for check in run.checks if check[measure] is not None]
        for run in runs
    ]
    parts = [_text(8, 16, heading, "head"), _text(8, 36, _MEASURES[measure])]
    values = [value for curve in curves for _, value in curve]
    if not values:
        return [*parts, _text(_LEFT, _TOP + 20, "not measured")]
    ticks = round_ticks(min(values), max(values))
    longest = max(minutes for curve in curves for minutes, _ in curve)
    parts += _axes(ticks, longest)
    for run, curve, colour in zip(runs, curves, _COLOURS, strict=False):
        places = [(_x(minutes, longest), _y(value, ticks)) for minutes, value in curve]
        if places:
            line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            parts.append(f'<path class="curve" stroke="{colour}" d="M{line}"/>')
            x, y = places[-1]
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        if heading:
            parts += _key(runs, run, colour)
    return parts


def _key(runs: Sequence[Run], run: Run, colour: str) -> list[str]:
    """A run's name in its colour, over the charts of its line, one beside the other."""
    letters = sum(len(other.name) for other in runs[: list(runs).index(run)])
    x = _WIDTH + 8 + letters * 6.4 + 30 * list(runs).index(run)
    return [
        f'<path class="curve" stroke="{colour}" d="M{x:.0f} 12h14"/>',
        _text(x + 19, 16, run.name),
    ]


def _axes(ticks: Sequence[float], longest: float) -> list[str]:
    digits = 2 if ticks[1] - ticks[0] < 0.1 else 1
    parts = []
    for tick in ticks:
        y = _y(tick, ticks)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>')
        parts.append(_text(_LEFT - 7, y + 4, f"{tick:.{digits}f}", "end"))
    for tick in round_ticks(0, longest):
        if tick <= longest * 1.001:
            x = _x(tick, longest)
            parts.append(f'<path class="mark" d="M{x:.1f} {_BOTTOM}v4"/>')
            parts.append(_text(x, _BOTTOM + 17, f"{tick:g}", "middle"))
    parts.append(f'<path class="mark" d="M{_LEFT} {_BOTTOM}H{_RIGHT}"/>')
    parts.append(_text(_RIGHT, _BOTTOM + 32, "minutes", "end"))
    return parts


def _x(minutes: float, longest: float) -> float:
    return _LEFT + minutes / longest * (_RIGHT - _LEFT)


def _y(value: float, ticks: Sequence[float]) -> float:
    return _BOTTOM - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (_BOTTOM - _TOP)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs/comparison"))
    parser.add_argument("--out", type=Path, default=Path("docs/comparison.svg"))
    options = parser.parse_args()
    try:
        first, second = find_runs(options.runs)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    groups = {
        "LSTM against attention": first,
        "Sets of discriminators": second,
    }
    charts = {title: runs for title, runs in groups.items() if runs}
    if not charts:
        parser.error(f"no finished run in {options.runs}")
    options.out.write_text(drawing(charts), encoding="utf-8")
    for title, runs in charts.items():
        print(f"{title}:\n\n{markdown(runs)}\n")


if __name__ == "__main__":
    main()
