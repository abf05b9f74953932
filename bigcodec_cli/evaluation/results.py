"""What was measured, and its means over groups of files."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from bigcodec_cli.evaluation.codecs.base import CodecInfo
from bigcodec_cli.evaluation.media import Sound
from bigcodec_cli.evaluation.metrics.bootstrap import Mean, mean_with_interval
from bigcodec_cli.evaluation.metrics.definitions import METRICS
from bigcodec_cli.evaluation.metrics.token_entropy import token_statistics
from bigcodec_models.arrays import Tokens

ORIGINAL = "original"
CODING = "coding"
"""Key of `failed` where a codec failed on a file as a whole."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One codec on one file, or the file itself (system `original`).

    `values` holds what could be measured, `failed` a reason for each metric that was tried in
    vain. `delay` is in samples at 16 kHz.
    """

    file: str
    group: str
    system: str
    seconds: float
    values: Mapping[str, float]
    failed: Mapping[str, str]
    tokens: Tokens | None = None
    delay: int = 0
    sound: Sound | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """One codec on a group of files: means by key, and on how many files each metric failed."""

    files: int
    seconds: float
    means: Mapping[str, Mean]
    failed: Mapping[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how it was run: `elapsed` in seconds, `started` in ISO 8601."""

    folder: str
    version: str
    started: str
    elapsed: float
    machine: str
    device: str
    jobs: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All results of a run. `missing` says why metrics and baselines were left out, by key or name;
    `unread` why files were."""

    setting: Setting
    systems: Sequence[CodecInfo]
    results: Sequence[Result]
    missing: Mapping[str, str]
    unread: Mapping[str, str]

    @functools.cached_property
    def groups(self) -> list[str]:
        """Names of the groups, if there is more than one."""
        found = sorted({result.group for result in self.results})
        return found if len(found) > 1 else []

    @property
    def files(self) -> list[str]:
        """Names of the files that were read, in order."""
        return [result.file for result in self.of(ORIGINAL)]

    @property
    def seconds(self) -> float:
        """Seconds of speech."""
        return sum(result.seconds for result in self.of(ORIGINAL))

    def of(self, system: str, group: str | None = None) -> list[Result]:
        """Results of a system, of one group or of all."""
        return [
            result
            for result in self.results
            if result.system == system and group in (None, result.group)
        ]

    def summary(self, system: str, group: str | None = None) -> Summary:
        """Means of a system over a group, or over all files."""
        results = self.of(system, group)
        rates = {info.name: info.token_rate for info in self.systems}
        return summarize(results, rates.get(system, 0.0))


def token_values(pieces: Sequence[Tokens], token_rate: float) -> dict[str, float]:
    """The metrics that follow from tokens (T, K) taken together, by key."""
    found = token_statistics(pieces)
    if found is None:
        return {}
    return {
        "entropy_bits": found.entropy_bits,
        "approx_kbps": found.entropy_bits * token_rate / 1000,
        "codebook_used": float(found.used),
        "perplexity": found.perplexity,
    }


def summarize(results: Sequence[Result], token_rate: float) -> Summary:
    """Means over results of one system.

    Rates are all bytes over all seconds, and speeds all seconds over all time, as means weighted
    so; what is counted of tokens is counted over all of them, and has no interval.
    """
    tokens = [result.tokens for result in results if result.tokens is not None]
    pooled = token_values(tokens, token_rate)
    means = {
        key: Mean(mean=value, low=None, high=None, files=len(tokens))
        for key, value in pooled.items()
    }
    for key in (metric.key for metric in METRICS if metric.key not in pooled):
        found = [result for result in results if key in result.values]
        if found:
            values = [result.values[key] for result in found]
            means[key] = mean_with_interval(values, [_weight(key, result) for result in found])
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
