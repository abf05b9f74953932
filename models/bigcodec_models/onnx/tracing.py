"""The stages of a network as ONNX graphs with their weights inside, which needs torch and onnx.

Torch traces all stages as one module: each trace builds torch's table of operators anew, which
takes seconds. A stage then gets the nodes on which its outputs depend. A decoder that predicts F0
is traced once: its graph for given F0 is the same graph, with F0 as an input.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from bigcodec_models.checkpoints.stored import shortened
from bigcodec_models.errors import ModelsError
from bigcodec_models.onnx.stages import Stage

OPSET = 20
"""The version of the ONNX operators: the first with Gelu."""
_LSTM_FRAMES = 9
"""Torch goes through an LSTM frame by frame, several times, to know shapes: few are enough."""


def graphs_of(stages: Mapping[str, Stage]) -> dict[str, onnx.ModelProto]:
    """The graph of each stage, by its name.

    Raises:
        ModelsError: torch cannot write them.
    """
    sources = {name: name for name in stages}
    if {"decoder_pre", "decoder_pre_f0"} <= stages.keys():
        sources["decoder_pre_f0"] = "decoder_pre"
    whole = _traced({name: stages[name] for name in sources.values()})
    return {name: plain(_part(whole, sources[name], stage)) for name, stage in stages.items()}


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without notes on where its parts come from in Python, and with the number of
    frames named in all shapes."""
    model.producer_name, model.producer_version = "bigcodec", ""
    model.doc_string = ""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    names: dict[str, str] = {}
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = _frames_of(size.dim_param, names)
    return model


def _frames_of(size: str, names: dict[str, str]) -> str:
    """A size such as "2*s94" with a plain name in place of the symbol; keys and values have a
    number of frames of their own."""
    for symbol in re.findall(r"s\d+", size):
        name = names.setdefault(symbol, "frames" if not names else f"frames_{len(names)}")
        size = size.replace(symbol, name)
    return size


class _Together(nn.Module):
    """Stages as one module: the inputs of all to the outputs of all, in order."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stage.module for stage in stages)
        self._counts = [len(stage.inputs) for stage in stages]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: list[Tensor] = []
        rest = iter(inputs)
        for module, count in zip(self.stages, self._counts, strict=True):
            result = module(*(next(rest) for _ in range(count)))
            outputs += result if isinstance(result, tuple) else (result,)
        return tuple(outputs)


def _traced(stages: Mapping[str, Stage]) -> onnx.ModelProto:
    """One graph of several stages, whose inputs and outputs are named after them.

    Raises:
        ModelsError: torch cannot write it.
    """
    rows = [(name, key, stage) for name, stage in stages.items() for key in stage.inputs]
    # Where a process has exported an LSTM before, torch 2.13 would still take a form of it that
    # was in force for that export alone, and fail.
    getattr(torch.ops.aten.lstm.input, "_dispatch_cache", {}).clear()
    try:
        with _silence(), torch.no_grad():
            program = torch.onnx.export(
                _Together(list(stages.values())).eval(),
                tuple(_example(stage, key) for _, key, stage in rows),
                dynamo=True,
                dynamic_shapes=(tuple(_dynamic(stage, key) for _, key, stage in rows),),
                input_names=[_inside(name, key) for name, key, _ in rows],
                output_names=[
                    _inside(name, key) for name, stage in stages.items() for key in stage.outputs
                ],
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ModelsError(f"torch cannot write the model as graphs: {shortened(error)}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Without what torch says of its own parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _dynamic(stage: Stage, key: str) -> dict[int, Any] | None:
    return {stage.frames[key][0]: torch.export.Dim.DYNAMIC} if key in stage.frames else None


def _example(stage: Stage, key: str) -> Tensor:
    value = stage.inputs[key]
    if "cell_state" in stage.inputs and key in stage.frames:
        return value.narrow(stage.frames[key][0], 0, _LSTM_FRAMES).clone()
    return value


def _inside(name: str, key: str) -> str:
    """The name that an input or output of a stage has in the graph of several."""
    return f"{name}.{key}"


def _part(whole: onnx.ModelProto, source: str, stage: Stage) -> onnx.ModelProto:
    """What a graph of several stages has of one of them, which is in it as `source`."""
    inputs, outputs = (
        {_inside(source, key): key for key in keys} for keys in (stage.inputs, stage.outputs)
    )
    nodes = _needed(whole.graph, set(outputs), set(inputs))
    used = {value for node in nodes for value in node.input}
    ends = {row.name: row for row in (*whole.graph.input, *whole.graph.output)}
    graph = onnx.helper.make_graph(
        nodes,
        whole.graph.name,
        [ends[name] for name in inputs],
        [ends[name] for name in outputs],
        [row for row in whole.graph.initializer if row.name in used],
    )
    _rename(graph, {**inputs, **outputs})
    return onnx.helper.make_model(
        graph,
        ir_version=whole.ir_version,
        opset_imports=whole.opset_import,
        functions=whole.functions,
    )


def _needed(graph: onnx.GraphProto, outputs: set[str], inputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes that make some values of others, in order."""
    needed, nodes = set(outputs), list[onnx.NodeProto]()
    for node in reversed(graph.node):
        if not needed.isdisjoint(set(node.output) - inputs):
            nodes.append(node)
            needed.update(node.input)
    return nodes[::-1]


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give inputs and outputs names, and weights those that they have in the network."""

    def renamed(name: str) -> str:
        return names.get(name) or re.sub(r"^stages\.\d+\.", "", name)

    for row in (*graph.input, *graph.output, *graph.initializer):
        row.name = renamed(row.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = map(renamed, values)
