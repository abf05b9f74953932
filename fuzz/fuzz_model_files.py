"""Fuzzes model files and priors: any bytes give a model or one of our errors, and run nothing.

    fuzzenv/bin/python fuzz/fuzz_model_files.py CORPUS -max_len=20000 -timeout=20

Mutated files are taken apart and put together again: JSON of safetensors headers with lengths that
fit, pickles in whole zip files, priors with their checksum.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import os
import random
import resource
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "format"))

with atheris.instrument_imports(include=["bigcodec_models", "bcdc", "zipfile", "pickletools"]):
    from repair import with_last_check

    import bcdc
    from bigcodec_models.codec import read_model
    from bigcodec_models.errors import ModelFileError

MAX_SECONDS = 10.0
MORE_MEMORY = 500 << 20
MORE_ADDRESSES = 8 << 30
FORBIDDEN = ("exec", "compile", "import", "pickle.find_class", "os.", "subprocess.", "socket.")
ALLOWED = ("os.listdir", "os.scandir")
VECTORS = ROOT / "tests" / "vectors"
MODEL = bytes.fromhex("0123456789ab")

KNOWN: set[str] = set()
"""What our own code does in this way, such as to evaluate its annotations."""
watching, learning = False, True


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Python's own report of what code does, while a file is being loaded."""
    if not watching or not event.startswith(FORBIDDEN) or event in ALLOWED:
        return
    code = arguments[0] if event == "exec" else None
    what = f"{event} {(code.co_code, code.co_names, code.co_consts) if code else arguments}"
    if learning:
        KNOWN.add(what)
    elif what not in KNOWN:
        os.write(2, f"FINDING: {what}\n".encode())
        os.abort()


def check(data: bytes) -> None:
    """The property. Anything but our errors is a finding."""
    global watching
    started = time.process_time()
    if not data.startswith(b"BCDP"):
        FILE.write_bytes(data)
    watching = True
    try:
        check_prior(data) if data.startswith(b"BCDP") else read_model(FILE)
    except ModelFileError as error:
        assert "\n" not in str(error)
    finally:
        watching = False
    assert time.process_time() - started < MAX_SECONDS, "too slow"
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    assert used < BASE_MEMORY + MORE_MEMORY, "too much memory"
    assert list(FILE.parent.iterdir()) in ([FILE], []), "something was written"


def check_prior(data: bytes) -> None:
    """A prior that can be read codes tokens, and decodes what it has coded and anything else."""
    try:
        prior = bcdc.read_prior(data)
    except bcdc.PriorError:
        return
    geometry = prior.geometry
    tokens = np.zeros((1, 3, geometry.codebooks), np.int32)
    tokens[0, 1] = np.array(geometry.codebook_sizes) - 1
    header = bcdc.Header(fingerprint=prior.model, sample_rate=16000, geometry=geometry)
    coding = bcdc.Coding(bcdc.header_for(header, bcdc.Coder.PRIOR, prior), prior)
    (payload,) = coding.encode_coded([tokens])
    if len(payload) < header.raw_bytes(3):
        assert np.array_equal(coding.decode([payload], 3)[0], tokens), "not the same"
    with contextlib.suppress(bcdc.CorruptError):
        coding.decode([data[-4 - len(data) % 3 : -4]], 3)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """A change inside, by the kind of file, or libFuzzer's own."""
    choice = random.Random(seed)
    change: Callable[[bytes, random.Random], bytes] | None = None
    if data.startswith(b"PK"):
        change = changed_checkpoint
    elif data.startswith(b"BCDP"):
        change = changed_prior
    elif len(data) > 8:
        change = changed_safetensors
    if change is not None and choice.random() < 0.9:
        with contextlib.suppress(Exception):  # it may be in no state to be taken apart
            return change(data, choice)[:max_size]
    return bytes(atheris.Mutate(data, max_size))


def changed_prior(data: bytes, choice: random.Random) -> bytes:
    """One with its checksum right; mostly the sizes in front are changed."""
    changed = bytearray(data)
    for _ in range(choice.randint(1, 4)):
        end = choice.choice([24, 24, len(changed)])
        changed[choice.randrange(5, min(end, len(changed)))] = choice.choice([0, 1, 2, 255, 127, 8])
    return with_last_check(bytes(changed))


