"""The model files among the vectors; see make_vectors.py."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bigcodec_models.checkpoints.fingerprint import fingerprint
from bigcodec_models.checkpoints.uninitialized import build_uninitialized
from bigcodec_models.config import LiteConfig, QuantizerConfig, config_to_dict

Vector = tuple[str, bytes, str, str]
Weights = dict[str, npt.NDArray[Any]]
Row = dict[str, Any]

BAD = "ModelFileError"
TRACE = "loaded-code-ran"
CONFIG = LiteConfig(
    hop=2,
    n_fft=8,
    encoder_width=2,
    encoder_blocks=0,
    latent_dim=2,
    decoder_width=2,
    decoder_blocks=0,
    lstm_layers=0,
    expansion=1,
    kernel_size=1,
    quantizer=QuantizerConfig(codebook_size=4, codebook_dim=2, l2_normalized_codes=True),
)
METADATA = {
    "format": "bigcodec-model 1",
    "config": json.dumps(config_to_dict(CONFIG)),
    "name": "tiny",
    "license": "CC0-1.0",
    "training": "{}",
}
HUGE = {"decoder_width": 8192, "decoder_blocks": 64, "expansion": 16}
BIAS = "decoder.head.bias"


def vectors() -> Iterator[Vector]:
    """All model files."""
    yield from _model_files()
    yield from _headers()
    yield from _metadata()
    yield from _checkpoints()


def weights() -> Weights:
    """Random numbers of the shapes that the configuration wants."""
    random = np.random.default_rng(3)
    shapes = {name: value.shape for name, value in build_uninitialized(CONFIG).state_dict().items()}
    return {n: random.integers(-8, 9, s).astype("<f4") / 8 for n, s in sorted(shapes.items())}


def rows(tensors: Weights) -> dict[str, Row]:
    """What a safetensors header says of tensors that lie one after the other."""
    rows: dict[str, Row] = {}
    at = 0
    for name, value in tensors.items():
        kind = {"<f4": "F32", "<i8": "I64"}[value.dtype.str]
        span = [at, at + value.nbytes]
        rows[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": span}
        at = span[1]
    return rows


def file_of(header: dict[str, Any] | bytes, tensors: Weights, length: int | None = None) -> bytes:
    """A safetensors file of a header, whatever it says, and of the data of tensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(value.tobytes() for value in tensors.values())
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _model(change: Weights | None = None, **metadata: str) -> bytes:
    tensors = {**weights(), **(change or {})}
    return file_of({"__metadata__": {**METADATA, **metadata}, **rows(tensors)}, tensors)


def _model_files() -> Iterator[Vector]:
    tensors = weights()
    name = fingerprint({key: torch.from_numpy(value) for key, value in tensors.items()})
    yield "good-tiny.safetensors", _model(), f"fingerprint {name.hex()[:12]}", "114 weights"
    holed = tensors[BIAS].copy()
    holed[3] = np.nan
    yield "bad-nan.safetensors", _model({BIAS: holed}), BAD, "a weight is not a number"
    counts = tensors[BIAS].astype("<i8")
    yield "bad-integers.safetensors", _model({BIAS: counts}), BAD, "a tensor of int64"
    extra = np.zeros(1, "<f4")
    yield "bad-extra-tensor.safetensors", _model({"extra": extra}), BAD, "a tensor too many"
    few = dict(list(tensors.items())[1:])
    data = file_of({"__metadata__": METADATA, **rows(few)}, few)
    yield "bad-missing-tensor.safetensors", data, BAD, "a tensor too few"
    yield "bad-cut.safetensors", _model()[:-8], BAD, "cut short"
    yield "bad-trailing.safetensors", _model() + bytes(8), BAD, "eight bytes follow the end"
    yield "bad-foreign.safetensors", b"this is not a model\n" * 3, BAD, "a text"
    yield "bad-nothing.safetensors", b"", BAD, "an empty file"


