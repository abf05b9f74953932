"""Loading codec models for the commands that need them."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path

import bcdc
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.containers import WithHeader
from bigcodec_cli.model_store.headers import geometries_of
from bigcodec_cli.model_store.store import (
    find_by_fingerprint,
    find_graphs,
    find_model,
    model_path,
    read_graphs,
    read_stored,
)
from bigcodec_models.codec import Codec
from bigcodec_models.config import ModelConfig
from bigcodec_models.onnx.graph_set import is_folder_of_graphs

PULL_HINT = "for the paper's quality: bigcodec models pull bigcodec, then --model bigcodec"


_ONNX_ON_CPU = "--engine onnx: runs on a CPU, in float32; use --engine torch"


def choose_device(name: str, engine: str = "auto") -> str:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`. Loads torch only if there may
    be a GPU.

    Raises:
        CliError: there is no such device, or the engine does not run on it.
    """
    if engine == "onnx" and name not in ("auto", "cpu"):
        raise CliError(_ONNX_ON_CPU)
    if name == "cpu" or (name == "auto" and not (_has_torch() and _has_driver())):
        return "cpu"
    if name.startswith("cuda") and not _has_driver():
        raise CliError(f"--device {name}: there is no driver of a GPU here; use --device cpu")
    if name == "mps" and sys.platform != "darwin":
        raise CliError("--device mps: is for Apple's GPUs; use --device cpu")
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(name.partition(":")[2] or 0) >= count:
            devices = f"{count} CUDA devices" if count else "no CUDA device"
            raise CliError(f"--device {name}: torch finds {devices} here; use --device cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise CliError("--device mps: torch finds no Apple GPU here; use --device cpu")
    return name


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def _has_driver() -> bool:
    """Whether there is a driver of a GPU that torch calls cuda."""
    if os.path.exists("/dev/kfd"):  # AMD's
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True


def load_codec(
    name_or_path: str,
    device: str,
    precision: str = "float32",
    f0: str | None = None,
    engine: str = "auto",
) -> tuple[Codec, str]:
    """A codec, and a line that describes it; `precision` concerns decoding and `f0` encoding (see
    `Codec`). `engine` is torch, onnx, or auto: onnx on a CPU where there are graphs of the model.

    Raises:
        CliError: there is no such model, or it does not know the F0 mode, or the engine cannot run
            it.
        ModelFileError: it cannot be used.
    """
    entry = find_model(name_or_path)
    codec = _codec(name_or_path, choose_device(device, engine), precision, f0, engine)
    if entry is None:
        return codec, f"model {name_or_path}: {codec.info.name or 'unnamed'}"
    hint = f"; {PULL_HINT}" if entry.builtin else ""
    return codec, f"model {entry.name}: {entry.summary}{hint}"


def _codec(name: str, device: str, precision: str, f0: str | None, engine: str) -> Codec:
    if _uses_graphs(name, device, precision, engine):
        graphs = read_graphs(name)
        _check_f0(f0, name, graphs.config)
        return Codec(graphs, f0=f0)
    if is_folder_of_graphs(model_path(name)):
        raise CliError(
            f"{name}: graphs run with --engine onnx, on a CPU and in float32; for all else give "
            "the model that they were exported from"
        )
    model = read_stored(name)
    _check_f0(f0, name, model.config)
    return Codec(model, device, precision, f0)


def _uses_graphs(name: str, device: str, precision: str, engine: str) -> bool:
    """Whether ONNX Runtime is to run a model.

    Raises:
        CliError: it is, and cannot.
    """
    runs, graphs = (device, precision) == ("cpu", "float32"), find_graphs(name)
    is_here = importlib.util.find_spec("onnxruntime") is not None
    if engine != "onnx":
        return engine == "auto" and runs and graphs is not None and is_here
    if not runs:
        raise CliError(_ONNX_ON_CPU)
    if not is_here:
        raise CliError("--engine onnx: is not installed here: pip install onnxruntime")
    if graphs is None:
        raise CliError(
            f"--engine onnx: there are no graphs of the model {name}; 'bigcodec export {name} "
            "--format onnx -o DIR' makes them, for --model DIR"
        )
    return True


def _check_f0(f0: str | None, name: str, config: ModelConfig) -> None:
    if f0 is None or f0 in config.f0_modes:
        return
    known = " and ".join(config.f0_modes)
    support = f"supports only {known}" if known else "has no F0 tokens; leave --f0 out"
    raise CliError(f"--f0 {f0}: the model {name} {support}")


class CodecCache:
    """The codecs for a batch of containers, by fingerprint, each loaded once."""

    def __init__(
        self,
        model: str | None,
        device: str,
        precision: str = "float32",
        engine: str = "auto",
    ) -> None:
        self._device, self._precision = choose_device(device, engine), precision
        self._engine = engine
        self._codecs: dict[bytes, Codec] = {}
        if model is not None:
            self.add(_codec(model, self._device, precision, None, engine))

    def add(self, codec: Codec) -> None:
        """Have a codec at hand that is loaded already."""
        self._codecs[codec.fingerprint[:6]] = codec

    def codec_for(self, source: Path, container: WithHeader) -> Codec:
        """The codec that made a container.

        Raises:
            CliError: it is not on this machine, or cannot decode tokens of this geometry.
            ModelFileError: it cannot be used.
        """
        fingerprint = container.header.fingerprint
        if fingerprint not in self._codecs:
            self._codecs[fingerprint] = self._load(source, fingerprint)
        codec = self._codecs[fingerprint]
        geometry, supported = container.header.geometry, geometries_of(codec.config)
        if geometry not in supported:
            raise CliError(
                f"{source}: its model does not decode such tokens ({_described(geometry)}), "
                f"only {' or '.join(map(_described, supported))}"
            )
        return codec

    def _load(self, source: Path, fingerprint: bytes) -> Codec:
        entry = find_by_fingerprint(fingerprint)
        if entry is None:
            raise CliError(
                f"{source}: needs the model with fingerprint {fingerprint.hex()}, which is "
                "not here; give its file with --model FILE, or 'bigcodec models import FILE' once "
                "('bigcodec models pull bigcodec' fetches the published one)"
            )
        return _codec(entry.name, self._device, self._precision, None, self._engine)


def _described(geometry: bcdc.Geometry) -> str:
    """Such as "hop 200, codebook 16384 + 154 (F0)"."""
    sizes = " + ".join(map(str, geometry.codebook_sizes))
    return f"hop {geometry.hop}, codebook {sizes}" + (" (F0)" if geometry.f0 else "")
