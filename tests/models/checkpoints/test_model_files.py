"""Model files: those of this project, the published layouts, and hostile files."""

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
from bigcodec_models.checkpoints.archive import load_pickled
from bigcodec_models.checkpoints.fingerprint import fingerprint
from bigcodec_models.checkpoints.model_file import ModelInfo, load_model, save_model
from bigcodec_models.checkpoints.published import (
    adapt,
    load_upstream,
    load_upstream_discriminators,
    name_pairs,
)
from bigcodec_models.config import BigCodecConfig
from bigcodec_models.errors import ConfigError

INFO = ModelInfo(name="a model", license="CC0-1.0", training={"steps": 3, "data": "none"})


def toy_tensors(preset: str = "toy-lite") -> dict[str, Tensor]:
    torch.manual_seed(0)
    return CodecNetwork(PRESETS[preset]).state_dict()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_saved_model_is_loaded_as_it_was(tmp_path: Path, dtype: torch.dtype) -> None:
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
        published, local = zip(*name_pairs(config), strict=True)
        assert set(local) == names
        assert len(set(published)) == len(published) == len(names)


def test_a_model_without_lstm_is_recognised() -> None:
    config = BigCodecConfig(encoder_width=2, latent_dim=8, decoder_width=32, lstm_layers=0)
    tensors = CodecNetwork(config).state_dict()
    upstream = {published: tensors[local] for published, local in name_pairs(config)}
    adapted, inferred = adapt(upstream)
    assert inferred == config
    assert all(torch.equal(adapted[name], tensors[name]) for name in tensors)


def _published(golden: Path) -> dict[str, Tensor]:
    """The tensors of the golden release file, by published name."""
    loaded = load_pickled(golden / "golden_release.pt")
    return {f"{p}.{k}": v for p in ("CodecEnc", "generator") for k, v in loaded[p].items()}


@pytest.mark.parametrize("fault", ["missing", "extra", "filter", "shape"])
def test_odd_checkpoints_are_refused(golden: Path, fault: str) -> None:
    upstream = _published(golden)
    adapt(upstream)
    if fault == "missing":
        del upstream["generator.model.0.bias"]
    elif fault == "extra":
        upstream["generator.model.9.bias"] = torch.zeros(1)
    elif fault == "filter":
        name = "CodecEnc.block.1.block.0.block.0.upsample.filter"
        upstream[name] = upstream[name] + 0.01
    else:
        upstream["CodecEnc.block.0.weight_v"] = torch.zeros(2, 1)
    with pytest.raises(ConfigError):
        adapt(upstream)


def _release(path: Path, upstream: dict[str, Tensor]) -> Path:
    """A checkpoint in the layout of the release, of tensors by published name."""
    parts: dict[str, dict[str, Tensor]] = {"CodecEnc": {}, "generator": {}}
    for name, tensor in upstream.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    torch.save(parts, path)
    return path


def test_loaded_tensors_do_not_depend_on_the_file(golden: Path, tmp_path: Path) -> None:
    path = _release(tmp_path / "m.pt", _published(golden))
    loaded = load_upstream(path).tensors
    before = {name: tensor.clone() for name, tensor in loaded.items()}
    path.write_bytes(bytes(path.stat().st_size))
    assert all(torch.equal(loaded[name], tensor) for name, tensor in before.items())


def test_a_small_file_does_not_become_a_large_model(golden: Path, tmp_path: Path) -> None:
    """One number stands for all weights of a tensor: 8192 x 8 of them, or 2^30."""
    upstream = _published(golden)
    name = "generator.quantizer.layers.0._codebook.weight"
    upstream[name] = torch.zeros(1, 1).expand(65536, upstream[name].shape[1])
    with pytest.raises(ModelFileError, match="tensors are larger than the file"):
        load_upstream(_release(tmp_path / "m.pt", upstream))
    torch.save({"state_dict": {"discriminator.x": torch.zeros(1).expand(1 << 30)}}, tmp_path / "d")
    with pytest.raises(ModelFileError, match="tensors are larger than the file"):
        load_upstream_discriminators(tmp_path / "d")


