"""Running graphs in ONNX Runtime, which is loaded when a graph is first needed."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from bigcodec_models.checkpoints.stored import shortened
from bigcodec_models.errors import ModelFileError
from bigcodec_models.onnx.graph_set import WEIGHTS, GraphSet

Arrays = tuple[npt.NDArray[Any], ...]


class Sessions:
    """The graphs of a model, each prepared when it is first run."""

    def __init__(self, graphs: GraphSet, threads: int | None = None) -> None:
        self._graphs, self._threads = graphs, threads or _threads()
        self._sessions: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._graphs.graphs

    def run(self, name: str, *inputs: npt.NDArray[Any]) -> Arrays:
        """The outputs of a graph for its inputs, in order.

        Raises:
            ModelFileError: the graph cannot be used.
        """
        import onnxruntime

        try:
            if name not in self._sessions:
                self._sessions[name] = self._prepared(name)
            session = self._sessions[name]
            names = [row.name for row in session.get_inputs()]
            feed = dict(zip(names, map(np.ascontiguousarray, inputs), strict=True))
            return tuple(session.run(None, feed))
        except _errors(onnxruntime) as error:
            raise ModelFileError(f"the graph {name} cannot be run: {shortened(error)}") from error

    def _prepared(self, name: str) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        # Threads that wait without work would take the time of other processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # An arena would keep up to twice the memory, and is not faster (docs/performance.md).
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        weights = self._graphs.weights
        options.add_external_initializers_from_files_in_memory([WEIGHTS], [weights], [len(weights)])
        return onnxruntime.InferenceSession(
            self._graphs.graphs[name], options, providers=["CPUExecutionProvider"]
        )


def _threads() -> int:
    """As many as the environment says, else one for each processor of this process."""
    count = os.environ.get("OMP_NUM_THREADS", "")
    if count.isdecimal() and int(count) > 0:
        return int(count)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _errors(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """The errors of ONNX Runtime, which have no common base but Exception."""
    state = onnxruntime.capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    return (*(getattr(state, name) for name in names), state.RuntimeException)
