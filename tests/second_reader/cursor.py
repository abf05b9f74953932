"""A place in bytes, and the one exception of this reader."""

from __future__ import annotations

import zlib
from typing import Literal

Reason = Literal["foreign", "truncated", "damaged", "unsupported", "limit", "no prior"]


class Refused(Exception):
    """The file is not read: `reason` is the kind of fault, the message says which one."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason: Reason = reason


class Cursor:
    """Reads on from `at`; where the bytes end too early, that is refused for the reason `short`."""

    def __init__(self, data: bytes, at: int = 0, short: Reason = "truncated") -> None:
        self.data, self.at, self.short = data, at, short

    def left(self) -> int:
        """How many bytes follow."""
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size > self.left():
            raise Refused(self.short, f"{size} bytes expected at {self.at}, {self.left()} left")
        self.at += size
        return self.data[self.at - size : self.at]

    def integer(self, size: int) -> int:
        """An unsigned integer of fixed size (section 2.1)."""
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        """An integer in base 128 (section 2.2)."""
        value = 0
        for position in range(8):
            byte = self.integer(1)
            value |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                if byte == 0 and position > 0:
                    raise Refused("damaged", "a varint is longer than it need be")
                return value
        raise Refused("damaged", "a varint has more than eight bytes")


def varint_bytes(value: int) -> bytes:
    """The one form of a value (section 2.2)."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits[-1] |= 0x80
        digits.append(value & 0x7F)
    return bytes(digits)


def check32(seed: int, data: bytes) -> int:
    """Section 2.3; the seed is below 2^32."""
    return zlib.crc32(data, zlib.crc32(seed.to_bytes(4, "little")))


def check16(data: bytes) -> int:
    """Section 2.3."""
    return check32(0, data) & 0xFFFF
