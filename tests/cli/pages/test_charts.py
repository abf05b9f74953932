"""Charts: ticks and texts by hand, and where points, gaps and labels are drawn."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from bigcodec_cli.pages.charts import (
    HEIGHT,
    WIDTH,
    Chart,
    Scale,
    Series,
    count_text,
    log_x_scale,
    log_y_scale,
    number_text,
    round_ticks,
    x_scale,
    y_scale,
)
from bigcodec_cli.pages.templates import render


def chart_of(*series: Series, x: Scale | None = None, y: Scale | None = None) -> Chart:
    points = [(x, y) for s in series for x, y in s.points if y is not None]
    return Chart(
        name="name",
        summary="summary",
        x=x or x_scale(0, max(x for x, _ in points)),
        y=y or y_scale([y for _, y in points]),
        x_label="x",
        y_label="y",
        series=series,
    )


def test_ticks_are_round_and_cover_the_values() -> None:
    assert round_ticks(0.61, 0.93) == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0])
    assert round_ticks(-3, 12) == [-5, 0, 5, 10, 15]
    same = round_ticks(3, 3)
    assert same[0] < 3 < same[-1]


@pytest.mark.parametrize(
    "values", [[1.1], [2.9, 3.0], [0.7, 256], [1e-7, 5e6], [5e-324, 1.0], [2.1, 22.0]]
)
def test_logarithmic_scales_hold_all_values_and_some_ticks(values: list[float]) -> None:
    for scale in (log_x_scale(values), log_y_scale(values)):
        assert 1 <= len(scale.ticks) <= 8
        first, last = sorted((scale.start, scale.end))
        assert all(first <= scale(value) <= last for value in (*values, *scale.ticks))
    middle = log_x_scale([1, 100])
    assert middle(10) == pytest.approx((middle.start + middle.end) / 2)


def test_horizontal_ticks_lie_between_the_ends() -> None:
    scale = x_scale(0, 400)
    assert (scale(0), scale(400)) == (scale.start, scale.end)
    assert list(scale.ticks) == [0, 100, 200, 300, 400]
    assert list(x_scale(0, 6.03).ticks) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.5, "1.50"),
        (-0.25, "−0.250"),
        (1234.5, "1,234"),
        (4e-5, "4×10⁻⁵"),
        (3e8, "3×10⁸"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number_text(value) == text


def test_ticks_have_the_digits_that_tell_them_apart() -> None:
    assert [number_text(tick, 0.2) for tick in (0, 0.05, 0.1)] == ["0", "0.05", "0.1"]
    assert [count_text(step) for step in (0, 500, 2500, 1_200_000)] == ["0", "500", "2.5k", "1.2M"]


def test_unknown_values_interrupt_the_line() -> None:
    series = Series(points=[(0, 0.0), (1, 4.0), (2, None), (3, 2.0), (4, None)], style="s")
    chart = chart_of(series)
    x, y = chart.x, chart.y
    assert chart.line(series) == f"M{x(0)} {y(0)}L{x(1)} {y(4)}M{x(3)} {y(2)}h0"
    assert series.last == (3, 2.0)
    assert chart.band(series) == ""


def test_many_points_become_means_with_their_range() -> None:
    series = Series(points=[(n, float(n % 2)) for n in range(2000)], style="s")
    chart = chart_of(series)
    heights = {place.split()[1] for place in chart.line(series)[1:].split("L")}
    assert heights == {str(chart.y(0.5))}
    edges = {place.split()[1] for place in chart.band(series)[1:-1].split("L")}
    assert edges == {str(chart.y(0)), str(chart.y(1))}


def test_labels_do_not_overlap_and_stay_inside() -> None:
    names = ("a-codec-with-a-long-name", "opus:6", "lite-4", "codec2:1200")
    series = [Series(points=[(n % 2, 1.0 + n / 100)], style="s", label=name)
              for n, name in enumerate(names)]  # fmt: skip
    labels = chart_of(*series, x=x_scale(0, 1), y=y_scale([0, 2])).labels()
    assert {label.text for label in labels} == set(names)
    boxes = []
    for label in labels:
        width = 6.4 * len(label.text)
        left = label.x - width * label.end
        assert left >= 0 and left + width <= WIDTH and 0 < label.y < HEIGHT
        boxes.append((left, left + width, label.y))
    for n, (left, right, y) in enumerate(boxes):
        for other_left, other_right, other_y in boxes[:n]:
            assert right <= other_left or other_right <= left or abs(y - other_y) >= 13


@pytest.mark.parametrize("seed", range(40))
def test_labels_are_clear_of_dots_and_bars(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = ("lite-4", "opus:6", "codec2:1200", "codec2:2400", "encodec:1.5")
    series = []
    for name in names:
        x, y = (float(value) for value in random.uniform(1, 3, 2))
        interval = (y - 0.1, y + 0.1)
        series.append(Series(points=[(x, y)], style="s", label=name, interval=interval))
    chart = chart_of(*series, x=x_scale(0, 4), y=y_scale([0, 4]))
    labels = chart.labels()
    assert len(labels) == len(names)
    for label in labels:
        width = 6.4 * len(label.text)
        left = label.x - width * label.end
        for each in series:
            x, y = chart.x(each.last[0]), chart.y(each.last[1])
            beside = x + 4.5 <= left or left + width <= x - 4.5
            assert beside or y + 4.5 <= label.y - 10 or label.y + 3 <= y - 4.5, label
            assert each.interval is not None
            low, high = map(chart.y, each.interval)
            assert (
                x + 1 <= left or left + width <= x - 1 or low <= label.y - 10 or label.y + 3 <= high
            )


def test_the_template_draws_every_part(tmp_path: Path) -> None:
    template = tmp_path / "page.j2"
    template.write_text('{% from "chart.svg.j2" import draw %}{{ draw(chart, {"x": 7}) }}')
    series = Series(
        points=[(0, 1.0), (5, 2.0)],
        style="hollow",
        label="<b>&",
        interval=(1.5, 2.5),
        best=(0, 1.0),
    )
    chart = chart_of(series, y=log_y_scale([1, 20]))
    root = ET.fromstring(render(template, chart=chart))
    assert root.attrib["x"] == "7" and root.attrib["data-name"] == "name"
    kinds = {name for element in root for name in element.attrib.get("class", "").split()}
    assert kinds >= {"axis", "tick", "grid", "mark", "line", "bar", "best", "last", "label"}
    texts = [text.text for text in root.iter("text")]
    assert texts[:2] == ["y, log scale", "x"] and texts[-1] == "<b>&"
    (last,) = (e for e in root.iter("circle") if "last" in e.attrib["class"])
    assert math.isclose(float(last.attrib["cx"]), chart.x(5))
    (bar,) = (e for e in root.iter("path") if "bar" in e.attrib["class"])
    assert bar.attrib["d"] == f"M{chart.x(5)} {chart.y(1.5)}V{chart.y(2.5)}"
