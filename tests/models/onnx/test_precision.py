"""Graphs whose weights are rounded to half precision or to 8-bit integers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from bigcodec_models.checkpoints.model_file import LoadedModel
from bigcodec_models.codec import Codec
from bigcodec_models.config import PRESETS, LiteConfig
from bigcodec_models.errors import ModelsError
from bigcodec_models.onnx import quantization
from bigcodec_models.onnx.engine import OnnxEngine
from bigcodec_models.onnx.export import write_folder
from bigcodec_models.onnx.graph_set import WEIGHTS, GraphSet, read_folder
from bigcodec_models.onnx.verification import compare_with_torch

_SIZES = {"float16": (0.48, 0.55), "int8": (0.25, 0.6)}
"""Bounds of the weights' size, relative to float32."""
_BITS = {"float16": 11, "int8": 6}
ExportOnce = Callable[..., tuple[Path, LoadedModel, GraphSet]]


def _lite() -> LiteConfig:
    """With fewer layers than the toy, for torch takes seconds to write each."""
    config = PRESETS["toy-single"]
    assert isinstance(config, LiteConfig)
    return dataclasses.replace(config, decoder_blocks=1, lstm_layers=1)


@pytest.fixture(params=["int8", "float16"])
def exported(
    request: pytest.FixtureRequest, export_once: ExportOnce, monkeypatch: pytest.MonkeyPatch
) -> tuple[LoadedModel, GraphSet]:
    """A model, and its graphs in another precision."""
    monkeypatch.setattr(quantization, "_LEAST_WEIGHTS", 256)  # the toy has no larger products
    return export_once(request.param, _lite(), request.param, stored="float32")[1:]


def noise(samples: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    random = np.random.default_rng(samples)
    return (0.1 * random.standard_normal(samples)).astype(np.float32)


def test_rounded_graphs_are_near_the_model(
    exported: tuple[LoadedModel, GraphSet],
) -> None:
    model, graphs = exported
    result = compare_with_torch(
        model.config,
        lambda f0: (Codec(model, f0=f0), Codec(graphs, f0=f0)),
        precision=graphs.precision,
    )
    assert 0 < result.latents < 8 * 0.5 ** _BITS[graphs.precision]


def test_rounded_weights_are_smaller_and_read_back(
    exported: tuple[LoadedModel, GraphSet], tmp_path: Path
) -> None:
    model, graphs = exported
    least, most = _SIZES[graphs.precision]
    assert least < len(graphs.weights) / (4 * model.num_parameters) < most
    write_folder(graphs, tmp_path)
    read = read_folder(tmp_path)
    assert (read.precision, read.fingerprint) == (graphs.precision, model.fingerprint)
    products = set()
    for name, data in graphs.graphs.items():
        onnx.checker.check_model(tmp_path / f"{name}.onnx")
        graph = onnx.load_model_from_string(data).graph
        integers = [row for row in graph.initializer if row.data_type == onnx.TensorProto.INT8]
        assert not [row.name for row in integers if len(row.raw_data) >= 256]
        if any(node.op_type == "MatMulInteger" for node in graph.node):
            products.add(name)
        places = {e.value for row in graph.initializer for e in row.external_data[:1]}
        assert places <= {WEIGHTS}
    integer = {"encoder_pre", "encoder_post", "decoder_pre", "decoder_pre_f0", "decoder_post"}
    assert products == (integer if graphs.precision == "int8" else set())


def test_cuts_and_threads_change_nothing(
    exported: tuple[LoadedModel, GraphSet],
) -> None:
    graphs = exported[1]
    codec, wave = Codec(graphs), noise(20_001)
    tokens = codec.encode(wave)
    pieces = np.split(wave, [1, 3000, 12_000])
    assert np.array_equal(np.concatenate(list(codec.encode_stream(pieces))), tokens)
    restored = codec.decode(tokens)
    assert np.array_equal(codec.decode(tokens, 5000, 3001), restored[3001:8001])
    one, three = (OnnxEngine(graphs, None, threads) for threads in (1, 3))
    hidden = one.encoder.pre_recurrence(wave[None, None, :20_000])
    assert np.array_equal(three.encoder.pre_recurrence(wave[None, None, :20_000]), hidden)


def test_files_are_decoded_by_graphs_of_either_precision(
    exported: tuple[LoadedModel, GraphSet],
) -> None:
    tokens = Codec(exported[1]).encode(noise(9000))
    exact, rounded = (Codec(each).decode(tokens) for each in exported)
    assert exact.shape == rounded.shape and not np.array_equal(exact, rounded)


def test_published_models_have_no_integer_graphs(export_once: ExportOnce) -> None:
    with pytest.raises(ModelsError, match="of lite models only"):
        export_once("none", PRESETS["toy"], "int8")
