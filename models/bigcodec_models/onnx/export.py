"""Writing a model as ONNX graphs, which needs torch, onnx and onnxscript.

The graphs read their weights by offset from a safetensors file: the model file itself where that
holds them as they are, or else one of their own, such as the published models need, whose weight
norm is folded, and weights that are rounded.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import safetensors.torch
import torch

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import LoadedModel, build_network
from bigcodec_models.checkpoints.stored import (
    TYPES,
    StoredTensor,
    read_stored_model,
    stored_tensors,
    tensors_header,
)
from bigcodec_models.config import LiteConfig, config_to_dict
from bigcodec_models.errors import ModelsError
from bigcodec_models.inference.chunking import CHUNK_FRAMES, chunks_by_stage
from bigcodec_models.inference.receptive_field import receptive_fields
from bigcodec_models.layers.weight_norm import fold_weight_norm
from bigcodec_models.onnx.graph_set import DESCRIPTION, FORMAT, WEIGHTS, GraphSet
from bigcodec_models.onnx.quantization import with_integer_products
from bigcodec_models.onnx.stages import stages_of
from bigcodec_models.onnx.tracing import graphs_of, plain

_LEAST_BYTES = 256
"""Smaller constants stay inside of a graph."""
_TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "bfloat16": onnx.TensorProto.BFLOAT16,
    "int8": onnx.TensorProto.INT8,
}


def export_graphs(
    model: LoadedModel, path: Path | None = None, precision: str = "float32"
) -> GraphSet:
    """The graphs of a model. `path` is that of its model file, if it has one.

    `precision` "float16" rounds weights to half precision, and "int8" those of large matrix
    products to 7 bits and a sign, of a lite model's encoder and decoder.

    Raises:
        ModelFileError: the file cannot be read.
        ModelsError: torch cannot write its stages as graphs, or "int8" of a published model.
    """
    is_lite = isinstance(model.config, LiteConfig)
    if precision == "int8" and not is_lite:
        raise ModelsError(
            "int8 graphs are written of lite models only: others consist of convolutions"
        )
    network = build_network(model).requires_grad_(False)
    fold_weight_norm(network)
    if precision == "float16":
        _round_to_half(network)
    stages = graphs_of(stages_of(network))
    if path is not None and is_lite and precision != "float16":
        content = read_stored_model(path).content
    else:
        dtype = torch.float16 if precision == "float16" else torch.float32
        state = network.state_dict()
        content = safetensors.torch.save({n: t.to(dtype).contiguous() for n, t in state.items()})
    if precision == "int8":
        stages |= {
            name: plain(with_integer_products(graph))
            for name, graph in stages.items()
            if name != "quantizer"  # it compares, and is fast
        }
        content = _with_integers(content, stages.values())
    weights = _Weights(content)
    for graph in stages.values():
        weights.take_out_of(graph)
    graphs = {name: g.SerializeToString(deterministic=True) for name, g in stages.items()}
    return GraphSet.of(model, graphs, content, precision)


def _round_to_half(network: CodecNetwork) -> None:
    """Not in place: the network has the tensors of the model, whose fingerprint is to stay."""
    state = network.state_dict()
    network.load_state_dict({n: t.half().to(t.dtype) for n, t in state.items()}, assign=True)


def _with_integers(content: bytes, graphs: Iterable[onnx.ModelProto]) -> bytes:
    """A safetensors file with those tensors of another that graphs still need, as they are stored
    there, and with their integer weights, each once."""
    weights, names = _Weights(content), set[str | None]()
    integers: dict[str, npt.NDArray[np.int8]] = {}
    for constant in itertools.chain.from_iterable(graph.graph.initializer for graph in graphs):
        values = onnx.numpy_helper.to_array(constant)
        if values.dtype == np.int8 and values.nbytes >= _LEAST_BYTES:
            if not any(np.array_equal(values, other) for other in integers.values()):
                integers[f"integers.{len(integers)}"] = values
        else:
            names.add(weights.name_of(constant.name, values))
    stored = safetensors.torch.load(content)
    kept = {name: tensor for name, tensor in stored.items() if name in names}
    return safetensors.torch.save(kept | {n: torch.tensor(v) for n, v in integers.items()})


def write_folder(graphs: GraphSet, folder: Path) -> None:
    """Write graphs, weights and description into an existing folder.

    Raises:
        OSError: a file cannot be written.
    """
    (folder / WEIGHTS).write_bytes(graphs.weights)
    for name, data in _files(graphs).items():
        (folder / name).write_bytes(data)


def write_archive(graphs: GraphSet, path: Path) -> None:
    """Write the archive that lies beside a model file: all but the weights.

    Raises:
        OSError: it cannot be written.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in _files(graphs).items():
            # With a constant date, the same graphs give the same bytes.
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def _files(graphs: GraphSet) -> dict[str, bytes]:
    files = {f"{name}.onnx": data for name, data in graphs.graphs.items()}
    text = json.dumps(_description(graphs), indent=1) + "\n"
    return {DESCRIPTION: text.encode(), **files}


