"""A slow reader of headers and coded blocks, written from SPEC.md alone: no numpy,
constriction, bcdc.

What it and the package agree on is what the specification says.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal, getcontext
from functools import cache
from typing import Any

getcontext().prec = 40
TOTAL = 1 << 24
Row = list[int]
Table = list[Row]


def nearest(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_HALF_UP))


@cache
def sigmoid(i: int) -> int:
    i = max(-8192, min(8191, i))
    return min(32767, nearest(32768 / (1 + (Decimal(-i) / 1024).exp())))


@cache
def tanh(i: int) -> int:
    i = max(-8192, min(8191, i))
    grown = (Decimal(2 * i) / 1024).exp()
    return min(32767, nearest(32768 * (grown - 1) / (grown + 1)))


@cache
def power(i: int) -> int:
    return nearest(Decimal(2) ** (24 - Decimal(i) / 1024))


def small(value: int) -> int:
    return min(127, (value + 128) >> 8)


def shared(weights: Row, best: int) -> Row:
    size, total = len(weights), sum(weights)
    shared = [2 + weight * (TOTAL - 2 * size) // total for weight in weights]
    shared[best] += TOTAL - sum(shared)
    return shared


def of_logits(logits: Row) -> Row:
    top = max(logits)
    weights = [power((top - x) % 1024) >> min(25, (top - x) >> 10) for x in logits]
    return shared(weights, logits.index(top))


def of_counts(counts: Row) -> Row:
    return shared(counts, counts.index(max(counts)))


class RangeDecoder:
    """Section 6.2."""

    def __init__(self, payload: bytes) -> None:
        self.rest = payload
        self.low, self.range = 0, (1 << 64) - 1
        self.point = self.take(8)

    def take(self, count: int) -> int:
        some, self.rest = self.rest[:count], self.rest[count:]
        return int.from_bytes(some + bytes(count - len(some)), "big")

    def symbol(self, frequencies: Row) -> int:
        assert sum(frequencies) == TOTAL and min(frequencies) >= 2
        scale = self.range >> 24
        position = ((self.point - self.low) % (1 << 64)) // scale
        assert position < TOTAL
        index = before = 0
        while position >= before + frequencies[index]:
            before += frequencies[index]
            index += 1
        self.low = (self.low + scale * before) % (1 << 64)
        self.range = scale * frequencies[index]
        if self.range < 1 << 32:
            self.low = (self.low << 32) % (1 << 64)
            self.range <<= 32
            self.point = ((self.point << 32) % (1 << 64)) | self.take(4)
        return index


def header(data: bytes) -> dict[str, Any]:
    """Section 3, of a header without tags."""
    assert data[:4] == b"BCDC" and data[6] == 1
    flags, coder, hop, sizes, prior, at = data[7] & 15, data[7] >> 4, 200, [8192], b"", 18
    if flags:
        length, at = varint(data, at)
        end = at + length
        if flags & 4:
            hop, at = varint(data, at)
            count, at, sizes = data[at], at + 1, []
            for _ in range(count):
                size, at = varint(data, at)
                sizes.append(size)
        if flags & 1:
            prior, at = data[at : at + 4], at + 4
        assert at == end and not flags & 2
    f0 = bool(flags & 8)
    assert not f0 or (len(sizes) > 1 and sizes[-1] == 154)
    rate, copies = (n := int.from_bytes(data[14:17], "little")) % 2**20, n // 2**20
    assert not copies or data[17] == 1
    fields = {"model": data[8:14], "rate": rate, "channels": data[17], "coder": coder}
    return {**fields, "hop": hop, "sizes": sizes, "f0": f0, "prior": prior}


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Section 2.2: a value, and what follows it."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return value, at


def check(payload: bytes, number: int, short: bool) -> bytes:
    """Sections 2.3 and 4: what stands before a block's payload."""
    seed = number % 2**31 + (2**31 if short else 0)
    return struct.pack("<I", zlib.crc32(struct.pack("<I", seed) + payload))


