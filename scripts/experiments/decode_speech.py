"""Decodes a folder of speech into one bank of 16-bit samples at 16 kHz, for train_in_minutes.py.

    python scripts/experiments/decode_speech.py FOLDER OUT.npz [--workers N] [--speeds]

With `--speeds` every clip is there twice: as it is, and resampled to play up to 12 % faster.
(Slower, the top of the band would be empty.) Names are relative to FOLDER, those of versions end in
@RATIO.
"""

from __future__ import annotations

import argparse
import glob
import multiprocessing
import os
import zlib

import numpy as np
import soundfile

from bigcodec_models.config import SAMPLE_RATE


def versions(path: str, name: str, speeds: bool) -> list[tuple[str, np.ndarray]]:
    """Names and int16 samples; none of a clip that is too short or at another rate."""
    wave, rate = soundfile.read(path, dtype="int16", always_2d=True)
    wave = wave[:, 0]
    if rate != SAMPLE_RATE or len(wave) < 8000:
        return []
    versions = [(name, wave)]
    if speeds:
        random = np.random.default_rng(zlib.crc32(name.encode()))
        ratio = random.uniform(1.04, 1.12)
        versions.append((f"{name}@{ratio:.3f}", resampled(wave, int(len(wave) / ratio))))
    return versions


def resampled(wave: np.ndarray, length: int) -> np.ndarray:
    """All of (n,) on `length` samples, by its spectrum."""
    size = len(wave)
    spectrum = np.fft.rfft(wave.astype(np.float32))
    bins = length // 2 + 1
    spectrum = np.pad(spectrum[:bins], (0, max(0, bins - len(spectrum))))
    result = np.fft.irfft(spectrum, length) * (length / size)
    return np.clip(np.rint(result), -32768, 32767).astype(np.int16)


def _read(job: tuple[str, str, bool]) -> list[tuple[str, np.ndarray]]:
    try:
        return versions(*job)
    except soundfile.LibsndfileError as error:
        print(f"{job[0]}: {error}")
        return []


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    p.add_argument("out")
    p.add_argument("--workers", type=int, default=12)
    p.add_argument("--speeds", action="store_true")
    o = p.parse_args()
    suffixes = ("flac", "ogg", "opus", "wav")
    paths = sorted(f for s in suffixes for f in glob.glob(f"{o.folder}/**/*.{s}", recursive=True))
    jobs = [(path, os.path.relpath(path, o.folder), o.speeds) for path in paths]
    with multiprocessing.Pool(o.workers) as pool:
        clips = [clip for part in pool.imap(_read, jobs, chunksize=8) for clip in part]
    names = np.array([name for name, _ in clips])
    lengths = np.array([len(wave) for _, wave in clips], dtype=np.int64)
    temporary = o.out + ".tmp.npz"
    np.savez(temporary, audio=np.concatenate([w for _, w in clips]), lengths=lengths, names=names)
    os.replace(temporary, o.out)
    print(f"{o.out}: {len(paths)} files, {lengths.sum() / SAMPLE_RATE / 3600:.2f} h", flush=True)


if __name__ == "__main__":
    main()
