"""Audio files are read to their end, or it is said what is missing."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bigcodec_models.audio.audio_file import AudioFile, Samples
from bigcodec_models.audio.ogg import ogg_checksum

FORMATS = {
    "wav": {},
    "flac": {},
    "aiff": {},
    "caf": {},
    "au": {},
    "w64": {},
    "rf64": {"format": "RF64"},
    "sph": {"format": "NIST"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
}
CHAINS = ("flac", "ogg", "opus", "mp3")
LENGTH = 20000


class Files(dict[str, bytes]):
    """Contents by kind; hypothesis prints arguments of a test that fails."""

    def __repr__(self) -> str:
        return "files"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> Files:
    """The same speech in every format."""
    samples, rate = soundfile.read(speech, dtype="int16", frames=LENGTH)
    folder = tmp_path_factory.mktemp("files")
    for kind, options in FORMATS.items():
        soundfile.write(folder / kind, samples, rate, **{"format": kind.upper(), **options})
    return Files({kind: (folder / kind).read_bytes() for kind in FORMATS})


def read(path: Path, content: bytes) -> tuple[Samples, str | None]:
    """The samples of a file (n, channels), and what is said of the rest."""
    path.write_bytes(content)
    with AudioFile(path) as file:
        blocks = list(file.blocks())
        samples = np.concatenate([np.zeros((0, file.channels), np.float32), *blocks])
        assert file.frames in (None, len(samples)) or file.fault is not None
        return samples, file.fault


@pytest.mark.parametrize("kind", FORMATS)
def test_a_whole_file_has_no_fault(tmp_path: Path, files: Files, kind: str) -> None:
    samples, fault = read(tmp_path / "a", files[kind])
    assert fault is None and len(samples) == LENGTH
    expected, _ = soundfile.read(io.BytesIO(files[kind]), dtype="float32", always_2d=True)
    # soundfile seeks after it has read, which changes what mpg123 gives by a few units of 16 bits.
    assert np.allclose(samples, expected, rtol=0, atol=1e-3 if kind == "mp3" else 0)


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("links", [2, 3])
def test_a_chain_is_read_to_its_last_link(
    tmp_path: Path, files: Files, kind: str, links: int
) -> None:
    alone, _ = read(tmp_path / "a", files[kind])
    chain, fault = read(tmp_path / "a", files[kind] * links)
    assert fault is None
    assert np.array_equal(chain, np.concatenate([alone] * links))


def test_mp3s_with_tags_are_chains_too(tmp_path: Path, files: Files) -> None:
    id3v2 = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)
    id3v1 = b"TAG".ljust(128, b" ")
    for between in (b"", id3v1, id3v2, id3v1 + id3v2, bytes(1000)):
        content = id3v2 + files["mp3"] + between + files["mp3"] + id3v1
        samples, fault = read(tmp_path / "a", content)
        assert fault is None and len(samples) == 2 * LENGTH


@pytest.mark.parametrize("kind", CHAINS)
def test_a_chain_of_other_rates_stops_with_a_line(tmp_path: Path, files: Files, kind: str) -> None:
    other = io.BytesIO()
    options = {"format": kind.upper(), **FORMATS[kind]}
    soundfile.write(other, np.zeros((9000, 2)), 48000 if kind == "opus" else 32000, **options)
    samples, fault = read(tmp_path / "a", files[kind] + other.getvalue())
    assert len(samples) == LENGTH and fault is not None
    assert fault.startswith("changes its rate or channels at byte")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(sorted(FORMATS)), part=st.floats(0.02, 0.999), links=st.integers(1, 2))
def test_a_file_cut_anywhere_is_never_called_whole(
    tmp_path: Path, files: Files, kind: str, part: float, links: int
) -> None:
    links = links if kind in CHAINS else 1
    content = files[kind] * links
    try:
        samples, fault = read(tmp_path / "a", content[: int(part * len(content))])
    except soundfile.LibsndfileError:
        return
    # Half of a chain of two is a whole file.
    assert fault is not None or len(samples) in (LENGTH * links, LENGTH)
    assert len(samples) <= LENGTH * links


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(["ogg", "opus"]), place=st.floats(0, 1, exclude_max=True))
def test_a_damaged_page_is_never_passed_over(
    tmp_path: Path, files: Files, kind: str, place: float
) -> None:
    content = bytearray(files[kind])
    content[int(place * len(content))] ^= 0x10
    try:
        _, fault = read(tmp_path / "a", bytes(content))
    except soundfile.LibsndfileError:
        return
    assert fault is not None


def with_data_size(wav: bytes, size: int) -> bytes:
    place = wav.index(b"data") + 4
    return wav[:place] + struct.pack("<I", size) + wav[place + 4 :]


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFDB])
def test_a_wav_whose_recorder_was_killed_is_read_in_full(
    tmp_path: Path, files: Files, size: int
) -> None:
    whole, _ = read(tmp_path / "a", files["wav"])
    samples, fault = read(tmp_path / "a", with_data_size(files["wav"], size))
    assert fault is None and np.array_equal(samples, whole)


@pytest.mark.parametrize("tail", [b"", b"LIST\x04\x00\x00\x00INFO", b"cue \x00\x00\x00\x00"])
def test_a_wav_of_a_header_alone_is_empty(tmp_path: Path, files: Files, tail: bytes) -> None:
    header = files["wav"][: files["wav"].index(b"data") + 8]
    samples, fault = read(tmp_path / "a", with_data_size(header, 0) + tail)
    assert fault is None and len(samples) == 0


@pytest.mark.parametrize("kind", ["wav", "aiff", "caf", "au", "w64", "rf64", "sph"])
def test_bytes_after_the_audio_are_named(tmp_path: Path, files: Files, kind: str) -> None:
    samples, fault = read(tmp_path / "a", files[kind] + bytes(range(256)) * 40)
    assert fault is not None and "after its audio that are not read" in fault
    assert len(samples) >= LENGTH


def test_chunks_after_the_audio_are_no_fault(tmp_path: Path, files: Files) -> None:
    tags = b"LIST\x0c\x00\x00\x00INFOINAM\x00\x00\x00\x00"
    samples, fault = read(tmp_path / "a", files["wav"] + tags + b"id3 \x02\x00\x00\x00ab")
    assert fault is None and len(samples) == LENGTH


def without_length(flac: bytes) -> bytes:
    """As a program writes it to a pipe: STREAMINFO says 0 samples (RFC 9639, 8.2)."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


