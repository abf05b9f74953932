"""Metric values of each codec on each file, and their means over groups of files."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from bigcodec_cli.evaluation.codecs.base import CodecInfo
from bigcodec_cli.evaluation.metrics.bootstrap import Mean, mean_with_interval
from bigcodec_cli.evaluation.metrics.definitions import METRICS
from bigcodec_cli.evaluation.metrics.token_entropy import token_statistics
from bigcodec_cli.evaluation.packages import Missing
from bigcodec_cli.pages.media import Sound
from bigcodec_models.arrays import AnyTokens
from bigcodec_models.config import SAMPLE_RATE

ORIGINAL = "original"
CODING = "coding"
"""Key of `failed` where a codec failed on a file as a whole."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One codec on one file, or the file itself (codec `original`).

    `values` holds the metrics that were computed, `failed` a reason for each one that could not
    be. `delay` is in samples at 16 kHz; `tags` are those of an original's file.
    """

    file: str
    group: str
    codec: str
    seconds: float
    values: Mapping[str, float]
    failed: Mapping[str, str]
    tokens: AnyTokens | None = None
    delay: int = 0
    sound: Sound | None = None
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def delay_ms(self) -> float:
        """The delay in milliseconds."""
        return self.delay * 1000 / SAMPLE_RATE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """One codec on a group of files: means by key, and on how many files each metric failed."""

    files: int
    seconds: float
    means: Mapping[str, Mean]
    failed: Mapping[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how an evaluation ran: `elapsed` in seconds, `started` in ISO 8601."""

    folder: str
    version: str
    started: str
    elapsed: float
    machine: str
    device: str
    jobs: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All results of a run. `missing` says why each metric or baseline that was left out is,
    `unread` why each file."""

    setting: Setting
    codecs: Sequence[CodecInfo]
    results: Sequence[Result]
    missing: Mapping[str, Missing]
    unread: Mapping[str, str]

    @functools.cached_property
    def groups(self) -> list[str]:
        """Names of the groups, if there is more than one."""
        names = sorted({result.group for result in self.results})
        return names if len(names) > 1 else []

    @property
    def is_incomplete(self) -> bool:
        """Whether a file could not be read, or a codec failed on one."""
        return bool(self.unread) or any(CODING in result.failed for result in self.results)

    @property
    def files(self) -> list[str]:
        """Names of the files that were read, in order."""
        return [result.file for result in self.of(ORIGINAL)]

    @property
    def seconds(self) -> float:
        """Seconds of speech."""
        return sum(result.seconds for result in self.of(ORIGINAL))

    def of(self, codec: str, group: str | None = None) -> list[Result]:
        """Results of a codec, of one group or of all."""
        return [
            result
            for result in self.results
            if result.codec == codec and group in (None, result.group)
        ]

    def summary(self, codec: str, group: str | None = None) -> Summary:
        """Means of a codec over a group, or over all files."""
        results = self.of(codec, group)
        rates = {info.name: info.token_rate for info in self.codecs}
        return summarize(results, rates.get(codec, 0.0))


def token_values(recordings: Sequence[AnyTokens], token_rate: float) -> dict[str, float]:
    """The metrics of the tokens (T, K) of several recordings taken together, by key."""
    statistics = token_statistics(recordings)
    if statistics is None:
        return {}
    return {
        "entropy_bits": statistics.entropy_bits,
        "approx_kbps": statistics.entropy_bits * token_rate / 1000,
        "codebook_used": float(statistics.used),
        "perplexity": statistics.perplexity,
    }


def summarize(results: Sequence[Result], token_rate: float) -> Summary:
    """Means over results of one codec.

    A bit rate is all bytes over all seconds of speech, and a speed all seconds of speech over all
    the time taken: both are weighted means. Metrics of tokens are those of all tokens taken
    together, and have no interval.
    """
    tokens = [result.tokens for result in results if result.tokens is not None]
    pooled = token_values(tokens, token_rate)
    means = {
        key: Mean(mean=value, low=None, high=None, files=len(tokens))
        for key, value in pooled.items()
    }
    for key in (metric.key for metric in METRICS if metric.key not in pooled):
        known = [result for result in results if key in result.values]
        if known:
            values = [result.values[key] for result in known]
            means[key] = mean_with_interval(values, [_weight(key, result) for result in known])
    failures = [key for result in results for key in result.failed]
    return Summary(
        files=len(results),
        seconds=sum(result.seconds for result in results),
        means={metric.key: means[metric.key] for metric in METRICS if metric.key in means},
        failed={key: failures.count(key) for key in dict.fromkeys(failures)},
    )


def _weight(key: str, result: Result) -> float:
    if key == "kbps_on_disk":
        return result.seconds
    if key.endswith("_x_realtime"):
        return result.seconds / result.values[key]
    return 1.0
