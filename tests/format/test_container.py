"""Round trips, sizes and the golden bytes of the container (SPEC sections 3 to 6)."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bcdc

FINGERPRINT = bytes.fromhex("0123456789ab")


def write(header: bcdc.Header, tokens: bcdc.Tokens, samples: int, piece: int = 10**9) -> bytes:
    """A container's bytes, the tokens written in pieces of `piece` frames."""
    file = io.BytesIO()
    with bcdc.Writer(file, header) as writer:
        for start in range(0, tokens.shape[1], piece):
            writer.write(tokens[:, start : start + piece])
        writer.finish(samples)
    return file.getvalue()


def test_tokens_at_once_or_in_pieces() -> None:
    header = bcdc.Header(fingerprint=FINGERPRINT, sample_rate=16000, channels=2)
    tokens = random_tokens(header, 40_000)
    assert bcdc.write(header, tokens, 40_000) == write(header, tokens, 40_000, piece=7)
    with pytest.raises(ValueError, match="40001 samples need 201 frames, but 200 were written"):
        bcdc.write(header, tokens, 40_001)


def random_tokens(header: bcdc.Header, samples: int, seed: int = 0) -> bcdc.Tokens:
    """Uniform tokens that fit `samples` samples."""
    random = np.random.default_rng(seed)
    frames = header.frames_of(samples)
    columns = [
        random.integers(0, size, (header.channels, frames))
        for size in header.geometry.codebook_sizes
    ]
    return np.stack(columns, axis=2).astype(np.int32)


geometries = st.builds(
    bcdc.Geometry,
    hop=st.integers(40, 32000),
    codebook_sizes=st.lists(st.integers(2, 65536), min_size=1, max_size=4).map(tuple),
)
with_f0 = st.builds(
    lambda geometry: bcdc.Geometry(
        hop=geometry.hop, codebook_sizes=(*geometry.codebook_sizes, bcdc.F0_BINS), f0=True
    ),
    geometries,
)
headers = st.builds(
    bcdc.Header,
    fingerprint=st.binary(min_size=6, max_size=6),
    sample_rate=st.integers(1, 768_000),
    channels=st.integers(1, 4),
    geometry=st.one_of(st.just(bcdc.Geometry()), geometries, with_f0),
    tags=st.lists(st.tuples(st.text(max_size=9), st.text(max_size=30)), max_size=3).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(headers, st.floats(0, 9), st.integers(1, 400), st.randoms(use_true_random=False))
def test_any_tokens_come_back(header, seconds, piece, random) -> None:  # type: ignore[no-untyped-def]
    samples = int(seconds * header.sample_rate)
    tokens = random_tokens(header, samples, random.randrange(1 << 30))
    container = bcdc.read(write(header, tokens, samples, piece))
    assert container.header == header
    assert container.num_samples == samples
    assert np.array_equal(container.tokens(), tokens)
    first = random.randint(0, container.frames)
    last = random.randint(first, container.frames)
    assert np.array_equal(container.tokens(first, last), tokens[:, first:last])


def test_the_bytes_do_not_depend_on_how_tokens_were_handed_over() -> None:
    header = bcdc.Header(fingerprint=FINGERPRINT, sample_rate=16000, channels=2)
    tokens = random_tokens(header, 16000 * 7)
    whole = write(header, tokens, 16000 * 7)
    assert all(write(header, tokens, 16000 * 7, piece) == whole for piece in (1, 7, 160, 161))


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000, 192000])
def test_one_second_carries_at_most_34_bytes_beside_its_tokens(rate: int) -> None:
    header = bcdc.Header(fingerprint=FINGERPRINT, sample_rate=rate)
    data = write(header, random_tokens(header, rate), rate)
    assert len(data) - 80 * 13 // 8 <= 34


def test_ten_minutes_carry_at_most_2_1_percent_beside_their_tokens() -> None:
    header = bcdc.Header(fingerprint=FINGERPRINT, sample_rate=44100)
    samples = 600 * 44100
    data = write(header, random_tokens(header, samples), samples)
    tokens = 600 * 80 * 13 // 8
    assert (len(data) - tokens) / tokens <= 0.021


