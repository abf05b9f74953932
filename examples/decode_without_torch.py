"""Restores a .bcdc file of a lite model with the graphs of `bigcodec export --format onnx`.

    python decode_without_torch.py speech.bcdc GRAPHS speech.wav [PRIOR.bcdp]

Needs `bcdc`, numpy and onnxruntime only, and is a page to copy from: it takes a file in one piece
and leaves it at 16 kHz, and knows models without a sequence layer that has a state, such as `lite`.
"""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime

import bcdc

LOWEST, STEPS, UNITS, TAPS = 55.0, 48, 1 << 20, (1, 3, 5, 6, 5, 3, 1)


def decode(tokens: np.ndarray, graphs: Path, has_f0: bool) -> np.ndarray:
    """Tokens (frames, K) of a channel to samples at 16 kHz."""
    config = json.loads((graphs / "graphs.json").read_text())["config"]
    codes = tokens.astype(np.int64)[None]
    if has_f0:
        f0 = codes[:, :, -1]
        (hidden,) = run(graphs, "decoder_pre_f0", tokens=codes[:, :, :-1], f0=f0)
    else:
        hidden, f0 = run(graphs, "decoder_pre", tokens=codes)
    voices, filters = (part[0] @ (1, 1j) for part in run(graphs, "decoder_post", hidden=hidden))
    size, step = (config[name] // config.get("subframes", 1) for name in ("n_fft", "hop"))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    margin = (size - step) // 2
    pulses = np.pad(harmonics(f0[0], config["hop"], config.get("reset_every", 0)), margin)
    frames = np.lib.stride_tricks.sliding_window_view(pulses, size)[::step] * window
    spectra = voices + filters * np.fft.rfft(frames) / (window.sum() / 2)
    samples, weights = np.zeros((2, len(pulses)))
    for place, frame in enumerate(np.fft.irfft(spectra, size)):
        start = place * step
        samples[start : start + size] += frame * window
        weights[start : start + size] += window**2
    return (samples / np.maximum(weights, 1e-4))[margin : len(pulses) - margin]


def run(graphs: Path, name: str, **inputs: np.ndarray) -> list[np.ndarray]:
    outputs: list[np.ndarray] = onnxruntime.InferenceSession(graphs / f"{name}.onnx").run(
        None, inputs
    )
    return outputs


def harmonics(f0: np.ndarray, hop: int, reset_every: int) -> np.ndarray:
    """The excitation of F0 tokens (frames,): the sum of all harmonics below 7680 Hz."""
    hertz = LOWEST * 2 ** ((np.arange(bcdc.F0_BINS) - 1) / STEPS)
    table = np.round(UNITS * hertz * hop / bcdc.MODEL_RATE).astype(np.int64)
    total, weight = (
        np.convolve(values, TAPS)[len(TAPS) // 2 :][: len(f0)]
        for values in (table[f0] * (f0 > 0), (f0 > 0).astype(np.int64))
    )
    steps = np.where(weight > 0, total // np.maximum(weight, 1), table[1 + STEPS])
    starts = np.cumsum(steps) - steps
    every = reset_every or len(steps)
    for reset in range(0, len(steps), every):
        starts[reset : reset + every] -= starts[reset]
    cycles = (starts % UNITS / UNITS)[:, None] + (steps / UNITS)[:, None] * np.arange(hop) / hop
    angle = 2 * np.pi * (cycles - np.round(cycles))
    count = np.floor(0.48 * hop / (steps / UNITS))[:, None]
    safe = np.where(np.abs(angle) < 1e-6, 1, angle)
    ratio = np.sin((count + 0.5) * safe) / (2 * np.sin(safe / 2)) - 0.5
    return np.where(np.abs(angle) < 1e-6, count, ratio).reshape(-1)


def main(source: str, graphs: str, target: str, *priors: str) -> None:
    container = bcdc.read(Path(source).read_bytes())
    prior = bcdc.read_prior(Path(priors[0]).read_bytes()) if priors else None
    tokens = container.tokens(prior=prior)
    channels = [decode(part, Path(graphs), container.header.geometry.f0) for part in tokens]
    length = container.header.model_samples(container.num_samples)
    samples = np.stack(channels, axis=1)[:length]
    with wave.open(target, "wb") as file:
        file.setparams((samples.shape[1], 2, bcdc.MODEL_RATE, 0, "NONE", ""))
        file.writeframes(np.round(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
