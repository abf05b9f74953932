"""Every kind of bad file has an error class of its own (SPEC sections 3.1, 4, 5.5 and 10)."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bcdc
from bcdc.blocks import block_check
from bcdc.varint import check16, get_varint, put_varint


def make(seconds: float = 5.0, **fields: object) -> bytes:
    header = bcdc.Header(**{"fingerprint": b"abcdef", "sample_rate": 16000, **fields})  # type: ignore[arg-type]
    samples = int(seconds * 16000)
    random = np.random.default_rng(1)
    shape = (header.channels, header.frames_of(samples), header.geometry.codebooks)
    tokens = random.integers(0, min(header.geometry.codebook_sizes), shape)
    return bcdc.write(header, tokens, samples)


GOOD = make()


def with_header_checksum(data: bytes) -> bytes:
    return data[:4] + check16(data[6:18]) + data[6:]


def with_last_checksum(data: bytes) -> bytes:
    container: bytes = repair.with_trailer_check(data)
    return container


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize("data", [b"", b"BCDX" + GOOD[4:], b"RIFF", GOOD[1:], b"\0" * 99])
def test_foreign_files(data: bytes) -> None:
    with pytest.raises(bcdc.NotBcdcError):
        bcdc.read(data)


def test_every_cut_is_truncation() -> None:
    for length in range(1, len(GOOD)):
        with pytest.raises(bcdc.TruncatedError):
            bcdc.read(GOOD[:length])


def test_every_flipped_bit_is_noticed() -> None:
    for bit in range(8 * len(GOOD)):
        damaged = bytearray(GOOD)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(bcdc.BcdcError):
            bcdc.read(bytes(damaged))


@pytest.mark.parametrize("at", [4, 5, 6, 7, 8, 14, 17])
def test_a_damaged_header_is_corrupt_and_not_too_new(at: int) -> None:
    with pytest.raises(bcdc.CorruptError, match="header is damaged"):
        bcdc.read(replaced(GOOD, at, bytes([GOOD[at] ^ 0x55])))


@pytest.mark.parametrize(("at", "value"), [(6, 0), (6, 2), (6, 255), (7, 0x40), (7, 0xF0)])
def test_newer_files_are_unsupported(at: int, value: int) -> None:
    with pytest.raises(bcdc.UnsupportedError):
        bcdc.read(with_header_checksum(replaced(GOOD, at, bytes([value]))))


def test_a_coder_without_the_prior_that_it_needs_is_corrupt() -> None:
    with pytest.raises(bcdc.CorruptError, match="none where one is needed"):
        bcdc.read(with_header_checksum(replaced(GOOD, 7, b"\x30")))


@pytest.mark.parametrize("at", [14, 17])
def test_a_rate_or_channel_count_of_zero_is_corrupt(at: int) -> None:
    zeros = bytes(3 if at == 14 else 1)
    with pytest.raises(bcdc.CorruptError, match="no channels or a sample rate of 0"):
        bcdc.read(with_header_checksum(replaced(GOOD, at, zeros)))


def test_a_damaged_block_is_named() -> None:
    block = bcdc.read(GOOD).blocks[1]
    with pytest.raises(bcdc.CorruptError, match="block 1 is damaged") as caught:
        bcdc.read(replaced(GOOD, block.start + 9, bytes([GOOD[block.start + 9] ^ 4])))
    assert caught.value.block == 1


def test_swapped_blocks_are_noticed() -> None:
    first, second = bcdc.read(GOOD).blocks[:2]
    swapped = (
        GOOD[: first.code]
        + GOOD[second.code : second.end]
        + GOOD[first.code : first.end]
        + GOOD[second.end :]
    )
    with pytest.raises(bcdc.CorruptError, match="block 0 is damaged"):
        bcdc.read(with_last_checksum(swapped))


def test_a_missing_block_is_noticed() -> None:
    last = bcdc.read(GOOD).blocks[-1]
    with pytest.raises(bcdc.CorruptError, match="number of blocks"):
        bcdc.read(with_last_checksum(GOOD[: last.code] + GOOD[last.end :]))


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(bcdc.CorruptError, match="3 bytes follow"):
        bcdc.read(GOOD + b"abc")


def test_a_wrong_last_checksum_is_corrupt() -> None:
    with pytest.raises(bcdc.CorruptError, match="last checksum"):
        bcdc.read(GOOD[:-1] + bytes([GOOD[-1] ^ 1]))


def test_a_seek_table_that_does_not_fit_is_refused() -> None:
    data = make(40.0)
    entry = put_varint(16 * 265)
    at = data.rindex(entry)
    with pytest.raises(bcdc.CorruptError, match="seek table"):
        bcdc.read(with_last_checksum(replaced(data, at, put_varint(16 * 265 + 1))))


def test_padding_bits_must_be_zero() -> None:
    data = make(0.05)
    block = bcdc.read(data).blocks[0]
    payload = data[block.start : block.end - 1] + bytes([data[block.end - 1] | 1])
    changed = replaced(data, block.start - 4, block_check(payload, 0, short=True) + payload)
    container = bcdc.read(with_last_checksum(changed))
    with pytest.raises(bcdc.CorruptError, match="padding"):
        container.tokens()


def test_tokens_outside_the_codebook_are_corrupt() -> None:
    data = make(0.1, geometry=bcdc.Geometry(codebook_sizes=(300,)))
    block = bcdc.read(data).blocks[0]
    payload = b"\xff" * (block.end - block.start)
    changed = replaced(data, block.start - 4, block_check(payload, 0, short=True) + payload)
    container = bcdc.read(with_last_checksum(changed))
    with pytest.raises(bcdc.CorruptError, match="outside its codebook") as caught:
        container.tokens()
    assert caught.value.block == 0


def extended(extension: bytes, flags: int) -> bytes:
    """A file whose header extension is `extension`, all checksums right."""
    start = with_header_checksum(replaced(GOOD[:18], 7, bytes([flags])))
    body = put_varint(len(extension)) + extension + check16(extension)
    return with_last_checksum(start + body + GOOD[18:])


@pytest.mark.parametrize(
    ("extension", "flags"),
    [
        (b"", 1),
        (b"123", 1),
        (b"1234", 1),  # raw needs no prior
        (b"12345", 1),
        (b"", 2),
        (b"\x01a", 2),
        (b"\x01a\x02b", 2),
        (b"\x01a\x01\xff", 2),
        (b"\xc8\x01\x01\x80\x40", 4),  # the default geometry, spelled out
        (b"\xc8\x01", 4),
        (b"\xc8\x01\x00", 4),
        (b"\xc8\x01\x01\x01", 4),
        (b"\x00\x01\x02", 4),
        (b"\x80\x00\x01\x02", 4),
    ],
)
def test_malformed_extensions_are_corrupt(extension: bytes, flags: int) -> None:
    with pytest.raises(bcdc.CorruptError):
        bcdc.read(extended(extension, flags))


def test_an_extension_above_the_limit_is_refused_before_it_is_read() -> None:
    start = with_header_checksum(replaced(GOOD[:18], 7, bytes([2])))
    with pytest.raises(bcdc.LimitError, match="65536"):
        bcdc.read(start + put_varint(65537))


def test_a_sample_rate_above_the_limit_is_refused() -> None:
    fast = replaced(GOOD, 14, (768_001).to_bytes(3, "little"))
    with pytest.raises(bcdc.LimitError, match="768001 Hz"):
        bcdc.read(with_header_checksum(fast))


def test_a_block_above_the_limit_is_refused_before_it_is_read() -> None:
    geometry = put_varint(1) + bytes([32]) + put_varint(65536) * 32
    many_channels = replaced(extended(geometry, 4), 17, b"\xff")
    with pytest.raises(bcdc.LimitError, match="16 MiB"):
        bcdc.read(with_header_checksum(many_channels))


def test_a_coded_block_of_too_many_tokens_is_refused() -> None:
    """A thousand times fewer bytes than tokens, so that bytes alone are no limit."""
    geometry = put_varint(1) + bytes([32]) + put_varint(2) * 32
    many = replaced(extended(geometry, 4), 7, bytes([4 | bcdc.Coder.ADAPTIVE << 4]))
    with pytest.raises(bcdc.LimitError, match="limit of tokens"):
        bcdc.read(with_header_checksum(replaced(many, 17, b"\x02")))


def test_a_declared_length_above_the_limit_is_refused() -> None:
    end = bcdc.read(GOOD).blocks[-1].end
    body = put_varint((1 << 56) - 1) + b"\0\0"
    data = GOOD[:end] + b"\0" + body + put_varint(len(body))[::-1] + b"\0" * 4
    with pytest.raises(bcdc.LimitError):
        bcdc.read(with_last_checksum(data))


@pytest.mark.parametrize("code", [b"\xf0\x80\x00", b"\xf6\x01", b"\xff\xff\x7f", b"\xf0\x90\x00"])
def test_length_codes_that_are_not_canonical_are_corrupt(code: bytes) -> None:
    at = bcdc.read(GOOD).blocks[0].code
    with pytest.raises(bcdc.CorruptError):
        bcdc.read(GOOD[:at] + code + b"x" * 400)


@given(st.integers(0, (1 << 56) - 1))
def test_varints_round_trip(value: int) -> None:
    data = put_varint(value)
    assert get_varint(b"ab" + data + b"c", 2) == (value, 2 + len(data))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", bcdc.TruncatedError),
        (b"\x80", bcdc.TruncatedError),
        (b"\x80\x00", bcdc.CorruptError),
        (b"\xff" * 8 + b"\x01", bcdc.CorruptError),
    ],
)
def test_bad_varints(data: bytes, error: type[bcdc.BcdcError]) -> None:
    with pytest.raises(error):
        get_varint(data, 0)


def test_varints_out_of_range_are_the_callers_fault() -> None:
    for value in (-1, 1 << 56):
        with pytest.raises(ValueError):
            put_varint(value)


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


repair = _load("repair")
SMALL = bcdc.Geometry(hop=16000, codebook_sizes=(300, 5))
"""Two frames of 14 bits a second and channel, so that many blocks are few bytes."""
PRIOR = bcdc.read_prior(_load("conftest").toy_prior_bytes(SMALL))
MAX_TOKENS = 1 << 12
"""What is decoded of one file here: it takes some microseconds each."""
MAX_SECONDS, MAX_MEMORY = 10.0, 200 << 20
PROCESS = Path("/proc/self")


def status(name: str) -> int:
    """Memory of this process in bytes, as Linux calls it; 0 elsewhere."""
    if not PROCESS.is_dir():
        return 0
    lines = (PROCESS / "status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def forget_peak() -> int:
    """Count the peak (VmHWM) from now on: tests that ran before may have used more. Returns the
    bytes that are in use."""
    if PROCESS.is_dir():
        (PROCESS / "clear_refs").write_text("5")
    return status("VmRSS")


def tokens_or_error(data: bytes) -> bool:
    """Any bytes give tokens or an error of ours, and nothing else, within these bounds. Whether
    it was tokens."""
    started, before = time.process_time(), forget_peak()
    try:
        container = bcdc.read(data)
        header = container.header
        count = container.frames * header.channels * header.geometry.codebooks
        if count > MAX_TOKENS:
            return False
        tokens = container.tokens(prior=PRIOR)
    except bcdc.BcdcError:
        return False
    finally:
        assert time.process_time() - started < MAX_SECONDS
        assert status("VmHWM") - before < MAX_MEMORY
    assert tokens.shape == (header.channels, container.frames, header.geometry.codebooks)
    assert ((tokens >= 0) & (tokens < np.array(header.geometry.codebook_sizes))).all()
    return True


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
@example(GOOD[:18])
def test_any_bytes_give_tokens_or_our_errors(data: bytes) -> None:
    tokens_or_error(data)
    tokens_or_error(b"BCDC" + data)
    if len(data) >= 18:
        tokens_or_error(with_header_checksum(b"BCDC" + data[4:]))
        tokens_or_error(repair.repaired(data))


Repair = Callable[[bytes], bytes]
HEADERS = [
    bcdc.header_for(
        bcdc.Header(fingerprint=PRIOR.model, sample_rate=16000, channels=channels, geometry=SMALL),
        coder,
        PRIOR,
    )
    for coder in bcdc.Coder
    for channels in (1, 2)
]


def a_file(header: bcdc.Header) -> bytes:
    tokens = np.random.default_rng(1).integers(0, 4, (header.channels, 21, 2), np.int32)
    return bcdc.write(header, tokens, 21 * 16000, PRIOR if header.coder.needs_prior else None)


FILES = [GOOD, *map(a_file, HEADERS)]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(FILES),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6),
    st.sampled_from([bytes, with_header_checksum, repair.repaired, repair.repaired]),
    st.binary(max_size=4),
)
def test_any_changed_file_gives_tokens_or_our_errors(
    good: bytes, changes: list[tuple[int, int]], mend: Repair, tail: bytes
) -> None:
    data = bytearray(good)
    for at, value in changes:
        data[at % len(data)] = value
    tokens_or_error(with_last_checksum(mend(bytes(data))))
    tokens_or_error(mend(bytes(data)))
    tokens_or_error(mend(bytes(data)) + tail)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(HEADERS),
    st.lists(st.binary(max_size=12), max_size=5),
    st.integers(0, 40 * 16000),
)
def test_any_payloads_give_tokens_or_our_errors(
    header: bcdc.Header, payloads: list[bytes], samples: int
) -> None:
    """Every checksum is right: only the coders stand between these bytes and the tokens."""
    tokens_or_error(repair.with_payloads(header, payloads, samples))


def test_repaired_files_reach_the_tokens() -> None:
    """Otherwise the properties above would show little."""
    for good in FILES[1:]:
        block = bcdc.read(good).blocks[0]
        changed = repair.repaired(replaced(good, block.start, bytes([good[block.start] ^ 0x40])))
        assert repair.repaired(good) == good and changed != good
        assert bcdc.read(changed).header == bcdc.read(good).header
    random = np.random.default_rng(0)
    decoded = 0
    for header in HEADERS[2:]:
        for _ in range(10):
            payloads = [random.bytes(int(random.integers(0, 6))) for _ in range(3)]
            decoded += tokens_or_error(repair.with_payloads(header, payloads, 20 * 16000))
    assert decoded > 20


def test_every_byte_of_a_file_may_come_alone() -> None:
    """Byte by byte, and byte by byte with what is there made whole."""
    for good in FILES[1:]:
        for length in range(len(good)):
            with pytest.raises(bcdc.BcdcError):
                bcdc.read(good[:length])
            tokens_or_error(repair.repaired(good[:length]))
