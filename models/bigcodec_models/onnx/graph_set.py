"""The graphs of a model: what they are, and reading them. Loads neither torch nor ONNX Runtime.

A folder of graphs, as `bigcodec export --format onnx` writes it, has a graph for each stage, the
weights, from which the graphs read by offset, and `graphs.json`, which describes them. Beside a
model file the same files but the weights may lie in an archive, whose graphs read from the model
file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bigcodec_models.checkpoints.stored import ModelFacts, ModelInfo, StoredModel, shortened
from bigcodec_models.config import ModelConfig, config_from_dict
from bigcodec_models.errors import ModelFileError

FORMAT = "bigcodec-graphs 1"
DESCRIPTION = "graphs.json"
WEIGHTS = "weights.safetensors"
"""The file of weights that the graphs name."""
ARCHIVE_SUFFIX = ".onnx.zip"
STAGES = (
    "encoder_pre",
    "encoder_sequence",
    "encoder_post",
    "quantizer",
    "decoder_pre",
    "decoder_pre_f0",
    "decoder_sequence",
    "decoder_post",
)
"""Every stage, in the order of a signal; docs/onnx.md has their inputs and outputs. A model has
`decoder_pre` for tokens without F0, `decoder_pre_f0` for tokens with F0, and both if it knows both
modes. It has no graph for a sequence layer without state, or for a stage that changes nothing."""
PRECISIONS = ("float32", "float16", "int8")
_MAX_GRAPH_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphSet:
    """A model as graphs: those of its stages as bytes, by name, and the weights they read from.

    `precision`, one of `PRECISIONS`, says how these were rounded. The fingerprint is that of the
    model in every case: tokens mean the same.
    """

    config: ModelConfig
    info: ModelInfo
    fingerprint: bytes
    num_parameters: int
    graphs: Mapping[str, bytes]
    weights: bytes
    precision: str = "float32"

    @classmethod
    def of(
        cls,
        model: ModelFacts,
        graphs: Mapping[str, bytes],
        weights: bytes,
        precision: str = "float32",
    ) -> GraphSet:
        """The graphs of a model that is known, whose facts they have."""
        return cls(
            config=model.config,
            info=model.info,
            fingerprint=model.fingerprint,
            num_parameters=model.num_parameters,
            graphs=graphs,
            weights=weights,
            precision=precision,
        )


def read_folder(folder: Path) -> GraphSet:
    """Read a folder of graphs.

    Raises:
        ModelFileError: it cannot be read, or holds something else.
    """
    try:
        facts = _description((folder / DESCRIPTION).read_bytes())
        weights = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(weights).hexdigest() != facts["weights_sha256"]:
            raise ValueError(f"{WEIGHTS} is not the file that was exported")
        return GraphSet(
            config=config_from_dict(facts["config"]),
            info=ModelInfo(name=str(facts["name"]), license=str(facts["license"])),
            fingerprint=_fingerprint(facts),
            num_parameters=int(facts["parameters"]),
            graphs=_graphs(facts, lambda name: (folder / name).read_bytes()),
            weights=weights,
            precision=str(facts.get("precision", "float32")),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{folder}: not a usable folder of graphs: {shortened(error)}"
        ) from error


def archive_beside(path: Path) -> Path | None:
    """The archive of graphs beside a model file, if there is one."""
    archive = path.with_suffix(ARCHIVE_SUFFIX)
    return archive if archive.is_file() else None


def read_archive(path: Path, model: StoredModel, sha256: bytes | None = None) -> GraphSet:
    """Read the archive of graphs beside a model file; `sha256` is its digest, if that is known.

    Raises:
        ModelFileError: it cannot be read, or is that of another model.
    """
    try:
        data = path.read_bytes()
        if sha256 is not None and hashlib.sha256(data).digest() != sha256:
            raise ValueError("damaged; install bigcodec-cli again")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            facts = _description(_member(archive, DESCRIPTION))
            if _fingerprint(facts) != model.fingerprint:
                raise ValueError("its graphs are those of another model")
            graphs = _graphs(facts, lambda name: _member(archive, name))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{path}: not usable graphs: {shortened(error)}") from error
    return GraphSet.of(model, graphs, model.content)


def is_folder_of_graphs(path: Path) -> bool:
    """Whether a path is that of a folder that `read_folder` is for."""
    return (path / DESCRIPTION).is_file()


def _description(data: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(data)
    except RecursionError as error:
        raise ValueError(f"{DESCRIPTION} is nested too deeply") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError(f"{DESCRIPTION} is not of the format {FORMAT}")
    return facts


def _fingerprint(facts: Mapping[str, Any]) -> bytes:
    fingerprint = bytes.fromhex(facts["fingerprint"])
    if len(fingerprint) != 32:
        raise ValueError("its fingerprint has another length")
    return fingerprint


def _graphs(facts: Mapping[str, Any], read: Callable[[str], bytes]) -> dict[str, bytes]:
    """The graphs of a description, by the name of their stage."""
    rows = facts["graphs"]
    if not isinstance(rows, dict) or not set(rows) <= set(STAGES):
        raise ValueError(f"{DESCRIPTION} names unknown graphs")
    graphs = {name: read(f"{name}.onnx") for name in rows}
    for name, data in graphs.items():
        if hashlib.sha256(data).hexdigest() != rows[name]["sha256"]:
            raise ValueError(f"{name}.onnx is not the file that was exported")
    return graphs


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MAX_GRAPH_BYTES:
        raise ValueError(f"{name} is too large")
    return archive.read(name)
