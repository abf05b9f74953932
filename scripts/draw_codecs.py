"""Draws quality over bit rate from results of `bigcodec eval --json`, and prints them as a table.

    python scripts/draw_codecs.py RESULTS.json [--out docs/comparison.svg]

Codecs of one name at several rates, such as opus:6 and opus:12, are joined by a line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bigcodec_cli.pages.charts import HEIGHT, WIDTH, Chart, Series, log_x_scale, y_scale
from bigcodec_cli.pages.templates import render

_TEMPLATE = Path(__file__).parent / "experiments" / "comparison" / "comparison.svg.j2"
_METRICS = {"pesq_wb": ("PESQ-WB", 2), "stoi": ("STOI", 3), "sim": ("SIM", 3)}
_RATE = "kbps_on_disk"


def families(codecs: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The codecs by their names without the rate, in order of rate."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for codec in sorted(codecs, key=lambda codec: mean(codec, _RATE)):
        groups.setdefault(codec["name"].partition(":")[0], []).append(codec)
    return groups


def mean(codec: Mapping[str, Any], key: str) -> float:
    """The mean of a metric over all files."""
    return float(codec["total"][key]["mean"])


def table(codecs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The means of each codec in Markdown."""
    yield "| codec | kbit/s | " + " | ".join(title for title, _ in _METRICS.values()) + " |"
    yield "|---" * (2 + len(_METRICS)) + "|"
    for codec in sorted(codecs, key=lambda codec: mean(codec, _RATE)):
        values = (f"{mean(codec, key):.{digits}f}" for key, (_, digits) in _METRICS.items())
        yield f"| {codec['name']} | {mean(codec, _RATE):.2f} | {' | '.join(values)} |"


def chart(key: str, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Chart:
    """A metric over the bit rate."""
    title = f"{_METRICS[key][0]}, higher is better"
    series = [
        Series(
            points=[(mean(codec, _RATE), mean(codec, key)) for codec in codecs],
            style=f"series-{number}",
        )
        for number, codecs in enumerate(groups.values(), 1)
    ]
    points = [(x, y) for s in series for x, y in s.points if y is not None]
    return Chart(
        name=key,
        summary=f"{title}: {', '.join(groups)}",
        x=log_x_scale([x for x, _ in points]),
        y=y_scale([y for _, y in points]),
        x_label="kbit/s on disk",
        y_label=title,
        series=series,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/comparison.svg"))
    options = parser.parse_args()
    results = json.loads(options.results.read_text(encoding="utf-8"))
    groups = families(results["codecs"])
    heading = f"Means over {results['files']} files, {results['seconds'] / 60:.1f} min of speech"
    drawing = render(
        _TEMPLATE,
        groups={
            heading: {"names": list(groups), "charts": [chart(key, groups) for key in _METRICS]}
        },
        columns=len(_METRICS),
        width=WIDTH + 10,
        height=HEIGHT + 50,
    )
    options.out.write_text(drawing, encoding="utf-8")
    print("\n".join(table(results["codecs"])))


if __name__ == "__main__":
    main()
