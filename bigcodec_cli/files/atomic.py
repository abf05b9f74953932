"""How output files come into being: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from bigcodec_cli.console.messages import CliError


class AtomicOutput:
    """A file that gets its name only once it is whole.

    Write to `temporary`, then `commit`; `discard` removes what was not committed. `mark` becomes
    part of the temporary name, by which `discard_marked` finds it.

    Raises:
        CliError: `path` exists and `overwrite` is false, or cannot be replaced by a file.
    """

    def __init__(self, path: Path, *, overwrite: bool, mark: str = "") -> None:
        _refuse_existing(path, overwrite)
        self.path, self._overwrite = path, overwrite
        self.temporary = path.with_name(f".{path.name[:40]}.{mark}{secrets.token_hex(4)}.tmp")

    def commit(self, *, like: os.stat_result | None = None, durable: bool = False) -> None:
        """Give the file its name, with the modification time of `like`; on disk, if `durable`.

        Raises:
            CliError: the name was taken meanwhile.
            OSError: the file cannot be renamed.
        """
        if like is not None:
            os.utime(self.temporary, ns=(like.st_atime_ns, like.st_mtime_ns))
        if durable:
            _sync(self.temporary)
        if self._overwrite:
            os.replace(self.temporary, self.path)
        else:
            _place_new(self.temporary, self.path)
        if durable:
            _sync(self.path.parent)

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
