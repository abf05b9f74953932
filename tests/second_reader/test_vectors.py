"""The second reader gives what the table of the vectors says."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from functools import cache
from pathlib import Path

import pytest

from .container import read_container
from .cursor import Cursor, Reason, Refused, varint_bytes
from .header import FIXED_BYTES
from .prior_file import Prior, read_prior
from .tokens import all_tokens

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"
WEIGHTS = ROOT / "models" / "bigcodec_models" / "weights"
TABLE = (VECTORS / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(.*?)` \| (.*?) \|", TABLE, re.MULTILINE)
CONTAINERS = [row for row in ROWS if row[0].endswith(".bcdc")]
PRIORS = [row for row in ROWS if row[0].endswith(".bcdp")]
REASONS: dict[str, Reason] = {
    "NotBcdcError": "foreign",
    "TruncatedError": "truncated",
    "CorruptError": "damaged",
    "UnsupportedError": "unsupported",
    "LimitError": "limit",
    "MissingPriorError": "no prior",
}


@cache
def priors() -> list[Prior]:
    """The prior of the vectors, and those that ship."""
    paths = (VECTORS / "good-prior.bcdp", *WEIGHTS.glob("priors/*.bcdp"))
    return [read_prior(path.read_bytes()) for path in paths]


def test_the_table_has_containers_and_priors() -> None:
    assert len(CONTAINERS) >= 80 and len(PRIORS) >= 12


@pytest.mark.parametrize(("name", "given"), CONTAINERS)
def test_containers(name: str, given: str) -> None:
    data = (VECTORS / name).read_bytes()
    if name.startswith("good-"):
        container = read_container(data)
        tokens = [t for channel in all_tokens(container, priors()) for row in channel for t in row]
        header = container.header
        shape = f"{header.channels} x {container.frames} x {len(header.sizes)}"
        check = zlib.crc32(struct.pack(f"<{len(tokens)}i", *tokens))
        assert given == f"tokens {shape}, CRC-32 {check:08x}"
        return
    with pytest.raises(Refused) as refusal:
        all_tokens(read_container(data), priors())
    assert refusal.value.reason == REASONS[given]


def test_what_is_impossible_or_too_new_is_not_damaged_as_well() -> None:
    """Else a reader could refuse those files without the check that each of them is about."""
    damaged = {name for name, _ in CONTAINERS if not last_checksum_matches(VECTORS / name)}
    kinds_of_damage = "bit cut foreign last-checksum noise nothing trailing-bytes trailer-length"
    kinds = tuple(f"bad-{what}" for what in kinds_of_damage.split())
    assert {n for n in damaged if not n.startswith(kinds)} == {"unsupported-extension.bcdc"}


def last_checksum_matches(path: Path) -> bool:
    """Whether the CRC-32 of header and trailer is right; the trailer is found from the end."""
    data = path.read_bytes()
    try:
        cursor = Cursor(data, FIXED_BYTES)
        if data[7] & 15:
            cursor.take(cursor.varint() + 2)
        length = Cursor(data[-5::-1]).varint()
    except (Refused, IndexError):
        return False
    trailer = data[-5 - len(varint_bytes(length)) - length : -4]
    check = zlib.crc32(trailer, zlib.crc32(data[: cursor.at]))
    return check == int.from_bytes(data[-4:], "little")


@pytest.mark.parametrize(("name", "given"), PRIORS)
def test_priors(name: str, given: str) -> None:
    data = (VECTORS / name).read_bytes()
    if name.startswith("good-"):
        assert given == "prior" and read_prior(data).fingerprint == hashlib.sha256(data).digest()
        return
    with pytest.raises(Refused):
        read_prior(data)


def test_the_fingerprint_of_a_model_is_that_of_its_tensors() -> None:
    """Section 3.2, on the file of the model that ships, safetensors read without a library."""
    (model,) = json.loads((WEIGHTS / "models.json").read_text(encoding="utf-8"))
    data = (WEIGHTS / model["file"]).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = json.loads(data[8:start])
    del tensors["__metadata__"]
    types = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        shape, (first, last) = ",".join(map(str, tensor["shape"])), tensor["data_offsets"]
        digest.update(f'["{name}","{types[tensor["dtype"]]}",[{shape}]]\n'.encode())
        digest.update(data[start + first : start + last])
    assert digest.hexdigest() == model["fingerprint"]
