"""RUN/summary.html: the settings and learning curves of a training run on one page."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigcodec_cli.files.atomic import atomic_output
from bigcodec_cli.pages.charts import (
    Chart,
    KnownPoint,
    Point,
    Scale,
    Series,
    count_text,
    log_y_scale,
    number_text,
    x_scale,
    y_scale,
)
from bigcodec_cli.pages.templates import render
from bigcodec_cli.training.log import LOG_NAME, read_log

if TYPE_CHECKING:
    from bigcodec_cli.training.clips import RunClip

_Row = Mapping[str, Any]

_SHOWN_SETTINGS = (
    "preset data validation noise init max_steps batch_size crops.seconds "
    "optimizer.learning_rate optimizer.final_learning_rate optimizer.warmup_steps "
    "optimizer.decay_steps discriminators adversarial.start_step model.quantizer.codebook_size "
    "precision seed"
).split()


def write_summary(run: Path) -> Path:
    """Write RUN/summary.html from RUN/log.jsonl, RUN/config.json and RUN/clips; return its path.

    Each may be missing or damaged; the page then says less. The configuration may be nested.
    The page needs no other file and no network, and is well-formed XML.

    Raises:
        OSError: a file cannot be read, or the page cannot be written.
    """
    rows = read_log(run / LOG_NAME) if (run / LOG_NAME).is_file() else []
    from bigcodec_cli.training.clips import load_clips

    name, config = run.resolve().name, _read_config(run / "config.json")
    page = _page(name, rows, config, load_clips(run))
    with atomic_output(run / "summary.html", overwrite=True) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return run / "summary.html"


def _read_config(path: Path) -> dict[str, Any]:
    """The settings by their full names; empty if the file is missing or damaged."""
    try:
        config = json.loads(path.read_bytes()) if path.is_file() else None
    except ValueError:
        return {}
    return _by_name(config) if isinstance(config, dict) else {}


def _by_name(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as --set has them, TABLE.KEY, and the kinds of discriminators."""
    flat = {name.removeprefix("train."): value for name, value in _flat(config)}
    kinds = {k.split(".")[1]: v for k, v in flat.items() if v and k.startswith("discriminators.")}
    return {**flat, "discriminators": list(kinds)} if kinds else flat


def _defaults(preset: Any) -> dict[str, Any]:
    """What the settings of a preset are without --config and --set; empty for no preset."""
    from bigcodec_models.config import PRESETS, config_to_dict
    from bigcodec_models.training.config import recipe_for

    if not isinstance(preset, str) or preset not in PRESETS:
        return {}
    model, train = PRESETS[preset], dataclasses.asdict(recipe_for(PRESETS[preset]))
    plain = json.loads(json.dumps({"train": train, "model": config_to_dict(model)}))
    return _by_name(plain)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _find(config: Mapping[str, Any], name: str) -> Any:
    """A setting by the end of its name, whatever it is nested in; None if there is none."""
    return next((v for key, v in config.items() if f".{key}".endswith(f".{name}")), None)


