"""Checkpoints that crashed the program, hung it, or took memory far beyond their own size.

All are read in one other process, with limits on its time and memory.
"""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

VECTORS = Path(__file__).parents[2] / "vectors"
ORDERED = b"ccollections\nOrderedDict\n"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\xf0tQ"
DOUBLED = b"]q\0" + b"".join(b"](h%ch%ceq%c" % (k - 1, k - 1, k) for k in range(1, 40))
TUPLES = b")" + b"".join(b"q%ch%c\x86" % (k, k) for k in range(64))
DICT = b"}q\0(" + b"".join(b"M" + struct.pack("<H", k) + b"N" for k in range(4000)) + b"u"
SAME_HASH = b"".join(
    b"\x8a\x0a" + (k * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for k in range(20_000)
)
PICKLES = {
    "a tuple 200000 deep as a key": b"})" + b"\x85" * 200_000 + b"Ns",
    "a tuple of 2^64 as a key": b"}" + TUPLES + b"Ns",
    "the same as a key of an ordered dict": ORDERED + b")R" + TUPLES + b"Ns",
    "the same as the name of a storage": b"(" + TUPLES + b"tQ",
    "keys of equal hashes": b"}(" + SAME_HASH + b"u",
    "a call of lists": DOUBLED + b")R",
    "arguments of lists": TENSOR + DOUBLED + b"R",
    "a class of lists": DOUBLED + b")\x81",
    "copies of a dict": b"](" + ORDERED + b"q\1" + DICT + b"h\1h\0\x85R" * 20_000 + b"e",
    "attributes from one dict": b"](" + DICT + ORDERED + b"q\1)R" + b"h\1)Rh\0b" * 20_000 + b"e",
    "arguments from one list": b"](]q\0("
    + b"N" * 60_000
    + b"ecbuiltins\ndict\nq\1"
    + b"h\1h\0R" * 40_000
    + b"e",
    "long sizes": b"](]("
    + b"K\1" * 9000
    + b"eq\2"
    + STORAGE
    + b"q\4"
    + TENSOR
    + b"q\3"
    + b"h\3(h\4K\0h\2h\2\x89)tR" * 9000
    + b"e",
    "sets": b"](" + b"\x8f" * 250_000 + b"e",
    "a root with get and items": ORDERED + b")R}(X\3\0\0\0getNX\5\0\0\0itemsNub",
    "a larger pickle than a file of its size has": b"](" + b"]" * 300_000 + b"e",
}
READ = """
import re, resource, sys, time
from pathlib import Path
from bigcodec_models.checkpoints.published import load_upstream_discriminators
from bigcodec_models.codec import read_model
from bigcodec_models.errors import ModelFileError

resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (2 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def peak():
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])


for path in map(Path, sys.argv[1:]):
    before, start = peak(), time.process_time()
    for read in (read_model, load_upstream_discriminators):
        try:
            read(path)
            assert read is load_upstream_discriminators
        except ModelFileError as error:
            assert len(str(error)) < 1000
    grown = peak() - before
    print(path.name, grown >> 10, round(time.process_time() - start, 2), flush=True)
"""


def costly(files: list[Path]) -> list[list[str]]:
    """Files that took more than 80 MB or 5 seconds: their rows. All must be refused."""
    result = subprocess.run(
        [sys.executable, "-c", READ, *files], capture_output=True, text=True, timeout=300
    )
    rows = [line.rsplit(" ", 2) for line in result.stdout.splitlines()]
    assert result.returncode == 0, (rows, result.stderr[-500:])
    assert [name for name, _, _ in rows] == [path.name for path in files]
    return [row for row in rows if int(row[1]) > 80 or float(row[2]) > 5]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_pickles_cost_little(tmp_path: Path) -> None:
    for name, body in PICKLES.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
            archive.writestr("archive/version", "3")
            archive.writestr("archive/data/0", bytes(960))
    assert costly(sorted(tmp_path.iterdir())) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_bad_vectors_cost_little() -> None:
    assert costly(sorted([*VECTORS.glob("bad-*.pt"), *VECTORS.glob("bad-*.safetensors")])) == []


def test_a_second_directory_is_refused(tmp_path: Path) -> None:
    """Python and torch could each find another pickle."""
    inner, path = io.BytesIO(), tmp_path / "two.pt"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + DOUBLED + b")R.")
        archive.writestr("archive/version", "3")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/version", "3")
        archive.comment = inner.getvalue()
    assert costly([path]) == []