def _headers() -> Iterator[Vector]:
    tensors = weights()
    small = {"__metadata__": METADATA, **rows(tensors)}
    huge, large = (1 << 63) + 5, 1 << 28
    for name, length in (("header-length", huge), ("header-256-mib", large)):
        words = f"a header of {length} bytes declared"
        yield f"bad-{name}.safetensors", file_of(small, {}, length), BAD, words
    for name, row, words in (
        ("overlap", {"data_offsets": [0, 40]}, "two tensors share bytes"),
        ("beyond-end", {"shape": [1 << 40], "data_offsets": [0, 1 << 42]}, "4 TiB of one tensor"),
        ("overflow", {"shape": [1 << 33, 1 << 33], "data_offsets": [0, 4]}, "2^66 numbers"),
        ("negative-shape", {"shape": [-10]}, "a shape of -10"),
        ("offsets-reversed", {"data_offsets": [80, 40]}, "a tensor that ends before it begins"),
        ("odd-type", {"dtype": "F31"}, "a type that is none"),
        ("text-shape", {"shape": ["ten"]}, "a shape of words"),
    ):
        changed = {**small, BIAS: {**small[BIAS], **row}}
        yield f"bad-{name}.safetensors", file_of(changed, tensors), BAD, words
    text = json.dumps(small).replace('"shape": [10]', '"shape": [NaN]').encode()
    assert b"NaN" in text
    yield "bad-nan-shape.safetensors", file_of(text, tensors), BAD, "a shape of NaN"
    nested = b'{"a":' * 300 + b"1" + b"}" * 300
    yield "bad-nested-header.safetensors", file_of(nested, {}), BAD, "a header 300 levels deep"
    yield "bad-header-utf8.safetensors", file_of(b'{"\xff":1}', {}), BAD, "a header of no UTF-8"


def _metadata() -> Iterator[Vector]:
    plain = config_to_dict(CONFIG)
    for name, config, words in (
        ("huge", {**plain, **HUGE}, "half a terabyte declared"),
        ("deep", {**plain, "decoder_blocks": 64, "lstm_layers": 64}, "128 layers declared"),
        ("beyond-limit", {**plain, "decoder_width": 1 << 40}, "a width of 2^40"),
        ("nan", {**plain, "decoder_width": float("nan")}, "a width of NaN"),
        ("unknown", {**plain, "loader": "os.system"}, "a setting that there is not"),
        ("family", {**plain, "family": "other"}, "a family that there is not"),
        ("hop", {**plain, "hop": 0}, "a hop of 0"),
    ):
        yield f"bad-config-{name}.safetensors", _model(config=json.dumps(config)), BAD, words
    nested = _model(config="[" * 1200)
    yield "bad-config-nested.safetensors", nested, BAD, "a configuration 1200 levels deep"
    yield "bad-format.safetensors", _model(format="other 1"), BAD, "another format"


