"""MP3 with and without a frame that declares the length."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bigcodec_models.audio.audio_file import AudioFile, Samples
from bigcodec_models.audio.content import Content
from bigcodec_models.audio.mpeg import examine_mpeg
from bigcodec_models.data.index import scan

Read = Callable[[bytes], tuple[Samples, str | None]]
RATE, FRAME, DELAY = 16000, 576, 529
"""Hertz; samples a frame of MPEG 2, layer 3; samples that mpg123 leaves out, its own delay."""


def noise_and_silence(seconds: int = 6) -> Samples:
    """Noise and silence in turns, a second of each: frames of very different lengths."""
    noise = np.random.default_rng(0).standard_normal(RATE * seconds).astype(np.float32) * 0.1
    return np.asarray(noise * (np.arange(len(noise)) // RATE % 2 == 0), np.float32)


def mp3(samples: Samples, rate: int = RATE, mode: str = "VARIABLE") -> bytes:
    """An MP3 file, which begins with an Info frame."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    return file.getvalue()


def without_info(content: bytes) -> bytes:
    """Beginning with the second frame."""
    return content[content.index(content[:2], 2) :]


def frame_count(content: bytes) -> int:
    """As many frames as the file declares in its Info frame."""
    place = max(content.find(b"Info", 0, 100), content.find(b"Xing", 0, 100))
    return int.from_bytes(content[place + 8 : place + 12], "big")


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_mp3_that_does_not_declare_its_length_is_read_in_full(read: Read, mode: str) -> None:
    content = mp3(noise_and_silence(), mode=mode)
    samples, fault = read(without_info(content))
    assert fault is None and len(samples) == frame_count(content) * FRAME - DELAY
    whole, _ = read(content)
    assert len(whole) == RATE * 6
    assert np.allclose(
        samples[-FRAME * 20 : -FRAME * 10].std(), whole[-RATE // 2 :].std(), rtol=0.1
    )


def test_frames_beyond_what_is_declared_are_read(read: Read) -> None:
    content = mp3(noise_and_silence())
    alone, _ = read(without_info(content))
    samples, fault = read(content + without_info(content))
    assert fault is None and len(samples) == RATE * 6 + len(alone)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_change_of_rate_without_an_info_frame_is_named(read: Read, channels: int) -> None:
    first = without_info(mp3(noise_and_silence()))
    other = mp3(np.zeros((20000, channels), np.float32), 32000 if channels == 1 else RATE)
    alone, _ = read(first)
    samples, fault = read(first + without_info(other))
    assert fault == f"changes its rate or channels at byte {len(first)}"
    assert len(samples) == len(alone)


def test_a_stream_that_begins_in_the_middle_is_read_from_there(read: Read) -> None:
    content = without_info(mp3(noise_and_silence(), mode="CONSTANT"))
    middle = content[content.index(content[:3], len(content) // 3) :]
    samples, fault = read(middle)
    assert fault is None and RATE * 3 < len(samples) < RATE * 5


def test_fewer_samples_than_there_are_frames_is_a_fault(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If libsndfile ends at its guess nevertheless."""
    monkeypatch.setattr("bigcodec_models.audio.mpeg._info_frame", lambda content, run: b"")
    samples, fault = read(without_info(mp3(noise_and_silence())))
    assert len(samples) < RATE * 5 and fault is not None and "was cut short" in fault


def test_a_length_that_is_not_declared_is_measured(tmp_path: Path) -> None:
    content = mp3(noise_and_silence())
    (tmp_path / "a.mp3").write_bytes(without_info(content))
    (tmp_path / "b.mp3").write_bytes(content)
    guessed, declared = scan(tmp_path)
    assert (guessed.frames, guessed.sequential) == (frame_count(content) * FRAME - DELAY, True)
    assert (declared.frames, declared.sequential) == (RATE * 6, False)
    with AudioFile(guessed.path) as file:
        assert file.frames is None


def test_every_frame_is_within_a_part() -> None:
    content = mp3(noise_and_silence())
    layout = examine_mpeg(Content(io.BytesIO(content * 2), 2 * len(content)))
    assert layout is not None
    assert [(part.start, part.stop) for part in layout.parts] == [
        (0, len(content)),
        (len(content), 2 * len(content)),
    ]


ID3V1 = b"TAG".ljust(128, b"a")
APE_ITEM = b"\x05\x00\x00\x00\x00\x00\x00\x00Title\x00hello"
LYRICS = b"LYRICSBEGININD0000210LYR00005hello"
TAGS = {
    "APEv1": APE_ITEM + b"APETAGEX" + struct.pack("<4I8x", 1000, len(APE_ITEM) + 32, 1, 0),
    "Lyrics3": LYRICS[:11] + b"words" * 100 + b"LYRICSEND",
    "Lyrics3v2": LYRICS + b"%06dLYRICS200" % len(LYRICS),
}


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("end", [b"", ID3V1])
def test_tags_behind_the_audio_are_no_fault(read: Read, tag: str, end: bytes) -> None:
    content = mp3(noise_and_silence())
    for audio in (content, without_info(content)):
        alone, _ = read(audio)
        samples, fault = read(audio + TAGS[tag] + end)
        assert fault is None and len(samples) == len(alone)
        _, fault = read(audio[: len(audio) - 100] + TAGS[tag] + end)
        assert fault is not None


@pytest.mark.parametrize("tag", TAGS)
def test_tags_between_two_files_are_no_fault(read: Read, tag: str) -> None:
    content = mp3(noise_and_silence())
    samples, fault = read((content + TAGS[tag] + ID3V1) * 2)
    assert fault is None and len(samples) == 2 * RATE * 6


def with_vbri(content: bytes, declared: int) -> bytes:
    """Beginning with a VBRI frame, as of Fraunhofer, in place of the Info frame."""
    tag = b"VBRI" + struct.pack(
        ">HHHIIHHHH", 1, DELAY, 75, len(content), declared, 1, 1, 2, declared
    )
    size = content.index(content[:2], 2)
    frame = content[:4].ljust(36, b"\0") + tag
    return frame.ljust(size, b"\0")[:size] + without_info(content)


def test_a_vbri_frame_is_no_audio_and_declares_the_length(read: Read) -> None:
    content = mp3(noise_and_silence(), mode="CONSTANT")
    count, size = frame_count(content), len(without_info(content)) // frame_count(content)
    file = with_vbri(content, count)
    samples, fault = read(file)
    assert fault is None and np.array_equal(samples, read(without_info(content))[0])
    assert read(with_vbri(content, count + 1))[1] is None  # it may count itself
    joined, fault = read(file + file)
    assert fault is None and len(joined) == 2 * len(samples)
    start, fault = read(file[: -10 * size])
    assert fault == f"was cut short: {count - 10} of its {count} frames are there"
    assert len(start) == len(samples) - 10 * FRAME


KBPS = {1: (448, 192, 64), 2: (384, 192, 64)}
BITRATE_INDEX = {(1, 448): 14, (1, 192): 6, (1, 64): 2, (2, 384): 14, (2, 192): 10, (2, 64): 4}
"""Of MPEG 1, at 48 kHz, where all frames of a bit rate have the same size."""


def silence(layer: int, kbps: int, frames: int) -> bytes:
    """Frames of MPEG 1, layer 1 or 2, that allocate no bits to any subband."""
    samples = {1: 384, 2: 1152}[layer]
    header = bytes([0xFF, 0xF9 | (4 - layer) << 1, BITRATE_INDEX[layer, kbps] << 4 | 1 << 2, 0])
    return header.ljust(samples // 8 * kbps * 1000 // 48000, b"\0") * frames


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("order", [(0,), (2,), (0, 2), (2, 0), (0, 1, 2, 2), (1, 0, 2)])
def test_layers_1_and_2_are_read_in_full_whatever_their_bit_rates(
    read: Read, layer: int, order: tuple[int, ...]
) -> None:
    samples = {1: 384, 2: 1152}[layer]
    pieces = [silence(layer, KBPS[layer][k], 300) for k in order]
    content, count = b"".join(pieces), 300 * len(order)
    for file in (content, b"ID3\4\0\0\0\0\0\12" + bytes(10) + content + b"TAG" + bytes(125)):
        got, fault = read(file)
        assert fault is None and len(got) == count * samples
    got, fault = read(content[:-3])
    assert fault == "was cut short: its last frame is not complete"
    assert len(got) == (count - 1) * samples
    got, fault = read(content + b"something else " * 99)
    assert (
        fault is not None
        and "that are not MP3 audio" in fault
        and len(got) >= (count - 1) * samples
    )
