"""WAV as a stream, checked against soundfile in both directions."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bigcodec_cli.audio.channels import Samples
from bigcodec_cli.audio.pcm import Encoding, decode, encode
from bigcodec_cli.audio.wav_stream import FrameReader, WavFormat, WavWriter, read_header

SUBTYPES = {
    Encoding.U8: "PCM_U8",
    Encoding.S16: "PCM_16",
    Encoding.S24: "PCM_24",
    Encoding.S32: "PCM_32",
    Encoding.F32: "FLOAT",
    Encoding.F64: "DOUBLE",
}
TAGS = (("title", "Träume"), ("artist", "x"))


def noise(channels: int, samples: int = 1001) -> Samples:
    wave = np.random.default_rng(channels).uniform(-0.9, 0.9, (channels, samples))
    return wave.astype(np.float32)


def written(wave: Samples, encoding: Encoding) -> bytes:
    file = io.BytesIO()
    channels, frames = wave.shape
    form = WavFormat(rate=44100, channels=channels, encoding=encoding, frames=frames, tags=TAGS)
    writer = WavWriter(file, form)
    writer.write(wave[:, :300])
    writer.write(wave[:, 300:])
    writer.finish()
    return file.getvalue()


def read(data: bytes) -> tuple[WavFormat, Samples]:
    file = io.BytesIO(data)
    form, _ = read_header(file)
    assert form is not None
    blocks = [*FrameReader(file, form.encoding, form.channels, form.frames)]
    return form, np.concatenate([np.zeros((form.channels, 0), np.float32), *blocks], axis=1)


@pytest.mark.parametrize("encoding", list(Encoding))
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_soundfile_reads_what_is_written(encoding: Encoding, channels: int) -> None:
    wave = noise(channels)
    with soundfile.SoundFile(io.BytesIO(written(wave, encoding))) as file:
        assert (file.samplerate, file.frames, file.subtype) == (44100, 1001, SUBTYPES[encoding])
        assert (file.title, file.artist) == ("Träume", "x")
        samples_read = file.read(dtype="float64", always_2d=True).T
    step = 0 if encoding.is_float else 0.5 / (1 << (8 * encoding.size - 1))
    assert np.abs(samples_read - wave).max() <= step + 1e-7


@pytest.mark.parametrize("encoding", list(Encoding))
def test_it_reads_what_soundfile_writes(encoding: Encoding) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(3).T, 22050, format="WAV", subtype=SUBTYPES[encoding])
    form, samples_read = read(file.getvalue())
    file.seek(0)
    assert (form.rate, form.channels, form.frames) == (22050, 3, 1001)
    assert np.array_equal(samples_read, soundfile.read(file, dtype="float32")[0].T)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFF000])
def test_an_unknown_length_means_to_the_end(size: int) -> None:
    data = written(noise(1), Encoding.S16)
    start = data.index(b"data") + 4
    form, samples_read = read(data[:start] + struct.pack("<I", size) + data[start + 4 :])
    assert form.frames is None and form.tags == TAGS
    assert samples_read.shape == (1, 1001)


def test_nothing_after_the_samples_is_taken_for_samples() -> None:
    data = written(noise(1), Encoding.U8) + b"LIST\x08\0\0\0INFOabcd"
    assert np.array_equal(read(data)[1], read(data[:-16])[1])


def test_more_than_4_gib_is_rf64() -> None:
    file = io.BytesIO()
    WavWriter(file, WavFormat(rate=48000, channels=2, encoding=Encoding.S24, frames=1 << 30))
    assert file.getvalue()[:4] == b"RF64"
    form, _ = read_header(io.BytesIO(file.getvalue()))
    assert form is not None and form.frames == 1 << 30
    with soundfile.SoundFile(io.BytesIO(file.getvalue() + bytes(600))) as opened:
        assert (opened.format, opened.frames) in (("RF64", 1 << 30), ("RF64", 100))


def test_integers_clip_and_floats_do_not() -> None:
    loud = np.array([[1.5, -1.5, 1.0, -1.0]], np.float32)
    assert np.frombuffer(encode(loud, Encoding.S16), "<i2").tolist() == [
        32767,
        -32768,
        32767,
        -32768,
    ]
    assert np.array_equal(decode(encode(loud, Encoding.F32), Encoding.F32, 1), loud)


@pytest.mark.parametrize("encoding", [Encoding.U8, Encoding.S16, Encoding.S24])
def test_integers_come_back_exactly(encoding: Encoding) -> None:
    data = np.random.default_rng(0).bytes(encoding.size * 2 * 500)
    assert encode(decode(data, encoding, 2), encoding) == data


@settings(max_examples=200)
@given(st.binary(max_size=80), st.integers(0, 60))
def test_any_bytes_are_a_format_or_none(junk: bytes, keep: int) -> None:
    """Junk, whole or behind the true beginning of a header."""
    for data in (junk, written(noise(2, 3), Encoding.S24)[:keep] + junk):
        form, taken = read_header(io.BytesIO(data))
        assert data.startswith(taken)
        if form is not None:
            assert form.rate > 0 and form.channels > 0
