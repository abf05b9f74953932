"""Results as JSON, CSV and text."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

from bigcodec_cli.evaluation.comparison import Comparison
from bigcodec_cli.evaluation.metrics.bootstrap import LEVEL, RESAMPLES, SEED
from bigcodec_cli.evaluation.metrics.definitions import COST, METRICS, QUALITY, Metric
from bigcodec_cli.evaluation.packages import Missing
from bigcodec_cli.evaluation.report.text_table import table_text
from bigcodec_cli.evaluation.results import ORIGINAL, Evaluation, Result, Summary
from bigcodec_models.config import SAMPLE_RATE

_GROUP_KEYS = (
    *("kbps_on_disk", "pesq_wb", "pesq_nb", "stoi", "estoi", "mcd", "sim", "dnsmos"),
    *("distillmos", "wer"),
)


def to_json(evaluation: Evaluation) -> str:
    """Everything but the sound. A value that is unknown is null."""
    document = {
        "setting": dataclasses.asdict(evaluation.setting)
        | {"intervals": LEVEL, "resamples": RESAMPLES, "seed": SEED, "sample_rate": SAMPLE_RATE},
        "files": len(evaluation.files),
        "seconds": evaluation.seconds,
        "missing": _reasons(evaluation.missing),
        "unread": dict(evaluation.unread),
        "original": _codec_json(evaluation, ORIGINAL),
        "codecs": [
            dataclasses.asdict(info) | _codec_json(evaluation, info.name)
            for info in evaluation.codecs
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def to_csv(evaluation: Evaluation) -> str:
    """A row for each file and codec. An unknown value is empty; `failed` has the reasons."""
    file = io.StringIO()
    keys = [metric.key for metric in METRICS]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file", "group", "codec", "seconds", "delay_ms", *keys, "failed"])
    for result in evaluation.results:
        values = [result.values.get(key, "") for key in keys]
        failed = "; ".join(f"{key}: {reason}" for key, reason in result.failed.items())
        start = [result.file, result.group, result.codec, result.seconds, result.delay_ms]
        writer.writerow([*start, *values, failed])
    return file.getvalue()


def to_text(evaluation: Evaluation, width: int = 80) -> str:
    """Tables of at most `width` columns: the means with their intervals, those of each group, and
    what failed. What is left out as not installed was said before."""
    parts = [table_text(_mean_rows(evaluation), width, fixed=1)]
    if evaluation.groups:
        parts.append(table_text(_group_rows(evaluation), width, fixed=3))
    parts.append("".join(f"{key}: {reason}\n" for key, reason in fault_lines(evaluation)))
    return "\n".join(part for part in parts if part)


def _mean_rows(evaluation: Evaluation) -> list[list[str]]:
    names = [info.name for info in evaluation.codecs]
    summaries = [evaluation.summary(name) for name in names]
    rows = [["", *names]]
    for metric in METRICS:
        cells = [interval_text(metric, summary) for summary in summaries]
        if any(cells):
            rows.append([metric.label, *cells])
    return rows


def group_metrics(evaluation: Evaluation) -> list[Metric]:
    """The metrics to show for each group."""
    present = {key for info in evaluation.codecs for key in evaluation.summary(info.name).means}
    return [m for m in (*COST, *QUALITY) if m.key in _GROUP_KEYS and m.key in present]


def _reasons(missing: Mapping[str, Missing]) -> dict[str, str]:
    return {key: each.reason for key, each in missing.items()}


def fault_lines(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Files that were not read in full, and metrics that failed on some, and why."""
    lines = [(f"{name} was not read in full", reason) for name, reason in evaluation.unread.items()]
    for info in evaluation.codecs:
        failed = evaluation.summary(info.name).failed
        for key, count in failed.items():
            reasons = {r.failed[key]: r.file for r in evaluation.of(info.name) if key in r.failed}
            shown = "; ".join(f"{reason} ({file})" for reason, file in list(reasons.items())[:3])
            lines.append((f"{key} failed for {info.name} on {count} of the files", shown))
    return lines


def interval_text(metric: Metric, summary: Summary) -> str:
    """A mean with its interval, and its number of files if these are not all; empty if there is
    none."""
    mean = summary.means.get(metric.key)
    if mean is None:
        return "failed" if metric in QUALITY and metric.key in summary.failed else ""
    text = metric.text(mean.mean)
    if mean.low is not None and mean.high is not None:
        text += f" [{metric.text(mean.low)}, {metric.text(mean.high)}]"
    return text if mean.files == summary.files else f"{text} of {mean.files}"


def _codec_json(evaluation: Evaluation, codec: str) -> dict[str, Any]:
    groups = {group: evaluation.summary(codec, group) for group in evaluation.groups}
    return {
        "total": _summary_json(evaluation.summary(codec)),
        "groups": {group: _summary_json(summary) for group, summary in groups.items()},
        "per_file": [_result_json(result) for result in evaluation.of(codec)],
    }


def _summary_json(summary: Summary) -> dict[str, Any]:
    means = {key: dataclasses.asdict(mean) for key, mean in summary.means.items()}
    return {
        "files": summary.files,
        "seconds": summary.seconds,
        **{metric.key: means.get(metric.key) for metric in METRICS},
        "failed": dict(summary.failed),
    }


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "file": result.file,
        "group": result.group,
        "seconds": result.seconds,
        "delay_ms": result.delay_ms,
        **{metric.key: result.values.get(metric.key) for metric in METRICS},
        "failed": dict(result.failed),
    }


def _group_rows(evaluation: Evaluation) -> list[list[str]]:
    metrics = group_metrics(evaluation)
    rows = [["group", "files", "", *(metric.label for metric in metrics)]]
    for group in evaluation.groups:
        for info in evaluation.codecs:
            summary = evaluation.summary(info.name, group)
            means = ((metric, summary.means.get(metric.key)) for metric in metrics)
            cells = [metric.text(mean.mean) if mean else "" for metric, mean in means]
            rows.append([group, str(summary.files), info.name, *cells])
    return rows


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison, ready for JSON; a value that is unknown is null."""
    return {metric.key: comparison.values.get(metric.key) for metric in QUALITY} | {
        "seconds": comparison.seconds,
        "surplus_seconds": comparison.surplus_seconds,
        "delay_ms": comparison.delay_ms,
        "failed": dict(comparison.failed),
        "missing": _reasons(comparison.missing),
    }


def comparison_text(comparison: Comparison) -> str:
    """A comparison as lines for a terminal."""
    lines = [f"{comparison.seconds:.3f} s"]
    if comparison.surplus_seconds:
        longer = "longer" if comparison.surplus_seconds > 0 else "shorter"
        lines.append(f"B is {abs(comparison.surplus_seconds):.3f} s {longer} than A")
    if comparison.delay_ms:
        lines.append(f"B lags by {comparison.delay_ms:.2f} ms; this delay was removed")
    for metric in QUALITY:
        if metric.key in comparison.values:
            text = metric.text(comparison.values[metric.key])
        elif metric.key in comparison.failed:
            text = f"failed: {comparison.failed[metric.key]}"
        else:
            continue
        lines.append(f"{metric.label:<16} {text}")
    return "\n".join(lines)
