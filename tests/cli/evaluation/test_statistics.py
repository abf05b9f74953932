"""Intervals and entropies against constructions whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import bcdc
from bigcodec_cli.evaluation.metrics.bootstrap import mean_with_interval
from bigcodec_cli.evaluation.metrics.token_entropy import token_statistics


def test_interval_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(2).normal(3, 2, 900)
    mean = mean_with_interval(values.tolist())
    half = 1.96 * values.std() / 30
    assert mean.low is not None and mean.high is not None
    assert mean.mean == pytest.approx(values.mean())
    assert (mean.low, mean.high) == pytest.approx((mean.mean - half, mean.mean + half), abs=0.01)


def test_interval_covers_the_truth_nineteen_times_of_twenty() -> None:
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        mean = mean_with_interval(generator.exponential(1, 40).tolist())
        assert mean.low is not None and mean.high is not None
        hits += mean.low <= 1 <= mean.high
    assert 175 <= hits <= 198


def test_weights_make_rates_out_of_sums() -> None:
    size, seconds = np.array([100.0, 900.0, 50.0]), np.array([1.0, 3.0, 2.0])
    mean = mean_with_interval((size / seconds).tolist(), seconds.tolist())
    assert mean.mean == pytest.approx(size.sum() / seconds.sum())
    assert mean.low is not None and mean.high is not None
    assert 25 <= mean.low < mean.mean < mean.high <= 300


def test_one_value_has_no_interval_and_equal_values_an_empty_one() -> None:
    one = mean_with_interval([2.5])
    assert (one.mean, one.low, one.high, one.files) == (2.5, None, None, 1)
    same = mean_with_interval([2.5] * 9)
    assert (same.mean, same.low, same.high) == (2.5, 2.5, 2.5)


def test_intervals_are_the_same_every_time() -> None:
    values = np.random.default_rng(4).normal(size=20).tolist()
    assert mean_with_interval(values) == mean_with_interval(values)


def test_entropy_of_constructed_streams() -> None:
    flat = token_statistics([np.arange(4096).repeat(3)[:, None] % 4096])
    assert flat is not None
    assert (flat.entropy_bits, flat.perplexity, flat.used) == pytest.approx((12, 4096, 4096))
    constant = token_statistics([np.full((50, 1), 7)])
    assert constant is not None
    assert (constant.entropy_bits, constant.perplexity, constant.used) == (0, 1, 1)
    skewed = token_statistics([np.array([[0]] * 2 + [[1]] + [[2]])])
    assert skewed is not None
    assert skewed.entropy_bits == pytest.approx(1.5)
    assert token_statistics([]) is None
    assert token_statistics([np.zeros((0, 1), int)]) is None


def test_recordings_are_counted_together_and_codebooks_apart() -> None:
    recordings = [np.array([[0, 5], [0, 6]]), np.array([[1, 5], [1, 6]])]
    statistics = token_statistics(recordings)
    assert statistics is not None
    assert (statistics.entropy_bits, statistics.perplexity, statistics.used) == pytest.approx(
        (1, 2, 4)
    )
    uneven = token_statistics([np.array([[0, 0], [0, 1], [0, 2], [0, 3]])])
    assert uneven is not None
    assert (uneven.entropy_bits, uneven.perplexity, uneven.used) == pytest.approx((1, 2.5, 5))


@settings(max_examples=25, deadline=None)
@given(arrays(np.int32, st.tuples(st.integers(1, 300), st.just(1)), elements=st.integers(0, 40)))
def test_entropy_is_that_of_the_container(
    tokens: np.ndarray[tuple[int, int], np.dtype[np.int32]],
) -> None:
    header = bcdc.Header(fingerprint=bytes(6), sample_rate=16000, channels=1, coder=bcdc.Coder.RAW)
    container = bcdc.read(bcdc.write(header, tokens[None], len(tokens) * 200))
    statistics = token_statistics([tokens])
    assert statistics is not None
    assert statistics.entropy_bits == pytest.approx(container.entropy, abs=2e-4)
