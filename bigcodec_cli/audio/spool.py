"""Arrays that wait in a temporary file, where many channels at a time would fill the memory."""

from __future__ import annotations

import contextlib
import math
import tempfile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from bigcodec_cli.console.messages import CliError


class ArraySpool:
    """A file without a name, which is gone with the process. For one thread.

    `name` is that of the input, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name, self._end = name, 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> ArraySpool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def put(self, array: npt.NDArray[Any]) -> Spooled:
        """Write an array (n, ...), and give what stands for it.

        Raises:
            CliError: the file takes no more.
        """
        place, self._end = self._end, self._end + array.nbytes
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="bigcodec-")
            self._file.seek(place)
            self._file.write(array.tobytes())
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                self.__exit__()
            raise CliError(
                f"{self._name}: its channels do not fit into {tempfile.gettempdir()}: "
                f"{error.strerror}; TMPDIR names another folder"
            ) from error
        return Spooled(self, place, array.shape, array.dtype)

    def read(self, place: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """An array that was written, or a part of it."""
        assert self._file is not None, "nothing was put"
        self._file.seek(place)
        data = self._file.read(math.prod(shape) * dtype.itemsize)
        return np.frombuffer(bytearray(data), dtype).reshape(shape)  # a copy can be written to


class Spooled:
    """An array (n, ...) in a spool; slices of it read no more than themselves."""

    def __init__(
        self, spool: ArraySpool, place: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._spool, self._place, self._shape, self._dtype = spool, place, shape, dtype

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, rows: slice) -> Spooled:
        start, stop, _ = rows.indices(len(self))
        row = self._dtype.itemsize * math.prod(self._shape[1:])
        shape = (max(0, stop - start), *self._shape[1:])
        return Spooled(self._spool, self._place + start * row, shape, self._dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self._spool.read(self._place, self._shape, self._dtype), dtype)
