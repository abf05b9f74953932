"""The page of an evaluation: tables, charts, and clips to listen to. It stands alone: nothing is
fetched, no file lies beside it."""

from __future__ import annotations

import datetime
import html
import importlib.resources
from collections.abc import Iterable, Sequence

from bigcodec_cli.evaluation.media import SECONDS, data_uri
from bigcodec_cli.evaluation.metrics.definitions import COST, METRICS, QUALITY, Metric
from bigcodec_cli.evaluation.report.charts import Point, rate_chart
from bigcodec_cli.evaluation.report.exports import (
    group_metrics,
    metric_label,
    missing_lines,
    number_text,
)
from bigcodec_cli.evaluation.results import ORIGINAL, Evaluation, Result, Summary

_PLOTTED = ("pesq_wb", "stoi", "estoi", "mcd", "sim", "sim_wavlm", "dnsmos")
_FILE_TABLE = ("pesq_wb", "pesq_nb", "stoi", "estoi", "mcd", "sim", "mel", "dnsmos", "kbps_on_disk")
_CAPTION = ("pesq_wb", "stoi")
_LEFT = ' class="left"'
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "media-src data:"
)


def to_html(evaluation: Evaluation) -> str:
    """The whole page; well-formed XML too."""
    title = f"Codecs on {evaluation.setting.folder}"
    sections = [
        _section("Means", "means", _means(evaluation)),
        _section("Quality over rate", "charts", _charts(evaluation)),
        _section("By group", "groups", _groups(evaluation)),
        _section("To listen to", "clips", _clips(evaluation)),
        _section("Every file", "files", _files(evaluation)),
        _section("What was run", "systems", _systems(evaluation)),
        _section("What is missing or failed", "missing", _missing(evaluation)),
    ]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>',
            '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>',
            f"<title>{_text(title)}</title>\n<style>\n{_resource('report.css')}</style>",
            f"</head>\n<body>\n<header>\n<h1>{_text(title)}</h1>",
            f"<p>{_text(_subtitle(evaluation))}</p>\n</header>",
            *(section for section in sections if section),
            f"<script>\n{_resource('report.js')}</script>\n</body>\n</html>\n",
        ]
    )