def test_flac_of_unknown_length_is_read_in_full(tmp_path: Path, files: Files) -> None:
    whole, _ = read(tmp_path / "a", files["flac"])
    content = without_length(files["flac"])
    samples, fault = read(tmp_path / "a", content)
    assert fault is None and np.array_equal(samples, whole)
    samples, fault = read(tmp_path / "a", content + files["flac"] + content)
    assert fault is None and len(samples) == 3 * LENGTH
    samples, fault = read(tmp_path / "a", content[: len(content) // 2])
    assert fault is not None and 0 < len(samples) < LENGTH


def test_the_checksum_of_a_page_is_that_of_rfc_3533(files: Files) -> None:
    """Bit by bit, as appendix A of the RFC has it."""
    page = bytearray(files["opus"][:47])
    stored = int.from_bytes(page[22:26], "little")
    page[22:26] = bytes(4)
    register = 0
    for byte in page:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register >> 31 else 0)) & 0xFFFFFFFF
    assert ogg_checksum(bytes(page)) == register == stored


def test_files_that_are_all_marks_take_no_time_to_speak_of(tmp_path: Path, files: Files) -> None:
    """Bounded by counting, not by a clock: the examination gives up."""
    for kind, mark in {"ogg": b"OggS", "mp3": b"\xff\x00ID3", "flac": b"fLaC\0\0\0\x22"}.items():
        content = files[kind] + mark * (400_000 // len(mark))
        _, fault = read(tmp_path / "a", content)
        assert fault is not None


@pytest.mark.parametrize("kind", soundfile.available_formats())
def test_formats_whose_end_is_not_examined_say_so(tmp_path: Path, kind: str) -> None:
    path, subtype = tmp_path / "audio", soundfile.default_subtype(kind)
    if kind in ("RAW", "SD2"):  # without a header, and with one in a file of its own
        return
    unchecked = {"IRCAM", "SVX", "PAF", "PVF", "AVR", "MAT4", "MAT5", "MPC2K", "HTK", "SDS"}
    unchecked |= {"WVE", "XI"}
    soundfile.write(path, np.zeros(8000), 8000, format=kind, subtype=subtype)
    with AudioFile(path) as file:
        assert (file.doubt is None) == (kind not in unchecked)
        assert sum(len(block) for block in file.blocks()) >= 8000 and file.fault is None
