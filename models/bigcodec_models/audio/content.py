"""The bytes of a file, read where they are asked for."""

from __future__ import annotations

from typing import BinaryIO

_WINDOW_BYTES = 1 << 20


class Content:
    """A file as if it were `bytes`, in little memory.

    Not a memory map, where a file that another program cuts short would end this one.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._window, self._start = b"", 0

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> int:
        offset = index - self._start
        if not 0 <= offset < len(self._window):
            self._load(index, 1)
            offset = index - self._start
        return self._window[offset]

    def part(self, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start` on; fewer at the end of the file."""
        offset, length = start - self._start, min(length, max(self._size - start, 0))
        if not length:
            return b""
        if offset < 0 or offset + length > len(self._window):
            self._load(start, length)
            offset = start - self._start
        return self._window[offset : offset + length]

    def find(self, pattern: bytes, start: int) -> int:
        """Where a pattern first begins from `start` on; -1 if it does not."""
        while start < self._size:
            if not 0 <= start - self._start <= len(self._window) - len(pattern):
                self._load(start, len(pattern))
            if start - self._start > len(self._window) - len(pattern):
                return -1
            place = self._window.find(pattern, start - self._start)
            if place >= 0:
                return self._start + place
            start = self._start + len(self._window) - len(pattern) + 1
        return -1

    def _load(self, start: int, length: int) -> None:
        self._file.seek(start)
        self._window, self._start = self._file.read(max(length, _WINDOW_BYTES)), start