def _resource(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _subtitle(evaluation: Evaluation) -> str:
    setting = evaluation.setting
    moment = datetime.datetime.fromisoformat(setting.started)
    jobs = "1 process" if setting.jobs == 1 else f"{setting.jobs} processes"
    parts = [
        f"{len(evaluation.files)} files, {evaluation.seconds / 60:.1f} min of speech",
        f"{moment.day} {moment:%B %Y, %H:%M} UTC",
        f"bigcodec {setting.version}",
        f"{setting.machine}, on {setting.device}, {jobs}",
        f"took {setting.elapsed / 60:.1f} min",
    ]
    return " · ".join(parts)


def _section(heading: str, name: str, content: str) -> str:
    return f'<section id="{name}">\n<h2>{heading}</h2>\n{content}\n</section>' if content else ""


def _means(evaluation: Evaluation) -> str:
    """A row for each metric, a column for each codec."""
    names = [info.name for info in evaluation.systems]
    summaries = [evaluation.summary(name) for name in names]
    alone = evaluation.summary(ORIGINAL)
    columns = [*names, ORIGINAL] if alone.means else names
    summaries += [alone] if alone.means else []
    rows = []
    for metric in METRICS:
        cells = [_mean_cell(metric, summary) for summary in summaries]
        if any(
            metric.key in summary.means or metric.key in summary.failed for summary in summaries
        ):
            first = ' class="first"' if metric is COST[0] else ""
            label = f"{_text(metric_label(metric))}<small>{_text(metric.meaning)}</small>"
            rows.append(f'<tr{first}><th scope="row">{label}</th>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{_text(name)}</th>' for name in columns)
    caption = (
        "Below each mean its 95 % bootstrap interval over the files. Arrows say which way is "
        "better. Everything is measured at 16 kHz."
    )
    return _table("means", f"<th></th>{head}", rows, caption)


def _mean_cell(metric: Metric, summary: Summary) -> str:
    mean = summary.means.get(metric.key)
    if mean is None:
        failed = metric.key in summary.failed
        return '<td class="bad">failed</td>' if failed else '<td class="soft">–</td>'
    small = []
    if mean.low is not None and mean.high is not None:
        small.append(f"{number_text(metric, mean.low)} to {number_text(metric, mean.high)}")
    if mean.files != summary.files:
        small.append(f"{mean.files} of {summary.files} files")
    notes = f"<small>{', '.join(small)}</small>" if small else ""
    return f"<td>{number_text(metric, mean.mean)}{notes}</td>"


def _charts(evaluation: Evaluation) -> str:
    figures = []
    summaries = [(info, evaluation.summary(info.name)) for info in evaluation.systems]
    for metric in (metric for metric in QUALITY if metric.key in _PLOTTED):
        points = [
            Point(
                name=info.name,
                is_bigcodec=info.is_bigcodec,
                kbps=summary.means["kbps_on_disk"].mean,
                quality=summary.means[metric.key],
            )
            for info, summary in summaries
            if {metric.key, "kbps_on_disk"} <= summary.means.keys()
        ]
        if points:
            chart = rate_chart(metric, points)
            figures.append(f"<figure><figcaption>{metric.title}</figcaption>\n{chart}</figure>")
    return f'<div class="charts">\n{chr(10).join(figures)}\n</div>' if figures else ""


def _groups(evaluation: Evaluation) -> str:
    shown = group_metrics(evaluation)
    rows = []
    for group in evaluation.groups:
        for number, info in enumerate(evaluation.systems):
            summary = evaluation.summary(info.name, group)
            cells = "".join(_plain_cell(metric, summary) for metric in shown)
            first = "" if number else ' class="first"'
            name = "" if number else _text(group or "(no folder)")
            files = "" if number else str(summary.files)
            rows.append(
                f"<tr{first}><td>{name}</td><td>{files}</td>"
                f'<td class="left">{_text(info.name)}</td>{cells}</tr>'
            )
    labels = "".join(f"<th>{_text(metric_label(metric))}</th>" for metric in shown)
    head = f'<th>Group</th><th>Files</th><th class="left">Codec</th>{labels}'
    return _table("groups", head, rows, "Means over the files of each group.") if rows else ""


def _plain_cell(metric: Metric, summary: Summary) -> str:
    mean = summary.means.get(metric.key)
    return f"<td>{number_text(metric, mean.mean) if mean else '–'}</td>"


def _clips(evaluation: Evaluation) -> str:
    heard = [result for result in evaluation.of(ORIGINAL) if result.sound is not None]
    if not heard:
        return ""
    parts = [
        f"<p>{len(heard)} of the {len(evaluation.files)} files, at most {SECONDS} s of each. "
        "Spectrograms reach from 0 to 8 kHz.</p>"
    ]
    for original in heard:
        coded = [
            r
            for info in evaluation.systems
            for r in evaluation.of(info.name)
            if r.file == original.file and r.sound is not None
        ]
        figures = "\n".join(_figure(result) for result in [original, *coded])
        heading = f"{_text(original.file)} <small>{original.seconds:.1f} s</small>"
        parts.append(f'<h3>{heading}</h3>\n<div class="clip">\n{figures}\n</div>')
    return "\n".join(parts)


def _figure(result: Result) -> str:
    assert result.sound is not None
    shown = [m for m in METRICS if m.key in _CAPTION and m.key in result.values]
    facts = [f"{m.title} {number_text(m, result.values[m.key])}" for m in shown]
    rate = result.values.get("kbps_on_disk")
    name, kbps = _text(result.system), "" if rate is None else f"{rate:.2f} kbit/s"
    return (
        f"<figure><figcaption>{name} <span>{kbps}</span>"
        f"<small>{_text(', '.join(facts)) or '&#160;'}</small></figcaption>\n"
        f'<img alt="Spectrogram of {name}" '
        f'src="{data_uri("image/png", result.sound.spectrogram)}"/>\n'
        f'<audio controls="controls" preload="metadata" '
        f'src="{data_uri("audio/flac", result.sound.flac)}"></audio></figure>'
    )


def _files(evaluation: Evaluation) -> str:
    """A row for each file and codec, to be sorted by any column."""
    coded = [result for info in evaluation.systems for result in evaluation.of(info.name)]
    present = {key for result in coded for key in (*result.values, *result.failed)}
    shown = [m for m in METRICS if m.key in _FILE_TABLE and m.key in present]
    order = {name: number for number, name in enumerate(evaluation.files)}
    rows = [_file_row(r, shown) for r in sorted(coded, key=lambda result: order[result.file])]
    labels = ["File", "Codec", "Seconds", *(metric_label(metric) for metric in shown)]
    head = "".join(
        f"<th{_LEFT if label == 'Codec' else ''}>"
        f'<button type="button">{_unbroken(label)}</button></th>'
        for label in labels
    )
    options = "".join(f"<option>{_text(info.name)}</option>" for info in evaluation.systems)
    choice = f'<p><label>Codec <select><option value="">all</option>{options}</select></label></p>'
    return choice + _table("tall", head, rows, "")


def _file_row(result: Result, shown: Sequence[Metric]) -> str:
    name = _text(result.file)
    cells = [
        f'<td data-value="{name}" title="{name}">{name}</td>',
        f'<td class="left" data-value="{_text(result.system)}">{_text(result.system)}</td>',
        f'<td data-value="{result.seconds}">{result.seconds:.1f}</td>',
        *(_value_cell(metric, result) for metric in shown),
    ]
    return f'<tr data-system="{_text(result.system)}">{"".join(cells)}</tr>'


def _value_cell(metric: Metric, result: Result) -> str:
    value = result.values.get(metric.key)
    if value is not None:
        return f'<td data-value="{value}">{number_text(metric, value)}</td>'
    reason = result.failed.get(metric.key) or result.failed.get("coding")
    return f'<td class="bad" title="{_text(reason)}">failed</td>' if reason else "<td>–</td>"


def _systems(evaluation: Evaluation) -> str:
    return _definitions((info.name, info.description) for info in evaluation.systems)


def _missing(evaluation: Evaluation) -> str:
    lines = missing_lines(evaluation)
    return _definitions(lines) if lines else ""


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    items = (f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in pairs)
    return f"<dl>\n{chr(10).join(items)}\n</dl>"


def _table(kind: str, head: str, rows: Sequence[str], caption: str) -> str:
    note = f"<p>{_text(caption)}</p>\n" if caption else ""
    return (
        f'{note}<div class="scroll {kind}">\n<table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table>\n</div>"
    )


def _unbroken(label: str) -> str:
    """A metric's label whose arrow stays with the word before it."""
    return _text(label).replace(" ↑", "&#160;↑").replace(" ↓", "&#160;↓")


def _text(value: str) -> str:
    """Text for HTML and XML; neither can hold control characters."""
    return html.escape("".join(c for c in value if c.isprintable()))