def _checkpoints() -> Iterator[Vector]:
    """Zip files with pickles, as torch writes them, and what passes for one."""
    call = b"cposix\nmkdir\n" + _text(TRACE) + b"\x85R"
    parts = _text("CodecEnc") + b"}" + _text("x") + call + b"s" + _text("generator") + b"}"
    bomb = b"\x80\x02}(" + parts + b"u."
    evil = b"cbuiltins\nexec\n" + _text(f"open('{TRACE}', 'w').close()") + b"\x85R."
    yield "bad-code.pt", zipped({"data.pkl": bomb}), BAD, "a weight that is a call of os.mkdir"
    yield "bad-code-first.pt", zipped({"data.pkl": b"\x80\x02" + evil}), BAD, "a call of exec"
    yield "bad-code-old.pt", b"\x80\x02" + evil, BAD, "the same as a bare pickle, unzipped"
    memo = b"\x80\x02}r\xff\xff\xff\x7f."
    yield "bad-memo.pt", zipped({"data.pkl": memo}), BAD, "a memo of 2^31 entries"
    claim = b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"ab."
    yield "bad-bytes-claim.pt", zipped({"data.pkl": claim}), BAD, "2^40 bytes declared"
    nested = b"\x80\x02" + b"]" + b"(]" * 5000 + b"."
    yield "bad-nested.pt", zipped({"data.pkl": nested}), BAD, "unfinished lists, 5000 deep"
    yield "bad-no-pickle.pt", zipped({"other": b"x"}), BAD, "a zip file without a pickle"
    yield "bad-cut.pt", zipped({"data.pkl": bomb})[:-30], BAD, "a zip file cut short"
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\xf0tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
    end = b"\x89}tR"
    many = b"](" + (tensor + b"K\0K\xf0\x85K\1\x85" + end) * 60 + b"e"
    for name, body, words in (
        ("broadcast", tensor + b"K\0J\0\0\0\x40\x85K\0\x85" + end, "2^30 numbers made of one"),
        ("offset", tensor + b"J\xff\xff\xff\xffK\1\x85K\1\x85" + end, "an offset of -1"),
        ("many", many, "60 tensors that share 240 numbers"),
    ):
        content = {"data.pkl": b"\x80\x02" + body + b".", "data/0": bytes(960)}
        yield f"bad-{name}.pt", zipped(content), BAD, words
    doubled = b"".join(b"q%ch%c\x86" % (k, k) for k in range(40))
    tuples = {"data.pkl": b"\x80\x02})" + doubled + b"Ns."}
    yield "bad-tuples.pt", zipped(tuples), BAD, "a key of 40 tuples, each twice in the next"
    for name, body, words in _printed_and_copied():
        yield f"bad-{name}.pt", zipped({"data.pkl": b"\x80\x02" + body + b"."}), BAD, words
    lie = zipped({"data.pkl": bomb})
    at = lie.index(b"PK\1\2") + 20
    lie = lie[:at] + struct.pack("<II", 0xFFFFFF00, 0xFFFFFF00) + lie[at + 8 :]
    yield "bad-size-claim.pt", lie, BAD, "a pickle of 4 GiB declared"


def _printed_and_copied() -> Iterator[tuple[str, bytes, str]]:
    """Pickles that torch takes long to load or refuse, or makes something large of."""
    doubled = b"]q\0" + b"".join(b"](h%ch%ceq%c" % (k - 1, k - 1, k) for k in range(1, 40))
    ordered, names = b"ccollections\nOrderedDict\n", ("get", "items", "keys", "__len__")
    yield "printed-function", doubled + b")R", "a call of 39 lists, each twice in the next"
    yield "printed-class", doubled + b")\x81", "a new object of such lists"
    key = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + doubled + _text("cpu") + b"K\1tQ"
    yield "printed-storage", key, "a storage of such a name"
    some = b"}q\0(" + b"".join(b"K%cN" % k for k in range(100)) + b"u"
    yield "copies", b"](" + ordered + b"q\1" + some + b"h\1h\0\x85R" * 9 + b"e", "copies of a dict"
    attributes = b"](" + some + ordered + b"q\1)Rh\0b" + b"h\1)Rh\0b" * 9 + b"e"
    yield "attributes", attributes, "attributes of several objects from one dict"
    longs = ((k * ((1 << 61) - 1)).to_bytes(9, "little") for k in (1, 2))
    hashes = b"".join(b"\x8a\x09" + digits + b"N" for digits in longs)
    yield "equal-hashes", b"}(" + hashes + b"u", "keys of one hash"
    yield "sets", b"](" + b"\x8f" * 50 + b"e", "sets, of 216 bytes for one"
    methods = b"".join(_text(name) + b"N" for name in names)
    yield "methods", ordered + b")R}(" + methods + b"ub", "a dict with get and items of its own"


def _text(text: str) -> bytes:
    """A string, in a pickle."""
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def zipped(members: dict[str, bytes]) -> bytes:
    """An uncompressed zip file as torch writes it, always the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in {**members, "version": b"3\n"}.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)
    return out.getvalue()
