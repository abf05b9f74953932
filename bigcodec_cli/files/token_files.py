"""Tokens outside containers: as arrays, and as records of everything a container of them needs.
Loads no torch.

A record is a line of JSON with the tokens as nested lists under `tokens`, or an entry of a .npz
file (see `token_shards`).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import MAGIC_PREFIX

import bcdc
from bigcodec_cli.console.messages import CliError

Array = npt.NDArray[np.integer[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TokenRecord:
    """The tokens of one recording, int (channels, frames, codebooks).

    `id` names it among others, `file` is what it came from, `samples` its length at the sample rate
    of `header`. With coded F0 the last codebook is F0's.
    """

    id: str
    file: str
    header: bcdc.Header
    samples: int
    tokens: Array = dataclasses.field(repr=False)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return bcdc.MODEL_RATE / self.header.geometry.hop

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Values of each token of a frame."""
        return self.header.geometry.codebook_sizes

    @property
    def vocabulary_size(self) -> int:
        """Values of the tokens of all codebooks, each with values of its own."""
        return sum(self.codebook_sizes)

    def facts(self) -> dict[str, Any]:
        """All of it but the tokens, as JSON has it."""
        header = self.header
        return {
            "id": self.id,
            "file": self.file,
            "model_fingerprint": header.fingerprint.hex(),
            "sample_rate": header.sample_rate,
            "samples": self.samples,
            "hop": header.geometry.hop,
            "frame_rate": self.frame_rate,
            "codebook_sizes": list(self.codebook_sizes),
            "vocabulary_size": self.vocabulary_size,
            "f0_coded": header.geometry.f0,
            "equal_channels": header.copies,
            "tags": [list(pair) for pair in header.tags],
        }

    def line(self) -> bytes:
        """All of it as a line of JSON."""
        return json.dumps(self.facts() | {"tokens": self.tokens.tolist()}).encode() + b"\n"


def record_of_line(line: bytes, number: int = 1) -> TokenRecord:
    """The record of a line of JSON; one without an id gets its number.

    Raises:
        CliError: something in it is missing or impossible.
    """
    row = parse_json(line)
    try:
        tokens = np.array(row["tokens"])
        if not tokens.size:
            tokens = np.zeros((len(row["tokens"]), 0, len(row["codebook_sizes"])), np.int32)
        return record_of({"id": str(number)} | row, tokens)
    except KeyError as error:
        raise CliError(f"the record lacks {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CliError(f"not a record of tokens: {error}") from error


def record_of(row: dict[str, Any], tokens: Array) -> TokenRecord:
    """The record of `facts` and tokens (channels, frames, codebooks).

    Raises:
        CliError: something in it is missing or impossible.
    """
    try:
        geometry = bcdc.Geometry(
            hop=_integer(row["hop"]),
            codebook_sizes=tuple(map(_integer, row["codebook_sizes"])),
            f0=_boolean(row.get("f0_coded", False)),
        )
        header = bcdc.Header(
            fingerprint=bytes.fromhex(row["model_fingerprint"]),
            sample_rate=_integer(row["sample_rate"]),
            channels=len(tokens),
            copies=_integer(row.get("equal_channels", 0)),
            geometry=geometry,
            tags=tuple((str(name), str(text)) for name, text in row.get("tags", [])),
        )
        return TokenRecord(
            id=str(row["id"]),
            file=str(row.get("file", "")),
            header=header,
            samples=_integer(row["samples"]),
            tokens=tokens,
        )
    except KeyError as error:
        raise CliError(f"the record lacks {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CliError(f"not a record of tokens: {error}") from error


def parse_json(text: bytes) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        CliError: it is none.
    """
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CliError(f"not a record of tokens: {error}") from error
    if not isinstance(row, dict):
        raise CliError("not a record of tokens: no JSON object")
    return row


def read_array(path: Path) -> Array:
    """The array of a .npy file as (channels, frames, codebooks); see `as_table`.

    Raises:
        CliError: missing, or not an array of integers of such a shape.
    """
    try:
        with path.open("rb") as file:  # numpy takes anything else for a pickle, and says so
            if file.read(len(MAGIC_PREFIX)) != MAGIC_PREFIX:
                raise ValueError("it does not begin like one")
        array: Array = np.load(path, allow_pickle=False, mmap_mode="r")
    except FileNotFoundError:
        raise CliError(f"{path}: no such file") from None
    except OSError as error:
        raise CliError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # numpy evaluates the header, and a bad one may raise anything
        reason = str(error).partition("\n")[0]
        raise CliError(f"{path}: not a .npy array: {reason}") from error
    return as_table(array, str(path))


def as_table(array: Any, name: str) -> Array:
    """An array in any shape that `Codec.encode` gives and `Codec.decode` takes, as (channels,
    frames, codebooks): (frames,) and (frames, codebooks) are those of one channel.

    Raises:
        CliError: it is none, or not of integers.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise CliError(f"{name}: not an array of integers")
    if array.ndim not in (1, 2, 3):
        raise CliError(
            f"{name}: has shape {array.shape}, not (frames,), (frames, codebooks) or "
            "(channels, frames, codebooks)"
        )
    return array[None, :, None] if array.ndim == 1 else array[None] if array.ndim == 2 else array


def id_of(path: PurePath | None, *, with_suffix: bool = False) -> str:
    """The id of an input: its path without suffix, and without what leads out of a folder."""
    if path is None:
        return "stdin"
    named = path if with_suffix else path.with_suffix("")
    return "/".join(part for part in named.parts if part not in ("..", named.anchor))


def is_inside(id: str) -> bool:
    """Whether an id can be the name of a file in a folder, or in folders below it."""
    parts = id.split("/")
    return not ("\0" in id or "\\" in id or ":" in id) and not {"", ".", ".."} & set(parts)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not an integer")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value
