"""How output files come into being: whole, or not at all; never more readable than their source."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar

from bigcodec_cli.console.messages import CliError

try:
    import fcntl
except ImportError:  # Windows, where the leftovers of killed processes stay
    fcntl = None  # type: ignore[assignment]

_READ_WRITE = stat.S_IRUSR | stat.S_IWUSR
_SHARED = 0o066
"""What group and others may be allowed to do, before the umask takes its part away."""
_TEMPORARY = re.compile(r"\..{0,40}\.bigcodec-[0-9a-z]{8,16}(-[0-9a-f]{8})?\.tmp", re.DOTALL)
_STALE_SECONDS = 7 * 24 * 3600
"""How long nobody has written to a leftover of which no lock says whose it is."""
_swept: set[Path] = set()
_live: weakref.WeakSet[AtomicOutput] = weakref.WeakSet()
_folders: set[str] = set()
Item = TypeVar("Item")


class SourceFile:
    """An input file as it is when this is created: before it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._link = _status(path, follow_symlinks=False)
        self._file = _status(path, follow_symlinks=True)

    @property
    def mode(self) -> int:
        """Its permissions; all of them where there is no regular file."""
        return 0o777 if self._file is None else self._file.st_mode

    @property
    def is_regular(self) -> bool:
        """Whether it is a file itself, and no link, pipe or device."""
        return self._link is not None and stat.S_ISREG(self._link.st_mode)

    @property
    def has_changed(self) -> bool:
        """Whether another file is there now, or it was written to."""
        return _identity(_status(self.path, follow_symlinks=False)) != _identity(self._link)

    def copy_times_to(self, path: Path) -> None:
        """Give its times to another file, if it is a regular file or a link to one."""
        if self._file is not None and stat.S_ISREG(self._file.st_mode):
            os.utime(path, ns=(self._file.st_atime_ns, self._file.st_mtime_ns))


