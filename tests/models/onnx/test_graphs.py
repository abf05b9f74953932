"""Graphs give what torch gives, for every length and however a stream is cut; and their files."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from bigcodec_models.checkpoints.model_file import LoadedModel, save_model
from bigcodec_models.checkpoints.stored import read_stored_model
from bigcodec_models.codec import Codec
from bigcodec_models.config import PRESETS, BigCodecConfig, LiteConfig, ModelConfig
from bigcodec_models.errors import ModelFileError, ModelsError
from bigcodec_models.inference import chunking
from bigcodec_models.onnx.engine import OnnxEngine
from bigcodec_models.onnx.export import write_archive, write_folder
from bigcodec_models.onnx.graph_set import WEIGHTS, GraphSet, read_archive, read_folder
from bigcodec_models.onnx.tracing import OPSET
from bigcodec_models.onnx.verification import compare_with_torch

Wave = npt.NDArray[np.float32]
ExportOnce = Callable[..., tuple[Path, LoadedModel, GraphSet]]


def _lite(preset: str) -> LiteConfig:
    config = PRESETS[preset]
    assert isinstance(config, LiteConfig)
    return config


def _published() -> BigCodecConfig:
    """With fewer layers than the toy, for torch takes seconds to write each."""
    config = PRESETS["toy"]
    assert isinstance(config, BigCodecConfig)
    return dataclasses.replace(
        config, encoder_strides=(10, 20), decoder_strides=(20, 10), dilations=(3,)
    )


# But for the first, with one block in place of two.
CONFIGS: dict[str, ModelConfig] = {
    "single": _lite("toy-single"),  # the family of the default model
    "harmonic": dataclasses.replace(_lite("toy-harmonic"), reset_every=1280, decoder_blocks=1),
    "published": _published(),
    "causal": dataclasses.replace(
        _lite("toy-lite"),
        sequence="attention",
        attention_heads=4,
        attention_window=9,
        decoder_blocks=1,
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """A model file with random weights, what torch reads from it, and its graphs."""

    path: Path
    model: LoadedModel
    graphs: GraphSet


@pytest.fixture(scope="module", params=CONFIGS)
def exported(request: pytest.FixtureRequest, export_once: ExportOnce) -> Exported:
    path, model, graphs = export_once(request.param, CONFIGS[request.param])
    return Exported(path=path, model=model, graphs=graphs)


@pytest.fixture(scope="module")
def single(export_once: ExportOnce) -> Exported:
    path, model, graphs = export_once("single", CONFIGS["single"])
    return Exported(path=path, model=model, graphs=graphs)


def noise(samples: int) -> Wave:
    random = np.random.default_rng(samples)
    return (0.1 * random.standard_normal(samples)).astype(np.float32)


def test_engines_agree_and_cuts_change_nothing(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With short chunks, so that there are several windows, and states between them."""
    monkeypatch.setattr(chunking, "CHUNK_FRAMES", 40)
    model, graphs = exported.model, exported.graphs
    result = compare_with_torch(
        model.config, lambda f0: (Codec(model, f0=f0), Codec(graphs, f0=f0)), seed=1
    )
    assert result.of_tokens > 1000
    for f0 in model.config.f0_modes or (None,):
        codec = Codec(graphs, f0=f0)
        wave = noise(40_001)
        tokens = codec.encode(wave)
        assert np.array_equal(tokens, Codec(model, f0=f0).encode(wave))
        pieces = np.split(wave, [1, 3000, 3001, 25_000])
        assert np.array_equal(np.concatenate(list(codec.encode_stream(pieces))), tokens)
        batch = codec.encode_batch([noise(9000), wave, wave[:1]], batch_size=3)
        assert np.array_equal(batch[1], tokens)
        restored = codec.decode(tokens)
        cut = np.concatenate(list(codec.decode_stream(np.split(tokens, [1, 30, 171]))))
        assert np.array_equal(cut, restored)
        assert np.array_equal(codec.decode_batch([tokens[:7], tokens])[1], restored)
        assert np.array_equal(codec.decode(tokens, 7001, 23_456), restored[23_456:30_457])


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_nothing(single: Exported, threads: int) -> None:
    wave = noise(30_000)[None, None]
    one, several = (OnnxEngine(single.graphs, "coded", n) for n in (1, threads))
    hidden, other = (engine.encoder.pre_recurrence(wave) for engine in (one, several))
    assert np.array_equal(hidden, other)
    latents, other = (engine.encoder.post_recurrence(hidden) for engine in (one, several))
    assert np.array_equal(latents, other)
    tokens, other = (engine.quantize(latents) for engine in (one, several))
    assert np.array_equal(tokens, other)
    frames, other = (engine.decoder.pre_recurrence(tokens.T[None]) for engine in (one, several))
    assert np.array_equal(frames, other)


