"""Results as JSON, CSV and text."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bigcodec_cli.evaluation.comparison import Comparison
from bigcodec_cli.evaluation.metrics.bootstrap import LEVEL, RESAMPLES, SEED, Mean
from bigcodec_cli.evaluation.metrics.definitions import COST, METRICS, QUALITY, Metric
from bigcodec_cli.evaluation.results import ORIGINAL, Evaluation, Result, Summary
from bigcodec_models.config import SAMPLE_RATE

_GROUP_KEYS = ("kbps_on_disk", "pesq_wb", "pesq_nb", "stoi", "estoi", "mcd", "sim", "dnsmos")


def to_json(evaluation: Evaluation) -> str:
    """Everything but the sound. What was not measured is null, never a number."""
    document = {
        "setting": dataclasses.asdict(evaluation.setting)
        | {"intervals": LEVEL, "resamples": RESAMPLES, "seed": SEED, "sample_rate": SAMPLE_RATE},
        "files": len(evaluation.files),
        "seconds": evaluation.seconds,
        "missing": dict(evaluation.missing),
        "unread": dict(evaluation.unread),
        "original": _system_rows(evaluation, ORIGINAL),
        "systems": [
            dataclasses.asdict(info) | _system_rows(evaluation, info.name)
            for info in evaluation.systems
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def to_csv(evaluation: Evaluation) -> str:
    """A row for each file and codec; what was not measured is empty, and `failed` says why."""
    file = io.StringIO()
    keys = [metric.key for metric in METRICS]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file", "group", "system", "seconds", "delay_ms", *keys, "failed"])
    for result in evaluation.results:
        values = [result.values.get(key, "") for key in keys]
        failed = "; ".join(f"{key}: {reason}" for key, reason in result.failed.items())
        start = [result.file, result.group, result.system, result.seconds, _delay_ms(result)]
        writer.writerow([*start, *values, failed])
    return file.getvalue()


def to_text(evaluation: Evaluation) -> str:
    """Tables for a terminal: the means with their intervals, then those of each group."""
    names = [info.name for info in evaluation.systems]
    summaries = [evaluation.summary(name) for name in names]
    rows = [["", *names]]
    for metric in METRICS:
        cells = [interval_text(metric, summary) for summary in summaries]
        if any(cells):
            rows.append([metric_label(metric), *cells])
    parts = [_aligned(rows)]
    if evaluation.groups:
        parts.append(_aligned(_group_rows(evaluation)))
    parts.append("".join(f"{key}: {reason}\n" for key, reason in missing_lines(evaluation)))
    return "\n".join(part for part in parts if part)


def group_metrics(evaluation: Evaluation) -> list[Metric]:
    """The metrics to show for each group."""
    present = {key for info in evaluation.systems for key in evaluation.summary(info.name).means}
    return [m for m in (*COST, *QUALITY) if m.key in _GROUP_KEYS and m.key in present]


def missing_lines(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What is not in the tables, or not of every file, and why."""
    lines = [(f"{key} is missing", reason) for key, reason in evaluation.missing.items()]
    lines += [(f"{name} was not read", reason) for name, reason in evaluation.unread.items()]
    for info in evaluation.systems:
        failed = evaluation.summary(info.name).failed
        for key, count in failed.items():
            reasons = {r.failed[key]: r.file for r in evaluation.of(info.name) if key in r.failed}
            shown = "; ".join(f"{reason} ({file})" for reason, file in list(reasons.items())[:3])
            lines.append((f"{key} failed for {info.name} on {count} of the files", shown))
    return lines


def metric_label(metric: Metric) -> str:
    """A metric's name with its unit, and which way is better."""
    unit = f", {metric.unit}" if metric.unit else ""
    return f"{metric.title}{unit}{_ARROWS[metric.better]}"


def number_text(metric: Metric, value: float) -> str:
    """A value with the metric's digits."""
    return f"{value:,.{metric.digits}f}".replace("-", "−")


def interval_text(metric: Metric, summary: Summary) -> str:
    """A mean with its interval, and over how many files if not over all; empty if there is
    none."""
    mean = summary.means.get(metric.key)
    if mean is None:
        return "failed" if metric in QUALITY and metric.key in summary.failed else ""
    text = number_text(metric, mean.mean)
    if mean.low is not None and mean.high is not None:
        text += f" [{number_text(metric, mean.low)}, {number_text(metric, mean.high)}]"
    return text if mean.files == summary.files else f"{text} of {mean.files}"


_ARROWS = {"high": " ↑", "low": " ↓", "": ""}


def _system_rows(evaluation: Evaluation, system: str) -> dict[str, Any]:
    groups = {group: evaluation.summary(system, group) for group in evaluation.groups}
    return {
        "total": _summary_row(evaluation.summary(system)),
        "groups": {group: _summary_row(summary) for group, summary in groups.items()},
        "per_file": [_result_row(result) for result in evaluation.of(system)],
    }


def _summary_row(summary: Summary) -> dict[str, Any]:
    return {
        "files": summary.files,
        "seconds": summary.seconds,
        **{m.key: _mean_row(summary.means.get(m.key)) for m in METRICS},
        "failed": dict(summary.failed),
    }


def _mean_row(mean: Mean | None) -> dict[str, Any] | None:
    return None if mean is None else dataclasses.asdict(mean)


def _result_row(result: Result) -> dict[str, Any]:
    values: Mapping[str, float] = result.values
    return {
        "file": result.file,
        "group": result.group,
        "seconds": result.seconds,
        "delay_ms": _delay_ms(result),
        **{metric.key: values.get(metric.key) for metric in METRICS},
        "failed": dict(result.failed),
    }


def _delay_ms(result: Result) -> float:
    return result.delay * 1000 / SAMPLE_RATE


def _group_rows(evaluation: Evaluation) -> list[list[str]]:
    shown = group_metrics(evaluation)
    rows = [["group", "files", "", *(metric_label(metric) for metric in shown)]]
    for group in evaluation.groups:
        for info in evaluation.systems:
            summary = evaluation.summary(info.name, group)
            means = [summary.means.get(metric.key) for metric in shown]
            cells = [
                "" if mean is None else number_text(metric, mean.mean)
                for metric, mean in zip(shown, means, strict=True)
            ]
            rows.append([group, str(summary.files), info.name, *cells])
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as columns of equal width, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(len(first)), *others]).rstrip())
    return "\n".join(lines) + "\n"


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison, ready for JSON; what was not measured is null."""
    return {metric.key: comparison.values.get(metric.key) for metric in QUALITY} | {
        "seconds": comparison.seconds,
        "surplus_seconds": comparison.surplus_seconds,
        "delay_ms": comparison.delay_ms,
        "failed": dict(comparison.failed),
        "missing": dict(comparison.missing),
    }


def comparison_text(comparison: Comparison) -> str:
    """A comparison as lines for a terminal."""
    lines = [f"{comparison.seconds:.3f} s"]
    if comparison.surplus_seconds:
        lines.append(f"B is {comparison.surplus_seconds:+.3f} s long beside A")
    if comparison.delay_ms:
        lines.append(f"B lags by {comparison.delay_ms:.2f} ms, which was taken away")
    for metric in QUALITY:
        if metric.key in comparison.values:
            text = number_text(metric, comparison.values[metric.key])
        elif metric.key in comparison.failed:
            text = f"failed: {comparison.failed[metric.key]}"
        elif metric.key in comparison.missing:
            text = f"missing: {comparison.missing[metric.key]}"
        else:
            continue
        lines.append(f"{metric_label(metric):<16} {text}")
    return "\n".join(lines)
