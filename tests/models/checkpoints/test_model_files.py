"""Model files: ours, the published layouts, and files that mean harm."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from bigcodec_models import PRESETS, Codec, ModelFileError
from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.fingerprint import fingerprint
from bigcodec_models.checkpoints.model_file import ModelInfo, load_model, save_model
from bigcodec_models.checkpoints.published import adapt, load_upstream, name_pairs
from bigcodec_models.checkpoints.safe_unpickle import (
    Placeholder,
    UnsafeCheckpointError,
    load_tensors,
)
from bigcodec_models.config import BigCodecConfig, ConfigError

INFO = ModelInfo(name="mine", license="CC0-1.0", training={"steps": 3, "data": "none"})


def toy_tensors(preset: str = "toy-lite") -> dict[str, Tensor]:
    torch.manual_seed(0)
    return CodecNetwork(PRESETS[preset]).state_dict()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_our_files_hold_everything(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in toy_tensors().items()}
    save_model(tmp_path / "m.safetensors", tensors, PRESETS["toy-lite"], INFO)
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.config == PRESETS["toy-lite"] and loaded.info == INFO
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in tensors.items())
    codec = Codec.load(tmp_path / "m.safetensors")
    assert codec.fingerprint == fingerprint(tensors)
    assert list(tmp_path.iterdir()) == [tmp_path / "m.safetensors"]


def test_fingerprint_is_the_documented_hash() -> None:
    tensors = {"b": torch.tensor([[1.0, 2.0]]), "a": torch.tensor([0.5], dtype=torch.float16)}
    content = b'["a","float16",[1]]\n' + struct.pack("<e", 0.5)
    content += b'["b","float32",[1,2]]\n' + struct.pack("<ff", 1, 2)
    assert fingerprint(tensors) == hashlib.sha256(content).digest()


def test_names_of_tensors_are_a_contract() -> None:
    """Files in people's hands depend on these names and on the fingerprint made of them."""
    lite, full = toy_tensors("toy-lite"), toy_tensors("toy")
    for name in (
        "encoder.embed.weight",
        "encoder.blocks.0.depthwise.weight",
        "encoder.lstm.lstm.weight_ih_l1",
        "quantizer.codebooks.0.codes",
        "quantizer.codebooks.0.in_proj.weight_g",
        "decoder.head.bias",
    ):
        assert name in lite
    for name in (
        "encoder.frontend.0.weight_v",
        "encoder.frontend.1.layers.0.alpha",
        "encoder.lstm.0.lstm.bias_hh_l1",
        "encoder.project.1.bias",
        "decoder.embed.weight_g",
        "decoder.backend.1.weight_v",
    ):
        assert name in full


def _saved(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], None]) -> Path:
    save_model(path, toy_tensors(), PRESETS["toy-lite"], INFO)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
    tensors = dict(load_model(path).tensors)
    change(tensors, metadata)
    safetensors.torch.save_file(tensors, path, metadata)
    return path


def _grow_width(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
    metadata["config"] = json.dumps({**json.loads(metadata["config"]), "decoder_width": 8192})


CHANGES: list[Callable[[dict[str, Tensor], dict[str, str]], None]] = [
    lambda tensors, metadata: metadata.__delitem__("config"),
    lambda tensors, metadata: metadata.update(config="{"),
    lambda tensors, metadata: metadata.update(config="[]"),
    lambda tensors, metadata: metadata.update(config="[" * 100_000),
    lambda tensors, metadata: metadata.update(format="other"),
    lambda tensors, metadata: metadata.update(training="3"),
    _grow_width,
    lambda tensors, metadata: tensors.update(extra=torch.zeros(1)),
    lambda tensors, metadata: tensors.__delitem__("decoder.head.bias"),
    lambda tensors, metadata: tensors.update({"decoder.head.bias": torch.zeros(3)}),
    lambda tensors, metadata: tensors.update({"decoder.head.bias": torch.full((802,), torch.nan)}),
    lambda tensors, metadata: tensors.update({"decoder.head.bias": torch.zeros(802).long()}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_inconsistent_files_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], None]
) -> None:
    with pytest.raises(ModelFileError):
        load_model(_saved(tmp_path / "m.safetensors", change))


@pytest.mark.parametrize(
    "content",
    [b"", b"abc", struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 2) + b"{}", b"PK\3\4" * 9],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="m.safetensors: not a usable"):
        Codec.load(path)


def test_published_names_cover_every_tensor_once() -> None:
    for preset in ("toy", "bigcodec-base", "bigcodec-no-lstm"):
        config = PRESETS[preset]
        assert isinstance(config, BigCodecConfig)
        with torch.device("meta"):
            names = set(CodecNetwork(config).state_dict())
        pairs = list(name_pairs(config))
        assert {ours for _, ours in pairs} == names
        assert len({theirs for theirs, _ in pairs}) == len(pairs) == len(names)