def test_graphs_hold_no_weights(exported: Exported, tmp_path: Path) -> None:
    """What is left in them are shapes, indices, small constants, and what torch computes of tables
    that are as small as those of these models."""
    write_folder(exported.graphs, tmp_path)
    for name, data in exported.graphs.graphs.items():
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(tmp_path / f"{name}.onnx")
        assert [row.version for row in model.opset_import if not row.domain] == [OPSET]
        inside = [
            row for row in model.graph.initializer if row.data_location != onnx.TensorProto.EXTERNAL
        ]
        weights = {
            name.encode() for name, tensor in exported.model.tensors.items() if tensor.dim() > 1
        }
        assert not weights & {row.name.encode() for row in inside if len(row.raw_data) > 256}
        for row in model.graph.initializer:
            places = {entry.key: entry.value for entry in row.external_data}
            assert not places or places["location"] == WEIGHTS


def test_the_weights_of_lite_models_are_their_model_file(single: Exported) -> None:
    assert single.graphs.weights == single.path.read_bytes()
    assert single.graphs.fingerprint == single.model.fingerprint


def test_folders_and_archives_are_read_back(exported: Exported, tmp_path: Path) -> None:
    write_folder(exported.graphs, tmp_path)
    graphs = read_folder(tmp_path)
    assert graphs.graphs == exported.graphs.graphs
    assert graphs.weights == exported.graphs.weights
    assert (graphs.config, graphs.fingerprint) == (
        exported.model.config,
        exported.model.fingerprint,
    )
    assert graphs.num_parameters == exported.model.num_parameters
    assert {file.name for file in tmp_path.iterdir()} == {
        "graphs.json",
        WEIGHTS,
        *(f"{name}.onnx" for name in graphs.graphs),
    }


def test_an_archive_reads_its_weights_from_the_model_file(single: Exported, tmp_path: Path) -> None:
    stored = read_stored_model(single.path)
    assert (stored.fingerprint, stored.digest) == (single.model.fingerprint, single.model.digest)
    assert stored.num_parameters == single.model.num_parameters
    for name in ("a", "b"):
        write_archive(single.graphs, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    graphs = read_archive(tmp_path / "a", stored)
    wave = noise(5000)
    assert np.array_equal(Codec(graphs).encode(wave), Codec(single.model).encode(wave))


def test_an_archive_of_another_model_is_refused(single: Exported, tmp_path: Path) -> None:
    write_archive(single.graphs, tmp_path / "a")
    other = dict(single.model.tensors)
    other["encoder.project.bias"] = other["encoder.project.bias"] + 1
    save_model(tmp_path / "other", other, single.model.config, single.model.info)
    with pytest.raises(ModelFileError, match="those of another model"):
        read_archive(tmp_path / "a", read_stored_model(tmp_path / "other"))


@pytest.mark.parametrize("damage", ["graph", "weights", "description", "missing", "unknown"])
def test_damaged_folders_are_refused(single: Exported, tmp_path: Path, damage: str) -> None:
    write_folder(single.graphs, tmp_path)
    files = {"graph": tmp_path / "quantizer.onnx", "weights": tmp_path / WEIGHTS}
    description = tmp_path / "graphs.json"
    if damage in files:
        data = bytearray(files[damage].read_bytes())
        data[-1] ^= 1
        files[damage].write_bytes(data)
    elif damage == "missing":
        (tmp_path / "encoder_pre.onnx").unlink()
    else:
        facts = json.loads(description.read_text())
        if damage == "unknown":
            facts["graphs"]["../quantizer"] = facts["graphs"]["quantizer"]
        else:
            facts["format"] = "other"
        description.write_text(json.dumps(facts))
    with pytest.raises(ModelFileError, match="not a usable folder of graphs"):
        read_folder(tmp_path)


def test_what_is_no_graph_is_named(single: Exported) -> None:
    broken = dataclasses.replace(single.graphs, graphs={"encoder_pre": b"no graph"})
    with pytest.raises(ModelFileError, match="the graph encoder_pre cannot be run"):
        Codec(broken).encode(noise(1000))


def test_other_weights_are_noticed(single: Exported) -> None:
    weights = bytearray(single.graphs.weights)
    start = read_stored_model(single.path).tensors["encoder.project.weight"].start
    weights[start : start + 200] = bytes(200)
    other = dataclasses.replace(single.graphs, weights=bytes(weights))
    model = single.model
    with pytest.raises(ModelsError, match="do not give what torch gives"):
        compare_with_torch(model.config, lambda f0: (Codec(model, f0=f0), Codec(other, f0=f0)))


def test_an_archive_with_a_large_graph_is_refused(single: Exported, tmp_path: Path) -> None:
    write_archive(single.graphs, tmp_path / "a")
    shutil.copy(tmp_path / "a", tmp_path / "b")
    with zipfile.ZipFile(tmp_path / "b", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("graphs.json", bytes(20 << 20))
    with pytest.raises(ModelFileError, match="too large"):
        read_archive(tmp_path / "b", read_stored_model(single.path))


def test_graphs_run_on_a_cpu_in_float32_only(single: Exported) -> None:
    for device, precision in (("cuda", "float32"), ("cpu", "bfloat16")):
        with pytest.raises(ValueError, match="on a CPU, in float32"):
            Codec(single.graphs, device, precision)
