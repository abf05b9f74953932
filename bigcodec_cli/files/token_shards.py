"""Files with the tokens of many recordings: lines of JSON (.jsonl), or .npz. Loads no torch.

A .npz holds an array int32 (channels, frames, codebooks) for each recording under its id, and all
else of the records as JSON, a list, in the bytes of the array `_records`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.token_files import (
    Array,
    TokenRecord,
    as_table,
    parse_json,
    record_of,
    record_of_line,
)

RECORDS = "_records"
_MAX_ARRAY_BYTES = 1 << 30
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every array in an archive, so that equal tokens make equal files."""


class TokenShard(Protocol):
    """A file of many recordings, each of which is read when it is asked for."""

    @property
    def ids(self) -> Sequence[str]:
        """Their ids, in the order of the file."""

    def read(self, index: int) -> TokenRecord | Array:
        """One of them; only tokens (channels, frames, codebooks) where the file has no more.

        Raises:
            CliError: it cannot be read, or is impossible.
        """


def open_shard(path: Path) -> TokenShard:
    """Open a .jsonl or .npz file.

    Raises:
        CliError: missing, unreadable, or of another kind.
    """
    try:
        return _Archive(path) if path.suffix == ".npz" else _Lines(path)
    except FileNotFoundError:
        raise CliError(f"{path}: no such file") from None
    except OSError as error:
        raise CliError(f"{path}: cannot be read: {error.strerror}") from error
    # zipfile raises NotImplementedError for a way of packing that it does not know.
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise CliError(f"{path}: not a .npz file: {error}") from error


class _Lines:
    """Lines of JSON, those that are not blank."""

    def __init__(self, path: Path) -> None:
        self._path, self._places, self.ids = path, list[tuple[int, int]](), list[str]()
        with path.open("rb") as file:
            start = 0
            for line in file:
                if line.strip():
                    self._places.append((start, len(line)))
                    self.ids.append(_id_of_line(line, len(self._places)))
                start += len(line)

    def read(self, index: int) -> TokenRecord:
        start, length = self._places[index]
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                return record_of_line(file.read(length), index + 1)
        except OSError as error:
            raise CliError(f"{self._path}: cannot be read: {error.strerror}") from error


def _id_of_line(line: bytes, number: int) -> str:
    """The id of a line, or its number if it has none; whether it is good turns out later."""
    try:
        return str(parse_json(line).get("id", number))
    except CliError:
        return str(number)


class _Archive:
    """A .npz file, by `ArchiveWriter` or by `numpy.savez`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            rows = self._rows(archive) if RECORDS in names else []
        self.ids = [name for name in names if name != RECORDS]
        self._facts = {str(row.get("id")): row for row in rows if isinstance(row, dict)}

    def read(self, index: int) -> TokenRecord | Array:
        name = self.ids[index]
        with zipfile.ZipFile(self._path) as archive:
            tokens = as_table(_array(archive, name, str(self._path)), f"{self._path}: {name}")
        return record_of(self._facts[name], tokens) if name in self._facts else tokens

    def _rows(self, archive: zipfile.ZipFile) -> list[Any]:
        text = np.asarray(_array(archive, RECORDS, str(self._path)))
        try:
            rows = json.loads(text.astype(np.uint8).tobytes())
        except (ValueError, TypeError, RecursionError) as error:
            raise CliError(f"{self._path}: {RECORDS} cannot be read: {error}") from error
        return rows if isinstance(rows, list) else []


def _array(archive: zipfile.ZipFile, name: str, path: str) -> Any:
    member = f"{name}.npy" if f"{name}.npy" in archive.namelist() else name
    if archive.getinfo(member).file_size > _MAX_ARRAY_BYTES:
        raise CliError(f"{path}: {name} is larger than {_MAX_ARRAY_BYTES} bytes")
    try:
        return np.load(io.BytesIO(archive.read(member)), allow_pickle=False)
    except Exception as error:  # numpy evaluates the header, and a bad one may raise anything
        reason = str(error).partition("\n")[0]
        raise CliError(f"{path}: {name} is not a .npy array: {reason}") from error


class ShardWriter(Protocol):
    """Writes recordings, one after the other."""

    def add(self, record: TokenRecord) -> None:
        """Write one."""

    def finish(self) -> None:
        """Complete the file."""

    def close(self) -> None:
        """Let go of the file, also where it is not complete."""


def shard_writer(kind: str, out: BinaryIO) -> ShardWriter:
    """A writer of kind jsonl or npz."""
    return ArchiveWriter(out) if kind == "npz" else LineWriter(out)


class LineWriter:
    """Writes lines of JSON."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def add(self, record: TokenRecord) -> None:
        """See `ShardWriter`."""
        self._out.write(record.line())

    def finish(self) -> None:
        """See `ShardWriter`."""
        self._out.flush()

    def close(self) -> None:
        """See `ShardWriter`."""


class ArchiveWriter:
    """Writes a .npz file; the tokens of each recording as they come."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._facts = out, list[dict[str, Any]]()
        self._archive = zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED)

    def add(self, record: TokenRecord) -> None:
        """See `ShardWriter`."""
        self._facts.append(record.facts())
        self._write(record.id, record.tokens)

    def finish(self) -> None:
        """See `ShardWriter`."""
        text = json.dumps(self._facts).encode()
        self._write(RECORDS, np.frombuffer(text, np.uint8))
        self._archive.close()
        self._out.flush()

    def close(self) -> None:
        """See `ShardWriter`."""
        self._archive.close()

    def _write(self, name: str, array: Any) -> None:
        member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
        member.compress_type = zipfile.ZIP_DEFLATED
        with self._archive.open(member, "w", force_zip64=True) as file:
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
