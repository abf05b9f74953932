"""How many tokens differ between chunked coding and a single pass, and how near ties those are.

    python -m benchmarks.exactness SPEECH... [--model lite]

SPEECH are 16 kHz audio files, joined to one long wave.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.checks import differences
from benchmarks.report import load_before, machine, table, write_section
from bigcodec_models.arrays import Tokens, Wave
from bigcodec_models.codec import Codec
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.inference import chunking

_OTHER_CHUNKS = (40, 320, 1 << 30)


def main() -> None:
    """Run the comparison and write its section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path, nargs="+")
    parser.add_argument("--model", default="lite")
    options = parser.parse_args()
    load = load_before()
    wave = np.concatenate([_read(path) for path in options.speech])
    codec, threads = Codec.load(options.model, "cpu"), torch.get_num_threads()
    latent, tokens = torch.from_numpy(codec.latents(wave)), codec.encode(wave)
    restored = codec.decode(tokens)
    rows = [
        _row(f"chunks of {size} frames" if size < len(tokens) else "a single pass",
             codec, latent, tokens, restored, _with_chunks(codec, wave, tokens, size))
        for size in _OTHER_CHUNKS
    ]  # fmt: skip
    torch.set_num_threads(1 if threads > 1 else 2)
    other = (codec.encode(wave), codec.decode(tokens))
    rows.append(_row(f"{torch.get_num_threads()} threads", codec, latent, tokens, restored, other))
    text = (
        f"{machine(load)}\n\n{codec.info.name}, {len(wave) / SAMPLE_RATE:.0f} s of speech in one "
        f"file, chunks of {chunking.CHUNK_FRAMES} frames, {threads} threads, against:\n\n"
    )
    head = ["", "tokens", "per million", "largest difference of samples"]
    write_section(f"Exactness, {codec.info.name}", text + table(head, rows))


def _read(path: Path) -> Wave:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != SAMPLE_RATE:
        raise SystemExit(f"{path}: {rate} Hz; give files at {SAMPLE_RATE} Hz")
    wave: Wave = samples[:, 0]
    return wave


def _with_chunks(codec: Codec, wave: Wave, tokens: Tokens, size: int) -> tuple[Tokens, Wave]:
    usual, chunking.CHUNK_FRAMES = chunking.CHUNK_FRAMES, size
    try:
        return codec.encode(wave), codec.decode(tokens)
    finally:
        chunking.CHUNK_FRAMES = usual


def _row(
    name: str,
    codec: Codec,
    latent: torch.Tensor,
    tokens: Tokens,
    restored: Wave,
    other: tuple[Tokens, Wave],
) -> list[str]:
    million = 1e6 * np.count_nonzero(other[0] != tokens) / len(tokens)
    gap = np.abs(other[1] - restored).max()
    return [name, differences(codec, latent, tokens, other[0]), f"{million:.0f}", f"{gap:.1e}"]


if __name__ == "__main__":
    main()
