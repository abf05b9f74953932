"""Prior files: what the coder `prior` knows about a model's tokens (SPEC section 8)."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from bcdc.code_groups import Grouping, group_shape
from bcdc.errors import BcdcError, PriorError
from bcdc.header import FINGERPRINT_BYTES, PRIOR_FINGERPRINT_BYTES, Geometry, Header
from bcdc.prior_network import MAX_WIDTH, Head, Linear, Network
from bcdc.varint import get_varint, put_varint

MAGIC = b"BCDP"
PRIOR_VERSION = 1

Arrays = Mapping[str, npt.NDArray[np.integer]]


@dataclasses.dataclass(frozen=True)
class Prior:
    """What is known in advance about the tokens of one model.

    `fingerprint` is the SHA-256 of the file, `model` the first six bytes of the model's
    fingerprint; `groupings` one a codebook. A prior file does not say what tokens mean:
    `geometry.f0` is False.
    """

    fingerprint: bytes
    model: bytes
    geometry: Geometry
    groupings: tuple[Grouping, ...] = dataclasses.field(repr=False)
    network: Network = dataclasses.field(repr=False)

    @property
    def name(self) -> bytes:
        """What a container names it by: the first four bytes of its fingerprint."""
        return self.fingerprint[:PRIOR_FINGERPRINT_BYTES]

    def fits(self, header: Header) -> bool:
        """Whether it is of the model and the layout of a container's tokens."""
        return (self.model, self.geometry.layout) == (header.fingerprint, header.geometry.layout)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorShape:
    """Sizes that decide the arrays of a prior file; `inputs`, `width` and `hidden` are those of
    the network. Of `geometry`, `f0` is not stored."""

    model: bytes
    geometry: Geometry
    inputs: int
    width: int
    hidden: int

    def arrays(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """Name, type and shape of every array, in the order of the file."""
        sizes = self.geometry.codebook_sizes
        for k, size in enumerate(sizes):
            yield f"{k}.order", "<u2", (size,)
        yield "embedding", "i1", (1 + sum(sizes), self.inputs)
        yield from _linear("from_input", 3 * self.width, self.inputs)
        yield from _linear("from_state", 3 * self.width, self.width)
        for k, size in enumerate(sizes):
            groups, members = group_shape(size)
            yield from _linear(f"{k}.group_hidden", self.hidden, self.width)
            yield from _linear(f"{k}.group", groups, self.hidden)
            yield from _linear(f"{k}.member_hidden", self.hidden, self.width)
            yield f"{k}.group_shift", "<i2", (groups, self.hidden)
            yield from _linear(f"{k}.member", groups * members, self.hidden)


def _linear(name: str, rows: int, columns: int) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    yield f"{name}.matrix", "i1", (rows, columns)
    yield f"{name}.factor", "<i4", (rows,)
    yield f"{name}.offset", "<i4", (rows,)


def write_prior(shape: PriorShape, arrays: Arrays) -> bytes:
    """The bytes of a prior file.

    Raises:
        ValueError: an array is missing, has another shape, or a value that does not fit.
    """
    geometry = shape.geometry
    data = MAGIC + bytes([PRIOR_VERSION]) + shape.model
    data += put_varint(geometry.hop) + bytes([geometry.codebooks])
    for number in (*geometry.codebook_sizes, shape.inputs, shape.width, shape.hidden):
        data += put_varint(number)
    parts = [data]
    for name, kind, dims in shape.arrays():
        if name not in arrays or arrays[name].shape != dims:
            raise ValueError(f"{name} must be an array of shape {dims}")
        stored = arrays[name].astype(kind)
        if not np.array_equal(stored, arrays[name]):
            raise ValueError(f"{name} has values that do not fit its type")
        parts.append(stored.tobytes())
    body = b"".join(parts)
    return body + zlib.crc32(body).to_bytes(4, "little")


def read_prior(data: bytes) -> Prior:
    """A prior from the bytes of its file.

    Raises:
        PriorError: not a prior file, of a newer version, damaged, or too large.
    """
    if data[:4] != MAGIC:
        raise PriorError("not a prior file: it does not start with BCDP")
    if len(data) < 5 or data[4] != PRIOR_VERSION:
        raise PriorError("the prior file is of a newer version than this reader")
    try:
        shape, at = _read_shape(data)
    except (BcdcError, ValueError, IndexError) as error:
        raise PriorError(f"the prior file is damaged: {error}") from error
    size = sum(np.dtype(kind).itemsize * math.prod(dims) for _, kind, dims in shape.arrays())
    if len(data) != at + size + 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise PriorError("the prior file is damaged or was cut short")
    arrays: dict[str, npt.NDArray[np.integer]] = {}
    for name, kind, dims in shape.arrays():
        arrays[name] = np.frombuffer(data, kind, math.prod(dims), at).reshape(dims)
        at += arrays[name].nbytes
    try:
        return _build(shape, arrays, hashlib.sha256(data).digest())
    except ValueError as error:
        raise PriorError(f"the prior file is damaged: {error}") from error


def _read_shape(data: bytes) -> tuple[PriorShape, int]:
    model, at = data[5 : 5 + FINGERPRINT_BYTES], 5 + FINGERPRINT_BYTES
    hop, at = get_varint(data, at)
    count, at = data[at], at + 1
    numbers: list[int] = []
    for _ in range(count + 3):
        number, at = get_varint(data, at)
        numbers.append(number)
    *sizes, inputs, width, hidden = numbers
    if max(inputs, width, hidden) > MAX_WIDTH or min(inputs, width, hidden) < 1:
        raise ValueError(f"its network has sizes {inputs}, {width} and {hidden}")
    geometry = Geometry(hop=hop, codebook_sizes=tuple(sizes))
    shape = PriorShape(model=model, geometry=geometry, inputs=inputs, width=width, hidden=hidden)
    return shape, at


def _build(shape: PriorShape, arrays: Arrays, fingerprint: bytes) -> Prior:
    def linear(name: str) -> Linear:
        matrix, factor, offset = (arrays[f"{name}.{part}"] for part in _LINEAR_PARTS)
        return Linear(matrix.astype(np.int8), factor.astype(np.int32), offset.astype(np.int32))

    books = range(shape.geometry.codebooks)
    groupings = tuple(Grouping(arrays[f"{k}.order"].astype(np.int64)) for k in books)
    heads = tuple(
        Head(
            group_hidden=linear(f"{k}.group_hidden"),
            group=linear(f"{k}.group"),
            member_hidden=linear(f"{k}.member_hidden"),
            group_shift=arrays[f"{k}.group_shift"].astype(np.int16),
            member=linear(f"{k}.member"),
        )
        for k in books
    )
    embedding = arrays["embedding"].astype(np.int8)
    network = Network(embedding, linear("from_input"), linear("from_state"), heads)
    return Prior(fingerprint, shape.model, shape.geometry, groupings, network)


_LINEAR_PARTS = ("matrix", "factor", "offset")
