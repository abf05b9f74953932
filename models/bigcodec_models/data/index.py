"""The audio files below a folder, remembered in an index, and the split for validation."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import soundfile

from bigcodec_models.audio.audio_file import UNKNOWN_FRAMES, reason_of
from bigcodec_models.audio.content import Content
from bigcodec_models.audio.mpeg import declares_length
from bigcodec_models.audio.sequential import silent_decoders, try_reading
from bigcodec_models.audio.source import EMPTY, demuxer_for, open_source
from bigcodec_models.audio.suffixes import AUDIO_SUFFIXES
from bigcodec_models.config import SAMPLE_RATE
from bigcodec_models.errors import DataError, FfmpegMissingError

Report = Callable[[Path, str], None]

_VERSION = 4
_WITHOUT_SIZES = ("FLAC", "OGG", "MP3")
"""Formats whose examination would read all of a file."""
_SPEAKER_FOLDERS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """One audio file: its path, length in frames and sample rate in hertz.

    `root` is the folder that was scanned, or None for a single file. A `sequential` file can only
    be read from its beginning on: libsndfile does not know all of it.
    """

    path: Path
    frames: int
    rate: int
    root: Path | None = None
    sequential: bool = False

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return self.frames / self.rate

    @property
    def samples(self) -> int:
        """Length at 16 kHz, rounded down, at least 1."""
        return max(1, self.frames * SAMPLE_RATE // self.rate)

    @property
    def name(self) -> str:
        """Path relative to the root, with "/" on every system."""
        return self.path.relative_to(self.root or self.path.parent).as_posix()

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders between root and file, such as corpus, speaker and chapter."""
        return tuple(self.name.split("/")[:-1])


def scan(root: Path, index: Path | None = None, skipped: Report | None = None) -> list[Clip]:
    """Every readable audio file under `root`, in order of path; links are followed once.

    `skipped` is called with the path of each folder and each file with an audio suffix that cannot
    be read, and with the reason. `index` names a JSON file that remembers files of any number of
    roots by absolute path: files whose size and modification time are unchanged are not opened
    again. It is replaced atomically after a change, and rebuilt if it is damaged. If it cannot be
    written, `skipped` is called, and the result of the scan is still valid.

    Raises:
        DataError: `root` is no folder, or holds no readable audio.
    """
    _require_folder(root)
    report: Report = skipped or (lambda path, reason: None)
    known = _load(index)
    scanned: dict[str, _Entry] = {}
    clips: list[Clip] = []
    for path in sorted(_audio_files(root, report)):
        entry = _examine(path, known.get(os.path.abspath(path)))
        if entry.mtime_ns is not None:
            scanned[os.path.abspath(path)] = entry
        if entry.reason:
            report(path, f"{entry.reason}; left out")
            continue
        if entry.fault:
            report(path, f"{entry.fault}; used as far as it goes")
        clips.append(
            Clip(
                path=path,
                frames=entry.frames,
                rate=entry.rate,
                root=root,
                sequential=entry.sequential,
            )
        )
    if index is not None:
        _update(index, known, scanned, root, report)
    if not clips:
        raise DataError(f"{root}: no readable audio files")
    return clips


def require_audio(root: Path) -> None:
    """Refuse a folder in which `scan` will surely find nothing. Opens no file.

    Raises:
        DataError: `root` is no folder, or no file below it is named as audio is.
    """
    _require_folder(root)
    if next(_audio_files(root, lambda path, reason: None), None) is None:
        raise DataError(f"{root}: no audio files in it, nor in the folders below it")


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Entry:
    """Frames and rate of a file, or the reason why it cannot be read.

    A file without size and modification time (`os.stat` failed) is not remembered.
    """

    size: int | None = None
    mtime_ns: int | None = None
    frames: int = 0
    rate: int = 0
    sequential: bool = False
    fault: str = ""
    reason: str = ""


def _audio_files(root: Path, report: Report) -> Iterator[Path]:
    """Files with audio suffixes, hidden ones left out; no folder is entered twice, also not through
    links."""

    def unreadable(error: OSError) -> None:
        report(Path(error.filename), error.strerror or str(error))

    seen: set[tuple[int, int]] = set()
    for folder, subfolders, files in os.walk(root, onerror=unreadable, followlinks=True):
        try:
            status = os.stat(folder)
        except OSError as error:
            unreadable(error)
            continue
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (
            Path(folder, name)
            for name in files
            if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith(".")
        )


