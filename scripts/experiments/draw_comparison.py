"""Draws the runs of scripts/experiments/compare_parts.sh, and prints their last metrics as a table.

    python scripts/experiments/draw_comparison.py [runs/comparison] [--out FILE.svg]

The x axis is the time since the start in minutes, validations included; all runs had equal time.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigcodec_cli.pages.charts import HEIGHT, WIDTH, Chart, Series, x_scale, y_scale
from bigcodec_cli.pages.templates import render
from bigcodec_cli.training.log import LOG_NAME, read_log

_SEQUENCES = ("lstm", "attention")
_METRICS = {
    "mel": "mel distance, lower is better",
    "stoi": "STOI, higher is better",
    "pesq": "PESQ-WB, higher is better",
}
_DIGITS = {"mel": 3, "stoi": 3, "pesq": 2}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run: its name, its validations with `minutes` in each, and its steps per second."""

    name: str
    validations: Sequence[Mapping[str, Any]]
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
    validations = []
    for row in rows:
        if row["event"] == "validation":
            before = max(step for step in steps if step <= row["step"])
            passed = clock[before] + (row["step"] - before) / speed
            validations.append({**row, "minutes": passed / 60})
    return Run(folder.name, validations, speed)


def find_runs(folder: Path) -> tuple[list[Run], list[Run]]:
    """The runs from random weights, and the runs with discriminators that continue one of them."""
    finished = sorted(path.parent for path in folder.glob("*/done"))
    first = [read_run(folder / name) for name in _SEQUENCES if folder / name in finished]
    return first, [read_run(path) for path in finished if path.name not in _SEQUENCES]


def markdown(runs: Sequence[Run]) -> str:
    """A table of the last metrics of each run."""
    head = ["run", "minutes", "steps", "steps/s", *_METRICS]
    rows = [head, ["---"] * len(head)]
    for run in runs:
        last = run.validations[-1]
        figures = [_figure(last[name], _DIGITS[name]) for name in _METRICS]
        pace = [f"{last['minutes']:.1f}", str(last["step"]), f"{run.speed:.2f}"]
        rows.append([run.name, *pace, *figures])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def drawing(groups: Mapping[str, Sequence[Run]]) -> str:
    """One SVG with a row of charts, one for each metric, for each group of runs."""
    rows = {
        heading: {
            "names": [run.name for run in runs],
            "charts": [chart for key in _METRICS if (chart := _chart(runs, key))],
        }
        for heading, runs in groups.items()
    }
    return render(
        Path(__file__).parent / "comparison" / "comparison.svg.j2",
        groups=rows,
        columns=len(_METRICS),
        width=WIDTH + 10,
        height=HEIGHT + 50,
    )


def _chart(runs: Sequence[Run], key: str) -> Chart | None:
    """A metric of each run over minutes; None if no run has it."""
    series = [
        Series(points=[(row["minutes"], row[key]) for row in run.validations], style=f"series-{n}")
        for n, run in enumerate(runs, 1)
        if any(row[key] is not None for row in run.validations)
    ]
    if not series:
        return None
    points = [(x, y) for s in series for x, y in s.points if y is not None]
    return Chart(
        name=key,
        summary=f"{_METRICS[key]}: {', '.join(run.name for run in runs)}",
        x=x_scale(0, max(x for x, _ in points)),
        y=y_scale([y for _, y in points]),
        x_label="minutes",
        y_label=_METRICS[key],
        series=series,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs/comparison"))
    parser.add_argument("--out", type=Path, default=Path("runs/comparison/comparison.svg"))
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