def _description(graphs: GraphSet) -> dict[str, Any]:
    config, fields = graphs.config, receptive_fields(graphs.config)
    return {
        "format": FORMAT,
        "name": graphs.info.name,
        "license": graphs.info.license,
        "fingerprint": graphs.fingerprint.hex(),
        "parameters": graphs.num_parameters,
        "precision": graphs.precision,
        "config": config_to_dict(config),
        "weights_sha256": hashlib.sha256(graphs.weights).hexdigest(),
        "window": {
            "new_frames": {s: n * CHUNK_FRAMES for s, n in chunks_by_stage(config).items()},
            **{stage: list(field) for stage, field in fields._asdict().items()},
        },
        "graphs": {name: _interface(data) for name, data in graphs.graphs.items()},
    }


def _interface(data: bytes) -> dict[str, Any]:
    """Names, types and shapes of the inputs and outputs of a graph, and its digest."""
    graph = onnx.load_model_from_string(data).graph
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "inputs": {row.name: _type_of(row) for row in graph.input},
        "outputs": {row.name: _type_of(row) for row in graph.output},
    }


def _type_of(value: onnx.ValueInfoProto) -> list[Any]:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return [dtype, *(size.dim_param or size.dim_value for size in tensor.shape.dim)]


class _Weights:
    """A safetensors file, whose tensors graphs are to read in place of copies of their own."""

    def __init__(self, content: bytes) -> None:
        header = tensors_header(content)
        header.pop("__metadata__", None)
        self._tensors = stored_tensors(header, content, {**TYPES, "I8": ("int8", 1)})
        self._values = {name: _values(content, tensor) for name, tensor in self._tensors.items()}

    def take_out_of(self, model: onnx.ModelProto) -> None:
        """Replace the constants of a graph that are tensors of the file, in place."""
        kept: list[onnx.TensorProto] = []
        nodes: list[onnx.NodeProto] = []
        used: set[str] = set()
        for constant in model.graph.initializer:
            values = onnx.numpy_helper.to_array(constant)
            name = self.name_of(constant.name, values)
            if name is None:
                kept.append(constant)
                continue
            used.add(name)
            steps, shapes = self._conversion(name, constant.name, values)
            nodes += steps
            kept += shapes
        stored = [self._external(name) for name in sorted(used)]
        del model.graph.initializer[:]
        model.graph.initializer.extend([*kept, *stored])
        rest = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*nodes, *rest])

    def name_of(self, name: str, values: npt.NDArray[Any]) -> str | None:
        """The tensor of the file that has some values, in its shape, transposed or reshaped."""
        if values.nbytes < _LEAST_BYTES or values.dtype not in (np.float32, np.int8):
            return None
        flat = values.reshape(-1)
        for other in (name, *self._values):
            stored = self._values.get(other)
            if stored is None or stored.size != values.size or stored.dtype != values.dtype:
                continue
            if np.array_equal(stored.reshape(-1), flat) or _is_transposed(values, stored):
                return other
        return None

    def _external(self, name: str) -> onnx.TensorProto:
        tensor = self._tensors[name]
        place = {
            "location": WEIGHTS,
            "offset": str(tensor.start),
            "length": str(tensor.stop - tensor.start),
        }
        proto = onnx.TensorProto(
            name=_stored_name(name),
            data_type=_TYPES[tensor.dtype],
            dims=tensor.shape,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        for key, value in place.items():
            proto.external_data.add(key=key, value=value)
        return proto

    def _conversion(
        self, name: str, result: str, values: npt.NDArray[Any]
    ) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """The nodes that make a constant of a graph of a tensor of the file, and the constants that
        they need."""
        stored, source = self._values[name], _stored_name(name)
        nodes: list[onnx.NodeProto] = []
        if self._tensors[name].dtype in ("float16", "bfloat16"):
            wide = f"{result}.float32"
            to = onnx.TensorProto.FLOAT
            nodes.append(onnx.helper.make_node("Cast", [source], [wide], f"{result}.cast", to=to))
            source = wide
        shapes: list[onnx.TensorProto] = []
        if np.array_equal(stored.reshape(-1), values.reshape(-1)):
            shape = onnx.numpy_helper.from_array(np.array(values.shape), f"{result}.shape")
            shapes.append(shape)
            nodes.append(onnx.helper.make_node("Reshape", [source, shape.name], [result], result))
        else:
            if stored.ndim > 2:
                flat = f"{result}.flat"
                nodes.append(onnx.helper.make_node("Flatten", [source], [flat], flat))
                source = flat
            nodes.append(onnx.helper.make_node("Transpose", [source], [result], result))
        return nodes, shapes


def _is_transposed(values: npt.NDArray[Any], stored: npt.NDArray[Any]) -> bool:
    """Whether values are those of a stored matrix, or of a kernel as a matrix, transposed."""
    return stored.ndim >= 2 and np.array_equal(stored.reshape(len(stored), -1).T, values)


def _stored_name(name: str) -> str:
    return f"stored:{name}"


def _values(content: bytes, tensor: StoredTensor) -> npt.NDArray[Any]:
    """The values of a tensor, float32 or int8."""
    data = memoryview(content)[tensor.start : tensor.stop]
    if tensor.dtype == "bfloat16":
        wide = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32).reshape(tensor.shape)
    values = np.frombuffer(data, tensor.dtype).reshape(tensor.shape)
    return values if tensor.dtype == "int8" else values.astype(np.float32)