def test_golden_bytes() -> None:
    """Bytes of this layout stay readable for ever, and writers agree on them (SPEC 3 to 6)."""
    header = bcdc.Header(fingerprint=FINGERPRINT, sample_rate=44100, tags=(("title", "Grüße"),))
    tokens = np.array([[[0], [8191], [4096], [1]]], dtype=np.int32)
    data = write(header, tokens, 2205)
    assert (
        data.hex()
        == (
            "42434443" + "2e65"  # magic, check16
            "0102" + "0123456789ab"  # version 1; coder raw and flag tags; model
            "44ac00" + "01"  # 44100 Hz, one channel
            "0e" + "057469746c65" + "074772c3bcc39f65" + "d946"  # extension: name, value, check16
            "fe00" + "5e921524" + "0007ffe0000010"  # block: 253 short of 260, check32, four tokens
            "00" + "9d11" + "0020" + "04" + "e616e0dd"  # end, samples, 2 bits, length, CRC-32
        )
    )
    container = bcdc.read(data)
    assert container.header == header
    assert container.tokens().ravel().tolist() == [0, 8191, 4096, 1]


def test_no_samples_no_blocks() -> None:
    header = bcdc.Header(fingerprint=FINGERPRINT, sample_rate=8000)
    container = bcdc.read(write(header, random_tokens(header, 0), 0))
    assert (container.frames, container.blocks, container.entropy) == (0, (), 0.0)
    assert container.tokens().shape == (1, 0, 1)


def test_entropy_is_that_of_the_counts() -> None:
    header = bcdc.Header(fingerprint=FINGERPRINT, sample_rate=16000)
    tokens = (np.arange(160, dtype=np.int32) % 4).reshape(1, 160, 1)
    assert bcdc.read(write(header, tokens, 32000)).entropy == 2.0


@pytest.mark.parametrize(
    ("tokens", "error"),
    [
        (np.zeros((1, 4, 1)), TypeError),
        (np.zeros((2, 4, 1), int), ValueError),
        (np.zeros((1, 4), int), ValueError),
        (np.full((1, 4, 1), 8192), ValueError),
        (np.full((1, 4, 1), -1), ValueError),
    ],
)
def test_wrong_tokens_are_the_callers_fault(tokens: bcdc.Tokens, error: type[Exception]) -> None:
    writer = bcdc.Writer(io.BytesIO(), bcdc.Header(fingerprint=FINGERPRINT, sample_rate=16000))
    with pytest.raises(error):
        writer.write(tokens)


def test_finish_wants_the_samples_of_the_frames_and_only_once() -> None:
    writer = bcdc.Writer(io.BytesIO(), bcdc.Header(fingerprint=FINGERPRINT, sample_rate=16000))
    writer.write(np.zeros((1, 4, 1), dtype=np.int32))
    with pytest.raises(ValueError, match="need 5 frames"):
        writer.finish(801)
    writer.finish(800)
    with pytest.raises(ValueError, match="already finished"):
        writer.finish(800)
    with pytest.raises(ValueError, match="already finished"):
        writer.write(np.zeros((1, 1, 1), dtype=np.int32))


@pytest.mark.parametrize(
    "fields",
    [
        {"fingerprint": b"short"},
        {"sample_rate": 0},
        {"sample_rate": 768_001},
        {"channels": 0},
        {"channels": 256},
        {"prior_fingerprint": b"1234"},
        {"coder": bcdc.Coder.PRIOR},
        {"coder": bcdc.Coder.PRIOR, "prior_fingerprint": b"123"},
    ],
)
def test_impossible_headers_cannot_be_made(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        bcdc.Header(**{"fingerprint": FINGERPRINT, "sample_rate": 16000, **fields})  # type: ignore[arg-type]


def test_too_many_tags_are_refused() -> None:
    header = bcdc.Header(
        fingerprint=FINGERPRINT, sample_rate=16000, tags=(("comment", "x" * 70000),)
    )
    with pytest.raises(ValueError, match="tags are too long"):
        bcdc.Writer(io.BytesIO(), header)
