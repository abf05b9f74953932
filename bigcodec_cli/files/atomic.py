"""How output files come into being: whole, or not at all; never more readable than their source."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from bigcodec_cli.console.messages import CliError

_READ_WRITE = stat.S_IRUSR | stat.S_IWUSR
_SHARED = 0o066
"""What group and others may be allowed to do, before the umask takes its part away."""


class AtomicOutput:
    """A file that gets its name only once it is whole.

    Write to `temporary`, which exists and is empty, then `commit`; `discard` removes what was not
    committed. Group and others may do with it no more than they may with `source` and with a file
    that it replaces, from the first byte on. `mark` becomes part of the temporary name, by which
    `discard_marked` finds it.

    Raises:
        CliError: `path` exists and `overwrite` is false, or cannot be replaced by a file.
        OSError: there can be no file in its folder.
    """

    def __init__(
        self, path: Path, *, overwrite: bool, source: Path | None = None, mark: str = ""
    ) -> None:
        _refuse_existing(path, overwrite)
        self.path, self._overwrite = path, overwrite
        self._source = source if source is not None and source.is_file() else None
        self.temporary = path.with_name(f".{path.name[:40]}.{mark}{secrets.token_hex(4)}.tmp")
        mode = _READ_WRITE | (_SHARED & _mode(self._source) & _mode(path))
        os.close(os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))

    def commit(self, *, remove_source: bool = False) -> None:
        """Give the file its name, with the modification time of its source.

        With `remove_source` the source goes, once the file is sure to be on disk.

        Raises:
            CliError: the name was taken meanwhile.
            OSError: the file cannot be renamed, or the source not be removed.
        """
        remove_source = remove_source and self._source is not None
        if self._source is not None:
            times = self._source.stat()
            os.utime(self.temporary, ns=(times.st_atime_ns, times.st_mtime_ns))
        if remove_source:
            _sync(self.temporary)
        if self._overwrite:
            os.replace(self.temporary, self.path)
        else:
            _place_new(self.temporary, self.path)
        if remove_source and self._source is not None:
            _sync(self.path.parent)
            self._source.unlink()

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        self.temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_output(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` if no exception leaves.

    Raises:
        CliError: `path` exists and `overwrite` is false.
        OSError: the file cannot be written or renamed.
    """
    output = AtomicOutput(path, overwrite=overwrite)
    try:
        yield output.temporary
        output.commit()
    finally:
        output.discard()


def discard_marked(folder: Path, mark: str) -> None:
    """Remove temporary files of other processes, which have ended before they could."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(".") and re.search(rf"\.{mark}[0-9a-f]{{8}}\.tmp$", path.name):
                path.unlink(missing_ok=True)


def _mode(path: Path | None) -> int:
    """The permissions of a file; all of them if there is none."""
    try:
        return 0o777 if path is None else path.stat().st_mode
    except FileNotFoundError:
        return 0o777


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise CliError(f"{path}: is a folder; name a file, or use --output-dir")
    if path.exists() and not path.is_file():
        raise CliError(f"{path}: is not a regular file and cannot be replaced by one")
    if not overwrite and os.path.lexists(path):
        raise CliError(f"{path}: already exists; use -f to overwrite it")


def _place_new(temporary: Path, path: Path) -> None:
    """Give the file its name, failing if the name was taken meanwhile."""
    try:
        os.link(temporary, path)
        temporary.unlink()
    except FileExistsError:
        raise CliError(f"{path}: already exists; use -f to overwrite it") from None
    except OSError:  # a file system without hard links
        _refuse_existing(path, False)
        os.replace(temporary, path)
