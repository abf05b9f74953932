"""Fuzzes audio files: whatever happened to a recording, all of it is read, or it is said that not.

    .venv/bin/python fuzz/fuzz_audio.py --seconds 1800 [--seed 0] [--keep FOLDER]

Files of known length are cut, joined, padded, and their sizes changed. What must hold: as many
samples as the bytes hold come out, or an error, or a fault is named. It needs no atheris: what is
changed are lengths, where a coverage-guided search has nothing to follow. Each file is read in a
child, since libsndfile may crash; a crash is a finding.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import random
import struct
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from bigcodec_models.audio.audio_file import AudioFile

KINDS = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "wav24": {"format": "WAVEX", "subtype": "PCM_24"},
    "ulaw": {"format": "WAV", "subtype": "ULAW"},
    "rf64": {"format": "RF64", "subtype": "PCM_16"},
    "w64": {"format": "W64", "subtype": "PCM_16"},
    "aiff": {"format": "AIFF", "subtype": "PCM_16"},
    "caf": {"format": "CAF", "subtype": "PCM_16"},
    "au": {"format": "AU", "subtype": "PCM_16"},
    "sph": {"format": "NIST", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "vorbis": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
}
SAMPLES = 6000
EDGES = (0, 1, 2, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x7FFF0000)
LENIENT = ("flac", "vorbis", "opus", "mp3")
"""Coded kinds, of which a changed byte may change the samples that a decoder makes."""


def originals() -> dict[str, bytes]:
    """A recording of SAMPLES samples in every kind of file."""
    wave = np.sin(np.arange(SAMPLES) / 7) * np.random.default_rng(0).uniform(0.2, 0.6, SAMPLES)
    files = {}
    for kind, options in KINDS.items():
        out = io.BytesIO()
        soundfile.write(out, wave, 16000, **options)
        files[kind] = out.getvalue()
    return files


def changed(content: bytes, chance: random.Random) -> tuple[bytes, int]:
    """A changed file, and how many samples it must hold at least, as far as that is known: half of
    a whole file's, or as many as a file that only had sizes changed or bytes added."""
    choice = chance.randrange(5)
    if choice == 0:
        return content[: chance.randrange(12, len(content))], 0
    if choice == 1:
        return content + content[: chance.randrange(1, len(content))], SAMPLES
    if choice == 2:
        tail = chance.randbytes(chance.choice((1, 2, 9, 200, 5000)))
        return content + chance.choice((tail, bytes(len(tail)), b"TAG".ljust(128))), SAMPLES
    if choice == 3:
        start = chance.randrange(12, len(content))
        return content[:start] + content[start + chance.randrange(1, 2000) :], 0
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        place = chance.randrange(4, min(200, len(data) - 8))
        order = chance.choice("<>")
        value = chance.choice((*EDGES, chance.randrange(1 << 32), chance.randrange(4 * SAMPLES)))
        data[place : place + 4] = struct.pack(f"{order}I", value)
    return bytes(data), 0


def read(path: Path) -> tuple[int, str | None] | None:
    """Samples and fault of a file; None where it cannot be opened."""
    try:
        with AudioFile(path) as file:
            return sum(len(block) for block in file.blocks()), file.fault
    except (soundfile.LibsndfileError, OSError):
        return None


def check(kind: str, seed: int, folder: Path) -> None:
    """One input. A cut or shortened file has lost something: it may not count as whole."""
    chance = random.Random(seed)
    content = FILES[kind]
    data, least = changed(content, chance)
    path = folder / "input"
    path.write_bytes(data)
    result = read(path)
    if result is None or result[1] is not None:
        return
    samples = result[0]
    if len(data) < len(content) and samples == SAMPLES:
        return  # what was lost was no audio
    same_start = data[:200] == content[:200]
    whole = samples % SAMPLES == 0 and samples > 0
    assert not same_start or whole, f"{samples} samples called all of the file"
    assert samples >= least or kind in LENIENT, f"{samples} of {least} samples"


def run(kinds: list[str], seeds: range, folder: str) -> list[str]:
    """What is wrong with some inputs; runs in a child."""
    findings = []
    for seed in seeds:
        kind = kinds[seed % len(kinds)]
        try:
            check(kind, seed, Path(folder))
        except AssertionError as error:
            findings.append(f"{kind} seed {seed}: {error}")
    return findings


FILES = originals()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    end, first, count, findings = time.monotonic() + options.seconds, options.seed, 0, list[str]()
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            seeds = range(first, first + 500)
            with context.Pool(1) as pool:
                work = pool.apply_async(run, (list(KINDS), seeds, folder))
                try:
                    findings += work.get(timeout=300)
                except multiprocessing.TimeoutError:
                    findings.append(f"seeds {seeds}: a crash or a hang")
            first, count = first + 500, count + 500
    print(f"{count} inputs, {len(findings)} findings", *findings[:50], sep="\n")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