def changed_checkpoint(data: bytes, choice: random.Random) -> bytes:
    """A zip file with one member changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = [name for name in members if name.endswith("data.pkl")] * 4 + list(members)
    name = choice.choice(names)
    members[name] = changed_pickle(members[name], choice)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    return out.getvalue()


SNIPPETS = [
    b"cposix\nsystem\nX\4\0\0\0true\x85R",
    b"cbuiltins\nexec\nX\1\0\0\0x\x85R",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\xf0tQ",
    b"ccollections\nOrderedDict\n)R",
    b"X\x08\0\0\0CodecEnc}s",
    b"X\x0a\0\0\0state_dict}s",
    *(
        bytes([code])
        for code in b"(.0123FGIJKLMNPQRSTUVX]^abcdeghijlopqrstu})\x81\x85\x86\x88\x8a\x94"
    ),
]


def changed_pickle(content: bytes, choice: random.Random) -> bytes:
    """Opcodes put in, taken out, or changed."""
    at = choice.randint(0, len(content))
    kind = choice.randrange(4)
    if kind == 0:
        return content[:at] + choice.choice(SNIPPETS) + content[at:]
    if kind == 1:
        return content[:at] + content[at + choice.randint(1, 8) :]
    if kind == 2:
        return content[:at] + bytes([choice.randrange(256)]) + content[at + 1 :]
    return bytes(atheris.Mutate(content, len(content) + 64))


ODD: list[Any] = [
    None, True, -1, 0, 1, 2, 1 << 31, 1 << 40, 1 << 63, 1 << 64, 1e308, float("nan"), "", "F32",
    "F16", "BF16", "I64", "F8_E4M3", [], {}, [[]], [0, 0], [1, 1 << 62], "x" * 99,
]  # fmt: skip


def changed_safetensors(data: bytes, choice: random.Random) -> bytes:
    """One with another header, or the same header behind another length."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    for _ in range(choice.randint(1, 3)):
        change_value(header, choice)
    text = json.dumps(header).encode()
    if choice.random() < 0.1:
        text = bytes(atheris.Mutate(text, len(text) + 64))
    size = choice.choice([0, 1, 7, 1 << 24, 1 << 63]) if choice.random() < 0.05 else len(text)
    return struct.pack("<Q", size) + text + body


def change_value(where: Any, choice: random.Random) -> None:
    """Change, remove or add one thing somewhere in JSON; texts that hold JSON are gone into."""
    keys = list(where) if isinstance(where, dict) else list(range(len(where)))
    if not keys:
        return
    key = choice.choice(keys)
    inner = where[key]
    if isinstance(inner, str) and inner.startswith("{") and choice.random() < 0.8:
        nested = json.loads(inner)
        change_value(nested, choice)
        where[key] = json.dumps(nested)
    elif isinstance(inner, dict | list) and choice.random() < 0.8:
        change_value(inner, choice)
    elif choice.random() < 0.1:
        del where[key]
    elif isinstance(where, dict) and choice.random() < 0.1:
        where[choice.choice(["", "x", "decoder.head.bias", "__metadata__"])] = inner
    else:
        where[key] = choice.choice([*ODD, choice.randint(0, 300)])


def learn() -> None:
    """Load files that are known, so that whatever is imported or evaluated on the way has been."""
    global watching, learning
    sys.addaudithook(watch)
    for name in ("ascii", "latin_1", "utf_8", "cp437", "unicode_escape", "raw_unicode_escape"):
        codecs.lookup(name)
    for path in sorted(VECTORS.iterdir()):
        if path.suffix in (".safetensors", ".pt"):
            FILE.write_bytes(path.read_bytes())
            watching = True
            try:
                read_model(FILE)
            except ModelFileError:
                continue
            finally:
                watching = False
    learning = False


def main() -> None:
    global BASE_MEMORY, FILE
    with tempfile.TemporaryDirectory() as folder:
        corpus = [str(Path(name).resolve()) if Path(name).exists() else name for name in sys.argv]
        os.chdir(folder)
        FILE = Path(folder) / "model"
        learn()
        BASE_MEMORY = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MORE_ADDRESSES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        atheris.Setup(corpus, check, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
