"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from bigcodec_models.checkpoints.model_file import LoadedModel
    from bigcodec_models.config import ModelConfig
    from bigcodec_models.onnx.graph_set import GraphSet

# As many processes as there are processors run tests at once, so each computes on one thread. Tests
# of two threads are 15 times as fast where these do not spin while they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Tests start hundreds of processes, each of which would compile all modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

ROOT = Path(__file__).parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]
ExportOnce = Callable[..., "tuple[Path, LoadedModel, GraphSet]"]


def pytest_configure() -> None:
    """Under nohup and in background jobs SIGINT is ignored, which processes started by tests would
    inherit: Ctrl-C could not be tested."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def speech() -> Path:
    """A clip of real speech, 5.8 s, 16 kHz mono FLAC (LibriSpeech, CC BY 4.0)."""
    return ROOT / "examples" / "speech.flac"


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden files of the models."""
    return ROOT / "tests" / "models" / "golden"


@pytest.fixture
def bigcodec(new_process: Run) -> Run:
    """Runs the command; some files of tests run it in this process instead."""
    return new_process


@pytest.fixture
def new_process(tmp_path: Path) -> Run:
    """Runs the real `bigcodec` command in `tmp_path`, with a model store of its own."""
    command = Path(sys.executable).parent / "bigcodec"

    def run(*arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BIGCODEC_")}
        environment |= {"BIGCODEC_HOME": str(tmp_path / "home"), "COLUMNS": "120", **extra}
        return subprocess.run(
            [command, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def export_once(tmp_path_factory: pytest.TempPathFactory) -> ExportOnce:
    """Saves a model with random weights and exports it: its path, the model, its graphs.

    An export takes a quarter of a minute: one process makes it for all that run tests, by its name.
    """
    import torch

    from bigcodec_models.architectures.network import CodecNetwork
    from bigcodec_models.checkpoints.model_file import ModelInfo, load_model, save_model
    from bigcodec_models.onnx.export import export_graphs

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def exported(
        name: str, config: ModelConfig, precision: str = "float32", *, stored: str = "float16"
    ) -> tuple[Path, LoadedModel, GraphSet]:
        path, file = shared / f"{name}.safetensors", shared / f"{name}.pickle"
        with FileLock(f"{file}.lock"):
            if not file.exists():
                torch.manual_seed(0)
                state = CodecNetwork(config).state_dict()
                tensors = {key: t.to(getattr(torch, stored)) for key, t in state.items()}
                save_model(path, tensors, config, ModelInfo(name="toy", license="MIT"))
                file.write_bytes(pickle.dumps(export_graphs(load_model(path), path, precision)))
        graphs: GraphSet = pickle.loads(file.read_bytes())
        return path, load_model(path), graphs

    return exported