def _page(
    name: str, rows: Sequence[_Row], config: Mapping[str, Any], clips: Sequence[RunClip]
) -> str:
    from bigcodec_cli.pages.media import data_uri

    sections = _curves(rows)
    x = _step_scale(rows)
    return render(
        Path(__file__).with_name("summary.html.j2"),
        title=f"{name}: training run",
        heading=name,
        details=_details(rows, config),
        figures=_figures(rows, config, [c for curves in sections.values() for c in curves]),
        sections={s: [(c.title, _chart(c, x)) for c in curves] for s, curves in sections.items()},
        clips=clips,
        settings=_settings(config),
        data_uri=data_uri,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Setting:
    """A setting as the page shows it; `default` is empty where the value is the default."""

    name: str
    value: str
    default: str = ""


def _settings(config: Mapping[str, Any]) -> list[_Setting]:
    """What characterizes a run, and whatever differs from the defaults of its preset."""
    defaults = _defaults(config.get("preset"))
    changed = {
        name: defaults[name]
        for name, value in config.items()
        if name in defaults and value != defaults[name]
    }
    names = [name for name in _SHOWN_SETTINGS if config.get(name) is not None]
    return [
        _Setting(
            name=name,
            value=_setting_text(config[name]),
            default=_setting_text(changed[name]) if name in changed else "",
        )
        for name in dict.fromkeys([*names, *changed])
    ]


def _details(rows: Sequence[_Row], config: Mapping[str, Any]) -> list[str]:
    details = ["Training run"]
    if preset := _find(config, "preset"):
        details.append(f"preset {preset}")
    if not rows:
        return [*details, "nothing was recorded yet"]
    if seconds := _number(rows[-1].get("time")):
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        details.append(f"{moment.day} {moment:%B %Y, %H:%M} UTC")
    return details


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Figure:
    """A number at the top of the page."""

    name: str
    value: str
    note: str = ""


def _figures(
    rows: Sequence[_Row], config: Mapping[str, Any], curves: Sequence[_Curve]
) -> list[_Figure]:
    """How long the run went on, its best metrics, and the codes in use."""
    figures = _duration_figures(rows, config) if rows else []
    named = {curve.name: curve for curve in curves}
    metrics = [curve for curve in curves if curve.better]
    for curve in metrics or [named[name] for name in named if name == "losses/mel"]:
        step, best = curve.best
        note = f"at step {count_text(step)}; last {number_text(curve.known[-1][1])}"
        figures.append(_Figure(name=f"Best {curve.title}", value=number_text(best), note=note))
    if codes := named.get("codes_used"):
        size = _number(_find(config, "codebook_size"))
        last = number_text(codes.known[-1][1])
        figures.append(
            _Figure(name="Codes used", value=last, note=f"of {size:,.0f}" if size else "")
        )
    return figures


def _duration_figures(rows: Sequence[_Row], config: Mapping[str, Any]) -> list[_Figure]:
    max_steps = _number(_find(config, "max_steps"))
    steps, hours = max(row["step"] for row in rows), _hours(rows)
    time = f"{number_text(hours)} h" if hours >= 1 else f"{number_text(hours * 60)} min"
    note = f"of {max_steps:,.0f}" if max_steps else ""
    figures = [_Figure(name="Steps", value=f"{steps:,}", note=note)]
    return [*figures, _Figure(name="Time in training steps", value=time)] if hours else figures


def _hours(rows: Sequence[_Row]) -> float:
    """Time spent in training steps. The clock is of no use: a run may pause before it resumes."""
    speeds = ((row["step"], _number(row.get("steps_per_second"))) for row in rows)
    timed = [(int(step), speed) for step, speed in speeds if speed]
    # A log may begin late in a run: its first report is taken to be as long as its second.
    first = max(0, 2 * timed[0][0] - timed[1][0]) if len(timed) > 1 else 0
    starts = [first, *(step for step, _ in timed)]
    pairs = zip(timed, starts, strict=False)
    return sum((end - start) / speed for (end, speed), start in pairs) / 3600


def _setting_text(value: Any) -> str:
    """A folder of data may come with a weight: as on the command line, DIR=WEIGHT."""
    pairs = map(_listed, _listed(value))
    return ", ".join("=".join(str(v) for v in pair if v is not None) for pair in pairs)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable and math.isfinite(value) else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Curve:
    """One chart of the page. `better` is "high", "low" or ""; `may_span_decades` allows a
    logarithmic scale."""

    name: str
    title: str
    y_label: str
    points: Sequence[Point]
    better: str = ""
    may_span_decades: bool = False

    @property
    def known(self) -> list[KnownPoint]:
        """The points that have a value."""
        return [(step, value) for step, value in self.points if value is not None]

    @property
    def best(self) -> KnownPoint:
        """The highest or the lowest known point; the first of equals."""
        sign = -1 if self.better == "high" else 1
        return min(self.known, key=lambda point: sign * point[1])


def _curves(rows: Sequence[_Row]) -> dict[str, list[_Curve]]:
    """The curves that have at least one value, under the headings of the page."""
    reports = [row for row in rows if row["event"] == "progress"]
    validations = [row for row in rows if row["event"] == "validation"]
    lower, higher = "distance (lower is better)", "score (higher is better)"
    sections = {
        "Validation": [
            _curve(validations, "validation/mel", "mel distance", lower, better="low"),
            _curve(validations, "validation/stoi", "STOI", higher, better="high"),
            _curve(validations, "validation/pesq", "PESQ", higher, better="high"),
        ],
        "Losses": _nested_curves(reports, "losses", "loss", "mean of the steps"),
        "Codebook": [
            _known_only(_curve(reports, "codes_used", "codes used", "codes")),
            _known_only(_curve(reports, "perplexity", "perplexity", "codes")),
        ],
        "Optimizer": [
            *_nested_curves(reports, "gradient_norms", "gradient", "norm before clipping"),
            _curve(reports, "learning_rate", "learning rate", "rate"),
        ],
    }
    known = {heading: [c for c in curves if c.known] for heading, curves in sections.items()}
    return {heading: curves for heading, curves in known.items() if curves}


def _curve(
    rows: Sequence[_Row], name: str, title: str, y_label: str, *, better: str = ""
) -> _Curve:
    key = name.rpartition("/")[2]
    points = [(row["step"], _number(row.get(key))) for row in rows]
    return _Curve(name=name, title=title, y_label=y_label, points=points, better=better)


def _known_only(curve: _Curve) -> _Curve:
    """Without zeros: until 2026-11 they stood for what was not counted yet."""
    points = [(step, value or None) for step, value in curve.points]
    return dataclasses.replace(curve, points=points)


def _nested_curves(rows: Sequence[_Row], key: str, kind: str, y_label: str) -> list[_Curve]:
    """The curves of a mapping in the rows, in the order in which its names first appear."""
    values = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), dict)]
    return [
        _Curve(
            name=f"{key}/{name}",
            title=f"{'VQ' if name == 'vq' else name.replace('_', ' ')} {kind}",
            y_label=y_label,
            points=[(step, _number(row.get(name))) for step, row in values],
            may_span_decades=True,
        )
        for name in dict.fromkeys(name for _, row in values for name in row)
    ]


def _step_scale(rows: Sequence[_Row]) -> Scale:
    """The same for all charts; from 0, unless the log begins late in the run."""
    steps = [row["step"] for row in rows] or [0]
    low, high = min(steps), max(5, *steps)
    return x_scale(low if high / 4 < low < high else 0, high)


def _chart(curve: _Curve, x: Scale) -> Chart:
    step, last = curve.known[-1]
    values = [value for _, value in curve.known]
    spans_decades = curve.may_span_decades and min(values) > 0 and max(values) >= 10 * min(values)
    series = Series(
        points=curve.points,
        style="curve",
        label=number_text(last),
        best=curve.best if curve.better and curve.best[0] != step else None,
    )
    return Chart(
        name=curve.name,
        summary=f"{curve.title}: {number_text(last)} at step {step:,}",
        x=x,
        y=(log_y_scale if spans_decades else y_scale)(values),
        x_label="step",
        y_label=curve.y_label,
        series=[series],
    )
