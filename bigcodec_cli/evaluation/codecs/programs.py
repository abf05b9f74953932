"""Baselines that are programs: Opus and Codec 2."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import soundfile

from bigcodec_cli.audio.pcm import Encoding, decode, to_int16
from bigcodec_cli.evaluation.codecs.base import CodecInfo, Coded, CodingError
from bigcodec_cli.evaluation.config import BaselineName
from bigcodec_cli.evaluation.metrics.alignment import align
from bigcodec_cli.evaluation.metrics.waveform import as_stored, change_rate
from bigcodec_cli.evaluation.packages import MissingError
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE

_CODEC2_RATE = 8000
_TIMEOUT_SECONDS = 600


class Opus:
    """Opus (RFC 6716) in an Ogg file, by opusenc and opusdec.

    Frames of 60 ms and no padding for tags have the least overhead at low bit rates.

    Raises:
        MissingError: the programs are not installed.
    """

    def __init__(self, name: BaselineName) -> None:
        require_programs("opusenc", "opusdec", package="opus-tools")
        self._options = ["--bitrate", name.rate, "--framesize", "60", "--padding", "0"]
        self._options.append("--discard-comments")
        description = f"opusenc {' '.join(self._options)}; opusdec --rate {SAMPLE_RATE}"
        self.info = CodecInfo(name=str(name), is_bigcodec=False, description=description)

    def code(self, wave: Wave, folder: Path) -> Coded:
        """See `CodecUnderTest`."""
        source, coded, decoded = (folder / f for f in ("in.wav", "speech.opus", "out.wav"))
        soundfile.write(os.fsencode(source), to_int16(wave), SAMPLE_RATE, subtype="PCM_16")
        encoding = run_program(["opusenc", "--quiet", *self._options, str(source), str(coded)])
        decoding = run_program(
            [
                "opusdec",
                "--quiet",
                "--rate",
                str(SAMPLE_RATE),
                "--force-wav",
                str(coded),
                str(decoded),
            ]
        )
        restored, _ = soundfile.read(os.fsencode(decoded), dtype="float32")
        return aligned(wave, restored, coded.stat().st_size, encoding, decoding)


class Codec2:
    """Codec 2 (David Rowe), by c2enc and c2dec.

    Raises:
        MissingError: the programs are not installed.
    """

    def __init__(self, name: BaselineName) -> None:
        require_programs("c2enc", "c2dec", package="codec2")
        self._mode = name.rate
        self.info = CodecInfo(
            name=str(name),
            is_bigcodec=False,
            description=f"c2enc {name.rate}; c2dec {name.rate}. An 8 kHz codec: resampled to "
            "8 kHz before and to 16 kHz after, so nothing above 4 kHz comes back",
        )

    def code(self, wave: Wave, folder: Path) -> Coded:
        """See `CodecUnderTest`."""
        source, coded, decoded = (folder / f for f in ("in.raw", "speech.c2", "out.raw"))
        to_int16(change_rate(wave, SAMPLE_RATE, _CODEC2_RATE)).tofile(source)
        encoding = run_program(["c2enc", self._mode, str(source), str(coded)])
        decoding = run_program(["c2dec", self._mode, str(coded), str(decoded)])
        samples = decode(decoded.read_bytes(), Encoding.S16, channels=1)[0]
        restored = change_rate(samples, _CODEC2_RATE, SAMPLE_RATE)
        return aligned(wave, restored, coded.stat().st_size, encoding, decoding)


def aligned(wave: Wave, restored: Wave, size: int, encoding: float, decoding: float) -> Coded:
    """A restored wave without its delay, rounded as in a 16-bit file."""
    moved, delay = align(wave, restored)
    return Coded(
        restored=as_stored(moved),
        size=size,
        encode_seconds=encoding,
        decode_seconds=decoding,
        delay=delay,
    )


def require_programs(*programs: str, package: str) -> None:
    """Check that programs are installed.

    Raises:
        MissingError: one of them is not on the path.
    """
    for program in programs:
        if shutil.which(program) is None:
            raise MissingError(f"{program} is not installed (Debian: apt install {package})")


def run_program(command: Sequence[str]) -> float:
    """Run a program, and return the seconds it took.

    Raises:
        CodingError: it failed, or did not finish within ten minutes.
    """
    start = time.perf_counter()
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CodingError(f"{command[0]}: {error}") from error
    if result.returncode:
        lines = result.stderr.decode(errors="replace").strip().splitlines()
        raise CodingError(f"{command[0]} failed: {lines[-1] if lines else result.returncode}")
    return time.perf_counter() - start