def shape(size: int) -> tuple[int, int]:
    """Section 6.3: groups and members."""
    bits = (size - 1).bit_length()
    members = 1 << (bits // 2)
    return -(-size // members), members


class PriorFile:
    """Section 8, as nested lists."""

    def __init__(self, data: bytes) -> None:
        assert data[:5] == b"BCDP\x01"
        self.data, self.at = data, 11
        self.hop = self.varint()
        books = self.data[self.at]
        self.at += 1
        self.sizes = [self.varint() for _ in range(books)]
        inputs, width, hidden = self.varint(), self.varint(), self.varint()
        self.width = width
        self.orders = []
        for size in self.sizes:
            self.orders.append(self.numbers("H", size))
        self.embedding = self.table("b", 1 + sum(self.sizes), inputs)
        self.from_input = self.linear(3 * width, inputs)
        self.from_state = self.linear(3 * width, width)
        self.heads = []
        for size in self.sizes:
            groups, members = shape(size)
            head: dict[str, Any] = {"group_hidden": self.linear(hidden, width)}
            head["group"] = self.linear(groups, hidden)
            head["member_hidden"] = self.linear(hidden, width)
            head["shift"] = self.table("h", groups, hidden)
            head["member"] = self.linear(groups * members, hidden)
            self.heads.append(head)
        assert self.at == len(data) - 4

    def varint(self) -> int:
        value, self.at = varint(self.data, self.at)
        return value

    def numbers(self, kind: str, count: int) -> Row:
        form = f"<{count}{kind}"
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return list(values)

    def table(self, kind: str, rows: int, columns: int) -> Table:
        flat = self.numbers(kind, rows * columns)
        return [flat[row * columns : (row + 1) * columns] for row in range(rows)]

    def linear(self, rows: int, columns: int) -> tuple[Table, Row, Row]:
        return self.table("b", rows, columns), self.numbers("i", rows), self.numbers("i", rows)


def apply(linear: tuple[Table, Row, Row], x: Row, first: int = 0, count: int | None = None) -> Row:
    rows = range(first, len(linear[0]) if count is None else first + count)
    matrix, factor, offset = linear
    return [
        sum(a * b for a, b in zip(matrix[r], x, strict=True)) * factor[r] + offset[r] for r in rows
    ]


def adaptive_blocks(sizes: Row, payloads: list[bytes], channels: int, frames: Row) -> Iterator[int]:
    """Section 6.4, for the blocks of the first run, each of its own number of frames."""
    counts = [[1] * size for size in sizes]
    tables = [of_counts(c) for c in counts]
    seen = [0] * len(sizes)
    lists: list[dict[int, dict[int, int]]] = [{} for _ in sizes]
    ages = [[[2, 1] for _ in range(32)] for _ in sizes]
    last: dict[tuple[int, int], int] = {}
    for payload, length in zip(payloads, frames, strict=True):
        coder = RangeDecoder(payload)
        for channel in range(channels):
            for at in range(length * len(sizes)):
                k = at % len(sizes)
                if (channel, k) not in last:
                    token = coder.symbol(tables[k])
                else:
                    before = last[channel, k]
                    followers = lists[k].setdefault(before, {before: 1})
                    digits = bin(sum(followers.values()))[2:]
                    half = int(digits[1]) if len(digits) > 1 else 0
                    age = ages[k][min(31, 2 * len(digits) - 2 + half)]
                    known = coder.symbol(of_counts(age))
                    if not known:
                        token = coder.symbol(tables[k])
                    else:
                        index = 0
                        if len(followers) > 1:
                            index = coder.symbol(of_counts(list(followers.values())))
                        token = list(followers)[index]
                    age[known] += 2
                    followers[token] = followers.get(token, 0) + 1
                last[channel, k] = token
                counts[k][token] += 1
                seen[k] += 1
                if seen[k] % 64 == 0:
                    tables[k] = of_counts(counts[k])
                yield token


def prior_block(prior: PriorFile, payload: bytes, channels: int, frames: int) -> Iterator[int]:
    """Sections 6.5 and 7."""
    coder, width = RangeDecoder(payload), prior.width
    for _ in range(channels):
        state, row = [0] * width, 0
        for at in range(frames * len(prior.sizes)):
            k = at % len(prior.sizes)
            groups, members = shape(prior.sizes[k])
            a = apply(prior.from_input, prior.embedding[row])
            b = apply(prior.from_state, [small(v) for v in state])
            for i in range(width):
                r = sigmoid((a[i] + b[i]) >> 16)
                z = sigmoid((a[width + i] + b[width + i]) >> 16)
                n = tanh((a[2 * width + i] >> 16) + ((r * (b[2 * width + i] >> 16)) >> 15))
                state[i] = n + ((z * (state[i] - n) + (1 << 14)) >> 15)
            s = [small(v) for v in state]
            head = prior.heads[k]
            u = [small(tanh(v >> 16)) for v in apply(head["group_hidden"], s)]
            group = coder.symbol(of_logits([v >> 16 for v in apply(head["group"], u)]))
            member = 0
            if members > 1:
                raw = apply(head["member_hidden"], s)
                shift = head["shift"][group]
                v = [small(tanh((x >> 16) + y)) for x, y in zip(raw, shift, strict=True)]
                logits = apply(head["member"], v, group * members, members)
                member = coder.symbol(of_logits([x >> 16 for x in logits]))
            place = group * members + member
            row = 1 + sum(prior.sizes[:k]) + place
            yield prior.orders[k][place]
