"""The records of a training run: RUN/log.jsonl, a bar or lines on stderr, TensorBoard files."""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from bigcodec_cli.console.messages import note
from bigcodec_cli.console.progress import as_many_as_fit, stderr_columns

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    from bigcodec_models.arrays import Wave
    from bigcodec_models.losses.spectral import MelSpectrogram
    from bigcodec_models.training.events import Progress, Validation, ValidationClip

LOG_NAME = "log.jsonl"
BOARD_FOLDER = "tensorboard"
_HINT = "no TensorBoard files are written; to have them: pip install 'bigcodec-cli[train]'"

_BAR_COLUMNS = 20
"""What the bar takes with its percentage, beside the counts of steps and the report."""
_BOARD_CLIPS = 8
_PICTURE_FFT, _PICTURE_BANDS, _PICTURE_DECADES = 1024, 80, 3
# Stops of the "magma" map of matplotlib (CC0), evenly spaced: its lightness rises steadily.
_MAGMA = "000004 180f3d 440f76 721f81 9e2f7f cd4071 f1605d fd9668 feca8d fcfdbf"


class RunLog:
    """Records the events of one run in the folder `run`, which is created if missing.

    A resumed run keeps its files: lines are appended, and the events that the interrupted run had
    recorded after the step from which it resumes are superseded (see `read_log`; TensorBoard does
    the same). `start` is the number of steps already done. With `show_progress`, stderr gets a bar
    instead of lines; None means only if stderr is a terminal.

    Raises:
        OSError: the folder cannot be written; any method may raise this.
    """

    def __init__(
        self,
        run: Path,
        *,
        max_steps: int,
        config: Mapping[str, Any],
        show_progress: bool | None = None,
        start: int = 0,
    ) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self._run = run
        self._file = _open_lines(run / LOG_NAME)
        self._board = _Board.open(run / BOARD_FOLDER, config)
        shown = sys.stderr.isatty() if show_progress is None else show_progress
        self._bar = _make_bar(start, max_steps) if shown else None
        self._max_steps = max_steps

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Flush and close everything; may be called again."""
        if self._bar is not None:
            self._bar.close()
        if self._board is not None:
            self._board.close()
        self._file.close()

    def progress(self, progress: Progress) -> None:
        """Record a report."""
        self._max_steps = progress.expected_steps
        self._write("progress", vars(progress))
        if self._board is not None:
            self._board.progress(progress)
        if self._bar is None:
            parts = _parts(progress, self._max_steps)
            note(f"step {progress.step}: {', '.join(parts)}")
            return
        self._bar.n, self._bar.total = progress.step, self._max_steps
        counts = f"{self._bar.n}/{self._bar.total}"
        width = stderr_columns() - len(counts) - _BAR_COLUMNS
        text = as_many_as_fit(_parts(progress, self._max_steps), width)
        self._bar.set_description_str(text, refresh=True)

    def validation(self, validation: Validation) -> None:
        """Record a validation: its numbers, and up to 8 of its clips, in RUN/clips and in
        TensorBoard."""
        from bigcodec_cli.training.clips import save_clips

        self._write("validation", validation.numbers())
        save_clips(self._run, validation)
        if self._board is not None:
            self._board.validation(validation)
        values = " ".join(f"{name} {value:.4g}" for name, value in _metrics(validation))
        best = " (best)" if validation.best else ""
        self.note(f"step {validation.step}: validation {values}{best}")

    def note(self, message: str) -> None:
        """A line of information on stderr, above the bar if there is one."""
        if self._bar is None:
            note(message)
        else:
            self._bar.write(message, file=sys.stderr)

    def _write(self, event: str, fields: Mapping[str, Any]) -> None:
        row = {"event": event, "time": round(time.time(), 3), **_plain(fields)}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()


def _metrics(validation: Validation) -> list[tuple[str, float]]:
    """Names and values of the metrics that a validation could compute."""
    numbers = validation.numbers().items()
    return [(k, v) for k, v in numbers if k not in ("step", "best") and v is not None]


def read_log(path: Path) -> list[dict[str, Any]]:
    """The events of a run in the order they were recorded, without those that were superseded.

    A resumed run repeats the steps since its checkpoint: an event supersedes all earlier ones of
    its kind at its own step and beyond. Lines that are not events, such as the incomplete line
    that a killed run may leave, are skipped.

    Raises:
        OSError: the file cannot be read.
    """
    valid: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for number, line in enumerate(path.read_bytes().splitlines()):
        row = _parse(line)
        if row is None:
            continue
        earlier = valid.setdefault(row["event"], [])
        while earlier and earlier[-1][1]["step"] >= row["step"]:
            earlier.pop()
        earlier.append((number, row))
    together = (pair for kind in valid.values() for pair in kind)
    return [row for _, row in sorted(together, key=lambda pair: pair[0])]


def _parse(line: bytes) -> dict[str, Any] | None:
    """An event from its line, or None if it is not one."""
    try:
        row = json.loads(line)
    except ValueError:  # includes text that is not UTF-8
        return None
    if not isinstance(row, dict) or not isinstance(row.get("event"), str):
        return None
    return row if type(row.get("step")) is int else None


def _open_lines(path: Path) -> TextIO:
    """Open for appending after the last whole line; an incomplete line is removed."""
    if path.exists():
        with path.open("r+b") as file:
            content = file.read()
            end = content.rfind(b"\n") + 1
            if _parse(content[end:]) is not None:
                file.write(b"\n")  # only its end was missing
            else:
                file.truncate(end)
    return path.open("a", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Mappings and numbers as JSON has them; JSON has no NaN or infinity, so those become null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if value is None or isinstance(value, bool | int | str):
        return value
    number = float(value)  # numpy's too
    return number if math.isfinite(number) else None


def _parts(progress: Progress, max_steps: int) -> list[str]:
    """A report in words; speed first, as a narrow terminal has no room for the end."""
    speed = progress.steps_per_second
    parts = [f"{speed:.2f} steps/s"]
    if speed > 0 and progress.step < max_steps:
        parts.append(f"{_duration((max_steps - progress.step) / speed)} left")
    parts += [f"{name} {value:.4g}" for name, value in progress.losses.items()]
    norms = " ".join(f"{name} {value:.1f}" for name, value in progress.gradient_norms.items())
    parts.append(f"grad {norms}")
    parts.append(f"lr {progress.learning_rate:.2e}")
    if progress.codes_used is not None:
        parts.append(f"codes {progress.codes_used}")
    if progress.data_wait >= 0.05:
        parts.append(f"{progress.data_wait:.0%} waiting for data")
    return parts


def _duration(seconds: float) -> str:
    """About `seconds`, in two units."""
    minutes = math.ceil(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _make_bar(start: int, max_steps: int) -> tqdm[Any]:
    from tqdm import tqdm

    return tqdm(
        total=max_steps,
        initial=start,
        file=sys.stderr,
        dynamic_ncols=True,
        # The rate and ETA of tqdm would count validations, and start from zero after a resume.
        bar_format="{percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} {desc}",
    )


class _Board:
    """TensorBoard event files: curves, and sound and mel spectrograms of some validation clips."""

    def __init__(
        self, folder: Path, config: Mapping[str, Any], writer: type[SummaryWriter]
    ) -> None:
        self._folder, self._config, self._writer_class = folder, config, writer
        self._writer: Any = None  # SummaryWriter is only half annotated
        self._mel: MelSpectrogram | None = None
        self._originals: set[str] = set()

    @classmethod
    def open(cls, folder: Path, config: Mapping[str, Any]) -> _Board | None:
        """None, after a note, where TensorBoard is not installed."""
        try:
            # torch needs Pillow for pictures, and TensorBoard before 2.20 does not bring it along.
            importlib.import_module("PIL")
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            note(_HINT)
            return None
        return cls(folder, config, SummaryWriter)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def progress(self, progress: Progress) -> None:
        losses = {f"losses/{name}": value for name, value in progress.losses.items()}
        norms = {f"gradient_norm/{k}": value for k, value in progress.gradient_norms.items()}
        others = {
            "learning_rate": progress.learning_rate,
            "codebook/used": progress.codes_used,
            "codebook/perplexity": progress.perplexity,
            "speed/steps_per_second": progress.steps_per_second,
            "speed/data_wait": progress.data_wait,
        }
        writer = self._at(progress.step)
        for name, value in (losses | norms | others).items():
            if value is not None:
                writer.add_scalar(name, value, progress.step)

    def validation(self, validation: Validation) -> None:
        writer = self._at(validation.step)
        for name, value in _metrics(validation):
            writer.add_scalar(f"validation/{name}", value, validation.step)
        for index, clip in enumerate(validation.clips[:_BOARD_CLIPS], 1):
            # Numbered, as files of two folders may have the same name.
            self._clip(f"{index}_{clip.name}", clip, validation.step)
        writer.flush()

    def _at(self, step: int) -> Any:
        """The writer. Its first event hides those of an interrupted run at that step and beyond."""
        if self._writer is None:
            self._writer = self._writer_class(str(self._folder), purge_step=step, flush_secs=30)
            text = json.dumps(dict(self._config), indent=1, default=str)
            self._writer.add_text("config", f"```\n{text}\n```", step)
        return self._writer

    def _clip(self, name: str, clip: ValidationClip, step: int) -> None:
        if name not in self._originals:
            self._originals.add(name)
            self._sound(f"original/{name}", clip.original, step)
        self._sound(f"restored/{name}", clip.restored, step)
        picture = self._picture(clip)
        self._writer.add_image(f"mel_original_above_restored/{name}", picture, step, None, "HWC")

    def _sound(self, name: str, wave: Wave, step: int) -> None:
        import numpy as np

        from bigcodec_models.config import SAMPLE_RATE

        # torch prints a warning to stdout about samples beyond full scale.
        safe = np.nan_to_num(wave).clip(-1, 1)
        self._writer.add_audio(name, safe[None], step, SAMPLE_RATE)

    def _picture(self, clip: ValidationClip) -> npt.NDArray[np.uint8]:
        """(H, W, 3): the original above the restored clip, on the color scale of the original.

        Low frequencies are at the bottom. The colors span 3 decades of magnitude (60 dB) down
        from the loudest point of the original, so that the two can be compared.
        """
        import numpy as np

        original, restored = self._log_mel(clip.original), self._log_mel(clip.restored)
        # Silence, which is at the floor of 1e-5 everywhere, must stay dark.
        top = max(float(original.max()), -1.0)
        gap = np.full((4, original.shape[1], 3), 128, np.uint8)
        shown = (original[::-1], restored[::-1])
        upper, lower = (_colors(1 + (mel - top) / _PICTURE_DECADES) for mel in shown)
        # Rows and columns twice: one pixel per frame and band would be too small on screens.
        return np.concatenate([upper, gap, lower]).repeat(2, axis=0).repeat(2, axis=1)

    def _log_mel(self, wave: Wave) -> npt.NDArray[np.float32]:
        """log10 of mel magnitudes, at least -5: (80, F) with F = n // 256 + 1, n at least 1024."""
        import numpy as np
        import torch

        from bigcodec_models.losses.spectral import MelSpectrogram

        if self._mel is None:
            self._mel = MelSpectrogram(_PICTURE_FFT, _PICTURE_BANDS)
        padding = max(0, _PICTURE_FFT - len(wave))  # reflection needs half a window
        padded = np.pad(np.nan_to_num(wave), (0, padding)).astype(np.float32)
        with torch.no_grad():
            mel = self._mel(torch.from_numpy(padded)[None])[0]
        logarithm: npt.NDArray[np.float32] = mel.clamp(min=1e-5).log10().T.numpy()
        return logarithm


def _colors(level: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Levels from 0 to 1, clipped to that, as colors from black to pale yellow: (...) to (..., 3).

    Equal differences of level look about equal, in grey too.
    """
    import numpy as np

    stops = np.frombuffer(bytes.fromhex(_MAGMA), np.uint8).reshape(-1, 3)
    position = np.linspace(0, 1, len(stops))
    channels = [np.interp(level, position, stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
