"""How long five seconds from anywhere in an hour of speech take, with the default model.

    python -m benchmarks.seeking [SPEECH]

SPEECH, by default the clip of examples/, is repeated for an hour.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

from benchmarks.report import load_before, machine, table, write_section

_COMMAND = Path(sys.executable).with_name("bigcodec")
_SPEECH = Path(__file__).parent.parent / "examples" / "speech.flac"
_STARTS = (0, 600, 1800, 3590)


def main() -> None:
    """Run the benchmark and write its section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path, nargs="?", default=_SPEECH)
    options = parser.parse_args()
    load = load_before()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_hour(options.speech, folder / "hour.wav")
        rows = [["compress the hour", _seconds(folder, "compress", "hour.wav", "hour.bcdc")]]
        part = ("decompress", "hour.bcdc", "part.wav")
        rows += [
            [f"5 s from {at} s on", _seconds(folder, *part, "--start", str(at), "--duration", "5")]
            for at in _STARTS
        ]
        rows.append(["decompress the hour", _seconds(folder, "decompress", "hour.bcdc", "all.wav")])
    text = (
        f"{machine(load)}\n\nOne hour of speech in one file, default model, from start to exit. "
        "A part needs the tokens since the last state reset (docs/performance.md).\n\n"
        + table(["", "seconds"], rows)
    )
    write_section("Seeking", text)


def _write_hour(speech: Path, path: Path) -> None:
    wave, rate = soundfile.read(speech, dtype="int16")
    left = 3600 * rate
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        while left > 0:
            file.write(wave[:left])
            left -= len(wave)


def _seconds(folder: Path, verb: str, source: str, output: str, *options: str) -> str:
    start = time.perf_counter()
    command: list[str | Path] = [_COMMAND, verb, "-f", "-q", source, "-o", output, *options]
    subprocess.run(command, cwd=folder, check=True)
    return f"{time.perf_counter() - start:.1f}"


if __name__ == "__main__":
    main()
