"""The page of an evaluation: tables, charts, and clips with players. It needs no other file and
no network."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bigcodec_cli.evaluation.codecs.base import CodecInfo
from bigcodec_cli.evaluation.metrics.bootstrap import Mean
from bigcodec_cli.evaluation.metrics.definitions import COST, METRICS, QUALITY, Metric
from bigcodec_cli.evaluation.packages import by_cause
from bigcodec_cli.evaluation.report.exports import fault_lines, group_metrics
from bigcodec_cli.evaluation.results import CODING, ORIGINAL, Evaluation, Result, Summary
from bigcodec_cli.pages.charts import Chart, Series, log_x_scale, y_scale
from bigcodec_cli.pages.media import MAX_SECONDS, data_uri
from bigcodec_cli.pages.templates import render

_CHARTS = ("pesq_wb", "stoi", "estoi", "mcd", "sim", "sim_wavlm", "dnsmos", "distillmos", "wer")
_FILE_TABLE = (
    *("pesq_wb", "pesq_nb", "stoi", "estoi", "mcd", "sim", "mel", "dnsmos", "distillmos", "wer"),
    "kbps_on_disk",
)
_CAPTION = ("pesq_wb", "stoi")
_CREDITS = ("artist", "copyright", "license")
_LONGEST_TAG = 300
_RATE = "kbps_on_disk"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Layout:
    """What is peculiar to a page: its template and title, how many details stand below the title,
    and the metrics whose means it has."""

    template: str
    title: str
    details: int | None
    means: Collection[str]


_LAYOUTS = {
    "full": _Layout(
        template="report.html.j2",
        title="Codecs on {folder}",
        details=None,
        means=[metric.key for metric in METRICS],
    ),
    # Listeners need no speeds, and not what machine it was.
    "clips": _Layout(
        template="listen.html.j2",
        title="Speech before and after coding",
        details=3,
        means=[_RATE, *(metric.key for metric in QUALITY)],
    ),
}


def to_html(evaluation: Evaluation, page: str = "full") -> str:
    """The whole page; well-formed XML too. `page` is one of `PAGES` of config.py."""
    layout = _LAYOUTS[page]
    summaries = {info.name: evaluation.summary(info.name) for info in evaluation.codecs}
    results = [result for info in evaluation.codecs for result in evaluation.of(info.name)]
    columns = _columns(evaluation, summaries)
    clips = _clips(evaluation, results)
    clip_ids = {clip[0].file: f"clip-{number}" for number, clip in enumerate(clips, 1)}
    title = layout.title.format(folder=evaluation.setting.folder)
    return render(
        Path(__file__).with_name(layout.template),
        title=title,
        heading=title,
        details=_details(evaluation)[: layout.details],
        evaluation=evaluation,
        columns=columns,
        metrics=[m for m in _shown_metrics(columns.values()) if m.key in layout.means],
        first_cost=COST[0],
        charts=_charts(evaluation, summaries),
        group_metrics=group_metrics(evaluation),
        clips=clips,
        clip_ids=clip_ids,
        players=_players(clips, clip_ids),
        clip_name=_clip_name,
        clip_credit=_clip_credit,
        max_seconds=MAX_SECONDS,
        caption_metrics=[metric for metric in METRICS if metric.key in _CAPTION],
        file_metrics=[m for m in _shown_metrics(summaries.values()) if m.key in _FILE_TABLE],
        file_rows=_by_file(evaluation, results),
        descriptions=[(info.name, info.description) for info in evaluation.codecs],
        missing=_missing(evaluation),
        CODING=CODING,
        data_uri=data_uri,
    )


def _missing(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What is missing in the tables, for all files or for some, and why."""
    left_out = by_cause(evaluation.missing)
    return [*((f"{keys} left out", why) for keys, why in left_out), *fault_lines(evaluation)]


