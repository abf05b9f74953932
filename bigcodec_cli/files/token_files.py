"""Tokens outside containers: as .npy arrays, and as lines of JSON. Loads no torch.

An array has shape (channels, frames, codebooks), int32. A line of JSON holds the same as nested
lists under `tokens`, and everything else that a container of them needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import bcdc
from bigcodec_cli.console.messages import CliError

Array = npt.NDArray[np.integer[Any]]


def as_record(name: str, container: bcdc.Container, tokens: bcdc.Tokens) -> dict[str, Any]:
    """What a line of JSON holds."""
    header = container.header
    return {
        "file": name,
        "model_fingerprint": header.fingerprint.hex(),
        "sample_rate": header.sample_rate,
        "samples": container.num_samples,
        "hop": header.geometry.hop,
        "codebook_sizes": list(header.geometry.codebook_sizes),
        "f0_coded": header.geometry.f0,
        "equal_channels": header.copies,
        "tags": [list(pair) for pair in header.tags],
        "tokens": tokens.tolist(),
    }


def from_record(line: bytes) -> tuple[str, bcdc.Header, int, Array]:
    """Name, header, samples and tokens of a line of JSON.

    Raises:
        CliError: something in it is missing or impossible.
    """
    try:
        row = json.loads(line)
        geometry = bcdc.Geometry(
            hop=_integer(row["hop"]),
            codebook_sizes=tuple(map(_integer, row["codebook_sizes"])),
            f0=_boolean(row.get("f0_coded", False)),
        )
        tokens = np.array(row["tokens"])
        if not tokens.size:
            tokens = np.zeros((len(row["tokens"]), 0, geometry.codebooks), np.int32)
        header = bcdc.Header(
            fingerprint=bytes.fromhex(row["model_fingerprint"]),
            sample_rate=_integer(row["sample_rate"]),
            channels=len(tokens),
            copies=_integer(row.get("equal_channels", 0)),
            geometry=geometry,
            tags=tuple((str(name), str(text)) for name, text in row.get("tags", [])),
        )
        return str(row.get("file", "")), header, _integer(row["samples"]), tokens
    except KeyError as error:
        raise CliError(f"the record lacks {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CliError(f"not a record of tokens: {error}") from error


def read_array(path: Path) -> Array:
    """The array of a .npy file: (channels, frames, codebooks), or (frames,) for one of each.

    Raises:
        CliError: missing, or not an array of integers of such a shape.
    """
    try:
        array: Array = np.load(path, allow_pickle=False, mmap_mode="r")
    except FileNotFoundError:
        raise CliError(f"{path}: no such file") from None
    except OSError as error:
        raise CliError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # numpy evaluates the header, and a bad one may raise anything
        reason = str(error).partition("\n")[0]
        raise CliError(f"{path}: not a .npy array: {reason}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise CliError(f"{path}: not an array of integers")
    if array.ndim not in (1, 3):
        raise CliError(f"{path}: has shape {array.shape}, not (channels, frames, codebooks)")
    return array[None, :, None] if array.ndim == 1 else array


def lines_of(path: Path) -> Iterator[bytes]:
    """Lines of a file that are not blank.

    Raises:
        CliError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from (line for line in file if line.strip())
    except OSError as error:
        raise CliError(f"{path}: cannot be read: {error.strerror}") from error


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not an integer")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value