def _examine(path: Path, known: _Entry | None) -> _Entry:
    """The entry of a file, which is opened if it has changed."""
    try:
        status = os.stat(path)
    except OSError as error:
        return _Entry(reason=error.strerror or str(error))
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
        return _Entry(reason="not a regular file")
    if not status.st_size:
        return _Entry(reason=EMPTY)
    if known and (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
        return known
    entry = _Entry(size=status.st_size, mtime_ns=status.st_mtime_ns)
    try:
        return dataclasses.replace(entry, **_measure(path))
    except FfmpegMissingError as error:  # it may be there next time
        return _Entry(reason=str(error))
    except (soundfile.LibsndfileError, OSError) as error:
        return dataclasses.replace(entry, reason=why_unreadable(path, error))


def _measure(path: Path) -> dict[str, Any]:
    """What an entry says of a file: `frames`, `rate`, and what is out of the ordinary.

    Only headers are read, but for the rare file whose length shows when it is decoded, and for what
    ffmpeg decodes. So a chain in compressed audio counts as its first link, which is no loss to
    training.
    """
    if demuxer_for(path) is not None:
        return _measure_all(path)
    with silent_decoders():
        info = soundfile.info(os.fsencode(path))
    is_known = 0 < info.frames < UNKNOWN_FRAMES and info.samplerate > 0
    if is_known and info.format == "MP3":  # or else libsndfile guesses, or the file was cut short
        with path.open("rb") as file:
            is_known = declares_length(Content(file, os.fstat(file.fileno()).st_size))
    if is_known and info.format in _WITHOUT_SIZES:
        return {"frames": info.frames, "rate": info.samplerate}
    return _measure_all(path)


def _measure_all(path: Path) -> dict[str, Any]:
    """The same of a file that is opened, and decoded where it does not say how long it is."""
    with open_source(path) as file:
        frames = file.frames
        sequential = frames is None
        if frames is None or file.fault is not None:  # what is declared need not be there
            frames = sum(len(block) for block in file.blocks())
        facts = {"frames": frames, "rate": file.rate, "fault": file.fault or ""}
        return facts | {"sequential": sequential} if frames else {"reason": "holds no samples"}


def why_unreadable(path: Path, error: Exception) -> str:
    """Why soundfile could not read a file, in the words of the system where it could not either."""
    try:
        try_reading(path, error)
    except OSError as system_error:
        error = system_error
    return reason_of(error)


def _load(index: Path | None) -> dict[str, _Entry]:
    """Entries of an index by absolute path; empty if it is missing, damaged or of another kind."""
    if index is None:
        return {}
    try:
        stored = json.loads(index.read_bytes())
        if stored["version"] != _VERSION:
            return {}
        return {path: _checked(_Entry(**fields)) for path, fields in stored["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _checked(entry: _Entry) -> _Entry:
    """The entry itself; raises ValueError if it cannot have been written by `scan`."""
    numbers = (entry.size, entry.mtime_ns, entry.frames, entry.rate)
    texts = (entry.reason, entry.fault)
    if not all(type(n) is int for n in numbers) or not all(isinstance(t, str) for t in texts):
        raise ValueError("entry of a wrong type")
    if not entry.reason and (entry.frames < 1 or entry.rate < 1):
        raise ValueError("entry without audio")
    return entry


def _update(
    index: Path, known: dict[str, _Entry], scanned: dict[str, _Entry], root: Path, report: Report
) -> None:
    """Replace the entries of `root` in the index, if they have changed."""
    inside = os.path.join(os.path.abspath(root), "")
    entries = {p: entry for p, entry in known.items() if not p.startswith(inside)} | scanned
    if entries == known and index.exists():
        return
    files = {path: dataclasses.asdict(entry) for path, entry in sorted(entries.items())}
    partial = index.with_name(f"{index.name}.{os.getpid()}.partial")
    try:
        index.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({"version": _VERSION, "files": files}), encoding="ascii")
        partial.replace(index)
    except OSError as error:
        report(index, f"index cannot be written: {error.strerror or error}")
        with contextlib.suppress(OSError):
            partial.unlink()


def split(clips: Sequence[Clip], fraction: float = 0.02) -> tuple[list[Clip], list[Clip]]:
    """Training and validation clips, the latter with about `fraction` of the total duration.

    The split depends only on durations and on names relative to the root. Whole folders are held
    out for validation if there are at least 10, so that no speaker is in both parts. Of the depths
    with that many folders, the one nearest to the root is used at which between half and twice of
    `fraction` can be held out (speakers, in speaker/chapter/file), or else the deepest one. With
    fewer folders, single files are held out. No part is empty; a single clip is in both.

    Raises:
        DataError: there are no clips.
        ValueError: `fraction` is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ValueError("fraction must be above 0 and below 1")
    if not clips:
        raise DataError("no clips to split")
    named = sorted(((clip.name, clip) for clip in clips), key=lambda pair: (pair[0], pair[1].path))
    ordered = [clip for _, clip in named]
    held, keys = _choose([name for name, _ in named], [clip.seconds for clip in ordered], fraction)
    training = [clip for clip, key in zip(ordered, keys, strict=True) if key not in held]
    validation = [clip for clip, key in zip(ordered, keys, strict=True) if key in held]
    return training or validation, validation


def _choose(
    names: Sequence[str], seconds: Sequence[float], fraction: float
) -> tuple[set[str], list[str]]:
    """The keys that are held out, and the key of each clip."""
    target = fraction * math.fsum(seconds)
    folders = [name.split("/")[:-1] for name in names]
    deepest = max(map(len, folders))
    for depth in range(1, deepest + 1):
        keys = ["/".join(parts[:depth]) for parts in folders]
        if len(set(keys)) < _SPEAKER_FOLDERS:
            continue
        held, total = _hold_out(keys, seconds, target)
        if depth == deepest or target / 2 <= total <= 2 * target:
            return held, keys
    # Files of two roots may have the same name; the number distinguishes them.
    count: collections.Counter[str] = collections.Counter()
    keys = []
    for name in names:
        keys.append(f"{name}/{count[name]}")
        count[name] += 1
    return _hold_out(keys, seconds, target)[0], keys


def _hold_out(
    keys: Sequence[str], seconds: Sequence[float], target: float
) -> tuple[set[str], float]:
    """Keys in order of their hashes until they last `target` seconds, and their total duration.

    Keys with which it would be more than twice `target` are skipped. If none remains, the shortest
    key is held out.
    """
    durations: dict[str, float] = collections.defaultdict(float)
    for key, duration in zip(keys, seconds, strict=True):
        durations[key] += duration
    held: set[str] = set()
    total = 0.0
    for key in sorted(durations, key=name_hash):
        room = total < target and len(held) < len(durations) - 1
        if room and total + durations[key] <= 2 * target:
            held.add(key)
            total += durations[key]
    if not held:
        held = {min(durations, key=lambda key: (durations[key], name_hash(key)))}
        total = durations[next(iter(held))]
    return held, total


def name_hash(name: str) -> bytes:
    """A hash by which names have a random order that is always the same."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