class Bomb:
    """Pickles into a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def _torch_file(path: Path, body: bytes, size: int = 240) -> Path:
    """A file of torch.save with another pickle; its storage "0" holds `size` floats."""
    torch.save(torch.arange(float(size)), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, body if name.endswith("data.pkl") else content)
    return path


def test_loading_runs_no_code(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    bomb = pickle.dumps({"CodecEnc": {"x": Bomb(trace)}, "generator": {}}, protocol=2)
    path = _torch_file(tmp_path / "evil.pt", bomb)
    with pytest.raises(ModelFileError, match="refers to 'posix.mkdir'"):
        load_upstream(path)
    assert not trace.exists()
    pickle.loads(bomb)
    assert trace.exists()


def test_old_style_pickles_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))
    with pytest.raises(ModelFileError):
        Codec.load(path)
    assert not (tmp_path / "trace").exists()


def test_classes_of_hyperparameters_are_not_loaded(tmp_path: Path) -> None:
    """Any class of such a name is inert, also one that is at hand."""
    body = b"\x80\x02}X\x01\x00\x00\x00accollections\ndefaultdict\nc__builtin__\nint\n\x85Rs."
    loaded = load_pickled(_torch_file(tmp_path / "t.pt", body))
    assert type(loaded["a"]).__name__ == "_Inert"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"garbage",
        b"\x80\x02.",
        pickle.dumps({})[:-1],
        pickle.dumps({}, protocol=4),
        pickle.dumps([1], protocol=2),
        b"\x80\x02(1.",
        b"\x80\x02Ncos\nsystem\n.",
        b"\x80\x02}cbuiltins\nbytearray\nM\xff\xff\x85RNs.",
        b"\x80\x02}h\x07Ns.",
        b"\x80\x02}r\x00\x00\x00\x10\x96" + (1 << 40).to_bytes(8, "little") + b"ab.",
    ],
)
def test_malformed_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError):
        load_pickled(_torch_file(tmp_path / "bad.pt", content))


STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\xf0tQ"
)


def _tensor_pickle(
    size: bytes = b"K\x06", stride: bytes = b"K\x01", storage: bytes = STORAGE
) -> bytes:
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
    return b"\x80\x02}U\x01a" + tensor + b"K\x00" + size + b"\x85" + stride + b"\x85\x89}tRs."


def test_a_hand_made_pickle_loads(tmp_path: Path) -> None:
    loaded = load_pickled(_torch_file(tmp_path / "t.pt", _tensor_pickle()))
    assert torch.equal(loaded["a"], torch.arange(6.0))


@pytest.mark.parametrize(
    "body",
    [
        _tensor_pickle(size=b"K\xff"),
        _tensor_pickle(size=b"J\xff\xff\xff\x7f"),
        _tensor_pickle(stride=b"K\xf0"),
        _tensor_pickle(size=b"J\xff\xff\xff\xff"),
        _tensor_pickle(storage=STORAGE.replace(b"Float", b"Double"), size=b"K\xf1"),
        _tensor_pickle(storage=STORAGE.replace(b"K\xf0", b"J\xff\xff\xff\x7f"), size=b"M\xff\x7f"),
    ],
)
def test_tensors_cannot_reach_outside_the_file(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(ConfigError):
        load_pickled(_torch_file(tmp_path / "t.pt", body))


@pytest.mark.parametrize("fault", ["compressed", "twice"])
def test_archives_larger_than_their_file_are_refused(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "t.pt"
    method = zipfile.ZIP_DEFLATED if fault == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/version", "3")
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("archive/data/0", bytes(1 << 20))
        if fault == "twice":  # more entries for the same bytes
            archive.filelist += [archive.getinfo("archive/data/0")] * 2
    assert path.stat().st_size < 3 << 20
    with pytest.raises(ConfigError, match="compressed, or larger than the file"):
        load_pickled(path)


def test_a_dict_cannot_replace_its_own_methods(tmp_path: Path) -> None:
    """`BUILD` sets attributes of an OrderedDict, where `items` would come before the method."""
    ordered = b"ccollections\nOrderedDict\n"
    body = b"\x80\x02" + ordered + b")R}U\x05items" + ordered + b"sbU\x01aK\x01s."
    assert load_pickled(_torch_file(tmp_path / "t.pt", body)) == {"a": 1}