class AtomicOutput:
    """A file that gets its name only once it is whole.

    Write to `temporary`, which exists and is empty, then `commit`; `discard` removes what was not
    committed. Group and others may do with it no more than they may with `source` and with a file
    that it replaces, from the first byte on. `mark` becomes part of the temporary name, by which
    `discard_marked` finds it. Temporary files of processes that were killed are removed when the
    first output of a process in their folder is created: of this machine, where its file system
    has locks, at once; others when nobody has written to them for a week.

    Raises:
        CliError: `path` exists and `overwrite` is false, or cannot be replaced by a file.
        OSError: there can be no file in its folder.
    """

    def __init__(
        self, path: Path, *, overwrite: bool, source: SourceFile | None = None, mark: str = ""
    ) -> None:
        refuse_existing(path, overwrite)
        _sweep(path.parent)
        self.path, self._overwrite, self._source = path, overwrite, source
        name = f".{path.name[:40]}.bigcodec-{mark}{secrets.token_hex(4)}-{_machine()}.tmp"
        self.temporary = path.with_name(name)
        replaced = _status(path, follow_symlinks=True)
        allowed = _SHARED if source is None else _SHARED & source.mode
        mode = _READ_WRITE | (allowed if replaced is None else allowed & replaced.st_mode)
        self._lock: int | None = _create_locked(self.temporary, mode)
        _live.add(self)

    def commit(self, *, remove_source: bool = False) -> None:
        """Give the file its name, with the modification time of its source.

        With `remove_source` the source goes, once the file is sure to be on disk, unless it is no
        regular file.

        Raises:
            CliError: the name was taken meanwhile, or the source is not the file any more that it
                was; then it stays.
            OSError: the file cannot be renamed, or the source not be removed.
        """
        source = self._source if remove_source else None
        if self._source is not None:
            self._source.copy_times_to(self.temporary)
        if source is not None:
            _sync(self.temporary)
        if self._overwrite:
            os.replace(self.temporary, self.path)
        else:
            _place_new(self.temporary, self.path)
        self._unlock()
        if source is None or not source.is_regular:
            return
        _sync(self.path.parent)
        if source.has_changed:
            raise CliError(f"{source.path}: changed while it was read, and was not removed")
        source.path.unlink()

    def discard(self) -> None:
        """Remove the temporary file, if it is still there."""
        self.temporary.unlink(missing_ok=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        _live.discard(self)


class DeviceOutput:
    """An output to a device or a named pipe, such as /dev/null: made as a file, then copied there.

    Has the interface of `AtomicOutput`; it removes no source, for a device need not keep anything.

    Raises:
        OSError: there is no room for the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._stack = path, contextlib.ExitStack()
        self.temporary = self._stack.enter_context(temporary_folder()) / "output"
        self.temporary.touch()

    def commit(self, *, remove_source: bool = False) -> None:
        """Copy the file to the device.

        Raises:
            CliError: a source was to be removed.
            OSError: the device takes no more.
        """
        if remove_source:
            raise CliError(f"{self.path}: is no file, so that --rm would lose the input")
        with self.temporary.open("rb") as source, self.path.open("wb") as target:
            shutil.copyfileobj(source, target)
        self.discard()

    def discard(self) -> None:
        """Remove the file."""
        self._stack.close()


def is_device(path: Path) -> bool:
    """Whether something is there that takes data and is no file: a device, or a named pipe."""
    status = _status(path, follow_symlinks=True)
    return status is not None and (stat.S_ISCHR(status.st_mode) or stat.S_ISFIFO(status.st_mode))


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


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` to fill; it becomes `path` if no exception leaves.

    Raises:
        CliError: `path` exists.
        OSError: the folder cannot be made or renamed.
    """
    if os.path.lexists(path):
        raise CliError(f"{path}: already exists; name a new folder")
    temporary = path.with_name(f".{path.name[:40]}.bigcodec-{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    _folders.add(str(temporary))
    try:
        yield temporary
        temporary.rename(path)
    finally:
        _folders.discard(str(temporary))
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for intermediate files, which `discard_all` knows."""
    with tempfile.TemporaryDirectory(prefix="bigcodec-") as name:
        _folders.add(name)
        try:
            yield Path(name)
        finally:
            _folders.discard(name)


def discard_all() -> None:
    """Remove every temporary file of this process, which is about to end. On any thread."""
    for output in _copied(_live):
        with contextlib.suppress(OSError):
            output.temporary.unlink(missing_ok=True)
    for name in _copied(_folders):
        shutil.rmtree(name, ignore_errors=True)


def _copied(items: Collection[Item]) -> list[Item]:
    """The items of a set to which another thread may be adding."""
    while True:
        with contextlib.suppress(RuntimeError):  # it changed while it was copied
            return list(items)


def discard_marked(folder: Path, mark: str) -> None:
    """Remove temporary files of other processes, which have ended before they could."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name) and f".bigcodec-{mark}" in path.name:
                path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove temporary files in a folder whose processes are gone: nobody holds their lock.

    Locks of another machine need not be seen here, and some file systems have none: then nobody
    may have written to a file for a week either.
    """
    if fcntl is None or folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if match := _TEMPORARY.fullmatch(path.name):
                _remove_if_unlocked(path, is_local=match[1] == f"-{_machine()}")


def _remove_if_unlocked(path: Path, is_local: bool) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            is_unlocked = _is_unlocked(descriptor)
            is_stale = time.time() - status.st_ctime > _STALE_SECONDS  # mtime is the source's
            is_gone = is_unlocked if is_local and is_unlocked is not None else is_stale
            if stat.S_ISREG(status.st_mode) and is_gone and is_unlocked is not False:
                path.unlink()
        finally:
            os.close(descriptor)


def _is_unlocked(descriptor: int) -> bool | None:
    """Whether no process holds the lock of a file, which this one then does; None if there are no
    locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@functools.cache
def _machine() -> str:
    """Eight digits by which a machine knows its own temporary files, even when it has restarted."""
    identity = b""
    with contextlib.suppress(OSError):
        identity = Path("/etc/machine-id").read_bytes()
    return hashlib.blake2b(identity + platform.node().encode(), digest_size=4).hexdigest()


def _create_locked(path: Path, mode: int) -> int:
    """Create a file, and lock it as long as the descriptor is open, where there are locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        if fcntl is None:
            return descriptor
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # another process took it for a leftover before it was locked


def _status(path: Path, *, follow_symlinks: bool) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=follow_symlinks)
    except OSError:
        return None


def _identity(status: os.stat_result | None) -> tuple[int, ...] | None:
    if status is None:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse what `AtomicOutput` would.

    Raises:
        CliError: there cannot be a new file of this name.
    """
    if path.is_dir():
        raise CliError(f"{path}: is a folder; name a file")
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
        refuse_existing(path, False)
        os.replace(temporary, path)