def test_a_model_without_lstm_is_recognised() -> None:
    config = BigCodecConfig(encoder_width=2, latent_dim=8, decoder_width=32, lstm_layers=0)
    tensors = CodecNetwork(config).state_dict()
    upstream = {theirs: tensors[ours] for theirs, ours in name_pairs(config)}
    adapted, found = adapt(upstream)
    assert found == config
    assert all(torch.equal(adapted[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("fault", ["missing", "extra", "filter", "shape"])
def test_odd_checkpoints_are_refused(golden: Path, fault: str) -> None:
    loaded = load_tensors(golden / "golden_release.pt")
    flat = {f"{p}.{k}": v for p in ("CodecEnc", "generator") for k, v in loaded[p].items()}
    adapt(flat)
    if fault == "missing":
        del flat["generator.model.0.bias"]
    elif fault == "extra":
        flat["generator.model.9.bias"] = torch.zeros(1)
    elif fault == "filter":
        flat["CodecEnc.block.1.block.0.block.0.upsample.filter"] += 0.01
    else:
        flat["CodecEnc.block.0.weight_v"] = torch.zeros(2, 1)
    with pytest.raises(ConfigError):
        adapt(flat)


class Bomb:
    """Pickles into a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def _with_pickle(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path


def test_loading_runs_no_code(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    bomb = {"CodecEnc": {"x": Bomb(trace)}, "generator": {}}
    path = _with_pickle(tmp_path / "evil.pt", pickle.dumps(bomb))
    with pytest.raises(ModelFileError, match="CodecEnc.x is not a tensor"):
        load_upstream(path)
    assert isinstance(load_tensors(path)["CodecEnc"]["x"], Placeholder)
    assert not trace.exists()


def test_old_style_pickles_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))
    with pytest.raises(ModelFileError):
        Codec.load(path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04",
        b"garbage",
        b"\x80\x04.",
        pickle.dumps([1])[:-1],
        b"\x80\x04Ncos\nsystem\n.",
    ],
)
def test_malformed_pickles_are_our_error(tmp_path: Path, content: bytes) -> None:
    try:
        load_tensors(_with_pickle(tmp_path / "bad.pt", content))
    except UnsafeCheckpointError as error:
        assert "malformed" in str(error)
    else:
        assert content.startswith(b"\x80\x04Ncos")  # builds an inert placeholder, runs nothing


def _torch_file(path: Path, change: Callable[[bytes], bytes], size: int = 6) -> Path:
    torch.save({"x": torch.arange(float(size)).view(2, -1)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return path


def test_tensors_come_back(tmp_path: Path) -> None:
    path = _torch_file(tmp_path / "t.pt", bytes)
    assert torch.equal(load_tensors(path)["x"], torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"K\x02K\x03\x86", b"K\x02K\xff\x86"),  # a larger shape than the data
        (b"K\x03K\x01\x86", b"K\xffK\x01\x86"),  # a stride that leaves the data
        (b"FloatStorage", b"DoubleStorage"),
    ],
)
def test_tensors_cannot_reach_outside_their_data(tmp_path: Path, old: bytes, new: bytes) -> None:
    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new)

    with pytest.raises(UnsafeCheckpointError):
        load_tensors(_torch_file(tmp_path / "t.pt", change))


def _raw_pickle(path: Path, body: bytes) -> Path:
    """The file of `_torch_file`, its pickle replaced: persistent id 0 is 240 floats."""
    return _torch_file(path, lambda _: body, 240)


STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\xf0tQ"
)
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n("


def _rebuilt(size: int) -> bytes:
    return REBUILD + STORAGE + b"K\x00K" + bytes([size]) + b"\x85K\x01\x85tR"


def test_hand_made_pickles_load(tmp_path: Path) -> None:
    body = b"\x80\x02}X\x01\x00\x00\x00a" + _rebuilt(6) + b"s."
    assert torch.equal(load_tensors(_raw_pickle(tmp_path / "t.pt", body))["a"], torch.arange(6.0))


def test_small_files_cannot_become_large(tmp_path: Path) -> None:
    """Each costs a few bytes in the pickle, and would cost megabytes if it were believed."""
    huge_memo = b"\x80\x02}r\x00\x00\x00\x10."
    huge_bytes = b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"ab."
    many = b"\x80\x02](" + _rebuilt(240) * 5000 + b"e."
    for body in (huge_memo, huge_bytes, many):
        with pytest.raises(UnsafeCheckpointError):
            load_tensors(_raw_pickle(tmp_path / "t.pt", body))


def test_a_pickle_cannot_set_the_state_of_tensors_or_storages(tmp_path: Path) -> None:
    state = b"(K\x00K\x01K\x02t"
    tensor = b"\x80\x02}X\x01\x00\x00\x00a" + _rebuilt(6) + state + b"bs."
    assert torch.equal(load_tensors(_raw_pickle(tmp_path / "t.pt", tensor))["a"], torch.arange(6.0))
    storage = REBUILD + STORAGE + b"}X\x06\x00\x00\x00valuesNsb" + b"K\x00K\x06\x85K\x01\x85tR"
    body = b"\x80\x02}X\x01\x00\x00\x00a" + storage + b"s."
    assert torch.equal(load_tensors(_raw_pickle(tmp_path / "t.pt", body))["a"], torch.arange(6.0))