def _details(evaluation: Evaluation) -> list[str]:
    setting = evaluation.setting
    start = datetime.datetime.fromisoformat(setting.started)
    jobs = "1 process" if setting.jobs == 1 else f"{setting.jobs} processes"
    return [
        f"{len(evaluation.files)} files, {evaluation.seconds / 60:.1f} min of speech",
        f"{start.day} {start:%B %Y, %H:%M} UTC",
        f"bigcodec {setting.version}",
        f"{setting.machine}, on {setting.device}, {jobs}",
        f"took {setting.elapsed / 60:.1f} min",
    ]


def _columns(evaluation: Evaluation, summaries: Mapping[str, Summary]) -> dict[str, Summary]:
    """The columns of the table of means: the codecs, and the originals if they have metrics."""
    original = evaluation.summary(ORIGINAL)
    return {**summaries, ORIGINAL: original} if original.means else dict(summaries)


def _shown_metrics(summaries: Collection[Summary]) -> list[Metric]:
    """The metrics that have a mean or failed for at least one codec."""
    keys = {key for summary in summaries for key in (*summary.means, *summary.failed)}
    return [metric for metric in METRICS if metric.key in keys]


def _charts(evaluation: Evaluation, summaries: Mapping[str, Summary]) -> dict[str, Chart]:
    """The charts of quality over bit rate, by the title of the metric."""
    charts = {}
    for metric in (metric for metric in QUALITY if metric.key in _CHARTS):
        series = [
            _series(info, metric, summaries[info.name].means)
            for info in evaluation.codecs
            if {metric.key, _RATE} <= summaries[info.name].means.keys()
        ]
        if series:
            charts[metric.title] = _rate_chart(metric, series)
    return charts


def _series(info: CodecInfo, metric: Metric, means: Mapping[str, Mean]) -> Series:
    """A codec as a single point, with the interval of its mean if there is one."""
    mean = means[metric.key]
    return Series(
        points=[(means[_RATE].mean, mean.mean)],
        style="bigcodec" if info.is_bigcodec else "baseline hollow",
        label=info.name,
        interval=None if mean.low is None or mean.high is None else (mean.low, mean.high),
    )


def _rate_chart(metric: Metric, series: Sequence[Series]) -> Chart:
    texts = (f"{s.label} {metric.text(s.last[1])} at {s.last[0]:.2f}" for s in series)
    better = f"{metric.better}er is better" if metric.better else ""
    return Chart(
        name=metric.key,
        summary=f"{metric.title} over kbit/s: {', '.join(texts)}",
        x=log_x_scale([s.last[0] for s in series]),
        y=y_scale([edge for s in series for edge in s.interval or (s.last[1],)]),
        x_label="kbit/s on disk",
        y_label=", ".join(filter(None, [metric.unit, better])),
        series=series,
    )


def _clips(evaluation: Evaluation, results: Sequence[Result]) -> list[list[Result]]:
    """The results with sound: for each file the original, then what each codec restored."""
    return [
        [original, *(r for r in results if r.file == original.file and r.sound is not None)]
        for original in evaluation.of(ORIGINAL)
        if original.sound is not None
    ]


def _clip_name(original: Result) -> str:
    """The title that its file has among its tags, or the name of the file."""
    return original.tags.get("title", original.file)[:_LONGEST_TAG]


def _clip_credit(original: Result) -> str:
    """Whose the sound is and under which license, as far as the tags of its file say."""
    tags = (original.tags.get(name, "") for name in _CREDITS)
    return " · ".join(tag[:_LONGEST_TAG] for tag in tags if tag)


def _players(
    clips: Sequence[Sequence[Result]], clip_ids: Mapping[str, str]
) -> dict[tuple[str, str], str]:
    """Where on the page the player of a file and a codec is."""
    return {
        (result.file, result.codec): f"{clip_ids[result.file]}-{number}"
        for clip in clips
        for number, result in enumerate(clip)
    }


def _by_file(evaluation: Evaluation, results: Sequence[Result]) -> list[Result]:
    order = {name: number for number, name in enumerate(evaluation.files)}
    return sorted(results, key=lambda result: order[result.file])
