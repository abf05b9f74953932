"""Section 8: prior files."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass

from .cursor import Cursor, Refused
from .header import bits_of, read_sizes
from .packed_matrix import LinearMap


@dataclass(frozen=True, kw_only=True)
class PriorBook:
    """What a prior has for one codebook of `size` entries in groups of `members`."""

    size: int
    members: int
    order: tuple[int, ...]
    group_hidden: LinearMap
    group: LinearMap
    member_hidden: LinearMap
    group_shift: tuple[tuple[int, ...], ...]
    member: tuple[LinearMap, ...]  # one for each group


@dataclass(frozen=True, kw_only=True)
class Prior:
    """A prior file; the fingerprint is its own, `model` that of the model."""

    fingerprint: bytes
    model: bytes
    hop: int
    sizes: tuple[int, ...]
    width: int
    embedding: tuple[tuple[int, ...], ...]
    from_input: LinearMap
    from_state: LinearMap
    books: tuple[PriorBook, ...]


def read_prior(data: bytes) -> Prior:
    """Reads a whole prior file.

    Raises:
        Refused: if it is anything but an undamaged prior file of version 1.
    """
    cursor = Cursor(data)
    if data[:4] != b"BCDP":
        raise Refused("foreign", "it does not start with BCDP")
    cursor.take(4)
    if (version := cursor.integer(1)) != 1:
        raise Refused("unsupported", f"version {version}")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise Refused("damaged", "checksum of the prior")
    model = cursor.take(6)
    hop, sizes = read_sizes(cursor)
    inputs, width, hidden = (cursor.varint() for _ in range(3))
    if not all(1 <= size <= 1024 for size in (inputs, width, hidden)):
        raise Refused("limit", f"a network of {inputs}, {width} and {hidden}")
    orders = [read_order(cursor, size) for size in sizes]
    prior = Prior(
        fingerprint=hashlib.sha256(data).digest(),
        model=model,
        hop=hop,
        sizes=sizes,
        width=width,
        embedding=read_rows(cursor, "b", 1 + sum(sizes), inputs),
        from_input=read_map(cursor, 3 * width, inputs),
        from_state=read_map(cursor, 3 * width, width),
        books=tuple(read_book(cursor, order, width, hidden) for order in orders),
    )
    if cursor.left() != 4:
        raise Refused("damaged", "bytes left over in the prior")
    return prior


def read_numbers(cursor: Cursor, kind: str, count: int) -> tuple[int, ...]:
    """That many integers of a type of the module struct."""
    layout = f"<{count}{kind}"
    return struct.unpack(layout, cursor.take(struct.calcsize(layout)))


def read_rows(cursor: Cursor, kind: str, rows: int, columns: int) -> tuple[tuple[int, ...], ...]:
    """A matrix in C order."""
    numbers = read_numbers(cursor, kind, rows * columns)
    return tuple(numbers[i : i + columns] for i in range(0, rows * columns, columns))


def read_map(cursor: Cursor, rows: int, columns: int) -> LinearMap:
    """linear (rows, columns)."""
    (linear,) = read_maps(cursor, rows, rows, columns)
    return linear


def read_maps(cursor: Cursor, rows: int, part: int, columns: int) -> tuple[LinearMap, ...]:
    """linear (rows, columns), cut into maps of `part` rows."""
    matrix = read_rows(cursor, "b", rows, columns)
    factors, offsets = read_numbers(cursor, "i", rows), read_numbers(cursor, "i", rows)
    cuts = [slice(i, i + part) for i in range(0, rows, part)]
    return tuple(LinearMap(matrix[cut], factors[cut], offsets[cut]) for cut in cuts)


def read_order(cursor: Cursor, size: int) -> tuple[int, ...]:
    """The code at each place of a codebook."""
    order = read_numbers(cursor, "H", size)
    if sorted(order) != list(range(size)):
        raise Refused("damaged", "an order is no permutation")
    return order


def read_book(cursor: Cursor, order: tuple[int, ...], width: int, hidden: int) -> PriorBook:
    """The arrays of a codebook, its order apart; its groups are those of section 6.3."""
    size = len(order)
    members = 1 << (bits_of(size) // 2)
    groups = -(-size // members)
    return PriorBook(
        size=size,
        members=members,
        order=order,
        group_hidden=read_map(cursor, hidden, width),
        group=read_map(cursor, groups, hidden),
        member_hidden=read_map(cursor, hidden, width),
        group_shift=read_rows(cursor, "h", groups, hidden),
        member=read_maps(cursor, groups * members, members, hidden),
    )
