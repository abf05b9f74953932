"""Coding by either engine, and by ONNX Runtime in a process that has no torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import bcdc
from bigcodec_models.config import PRESETS
from bigcodec_models.onnx.export import write_archive, write_folder
from bigcodec_models.onnx.graph_set import GraphSet

Here = Callable[..., Any]
ExportOnce = Callable[..., tuple[Path, Any, GraphSet]]
ROOT = Path(__file__).parents[3]
WITHOUT_TORCH = """
import sys

LEFT_OUT = ("torch", "safetensors", "numba", "jinja2", "huggingface_hub")

class Finder:  # as if they were not installed; scipy does not bear None in sys.modules
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        return None if name.partition(".")[0] in LEFT_OUT else self.finder.find_spec(name, *rest)

sys.meta_path[:] = map(Finder, sys.meta_path)
from bigcodec_cli.main import main
main()
"""


@pytest.fixture(scope="module")
def models(export_once: ExportOnce, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and its graphs, in an archive beside it and in the folder `graphs`."""
    path, _, graphs = export_once("single", PRESETS["toy-single"])
    folder = tmp_path_factory.mktemp("with-graphs")
    shutil.copy(path, folder / "model.safetensors")
    write_archive(graphs, folder / "model.onnx.zip")
    (folder / "graphs").mkdir()
    write_folder(graphs, folder / "graphs")
    return folder


@pytest.fixture
def clips(tmp_path: Path, speech: Path) -> list[Path]:
    """Some short clips of speech, at two rates."""
    samples, rate = soundfile.read(speech, dtype="int16")
    for number, length in enumerate((16_000, 4000, 30_001)):
        soundfile.write(tmp_path / f"{number}.wav", samples[:length], rate if number else 22_050)
    return [tmp_path / f"{number}.wav" for number in range(3)]


def without_torch(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("f0", ["predicted", "coded"])
def test_engines_give_the_same_tokens_and_decode_each_others(
    here: Here, clips: list[Path], models: Path, tmp_path: Path, f0: str
) -> None:
    model = models / "model.safetensors"
    for engine in ("onnx", "torch", "auto"):
        options = ["--model", model, "--f0", f0, "--engine", engine]
        ran = here("compress", *clips, "--output-dir", engine, *options)
        assert ran.code == 0, ran.stderr
    names = [f"{clip.stem}.bcdc" for clip in clips]
    for name in names:
        packed = [(tmp_path / engine / name).read_bytes() for engine in ("onnx", "torch", "auto")]
        tables = [bcdc.read(data).tokens() for data in packed]
        assert np.array_equal(tables[0], tables[1])
        assert packed[0] == packed[2]
    for engine, files in (("onnx", "torch"), ("torch", "onnx")):
        ran = here(
            *("decompress", *(tmp_path / files / name for name in names), "--pcm", "float"),
            *("--model", model, "--engine", engine, "--output-dir", f"by-{engine}"),
        )
        assert ran.code == 0, ran.stderr
    for clip in clips:
        waves = [soundfile.read(tmp_path / f"by-{e}" / clip.name)[0] for e in ("onnx", "torch")]
        assert len(waves[0]) == soundfile.info(clip).frames
        assert np.abs(waves[0] - waves[1]).max() < 1e-4


def test_batches_and_parts_change_nothing(
    here: Here, clips: list[Path], models: Path, tmp_path: Path
) -> None:
    options = ["--model", models / "graphs", "--engine", "onnx"]
    assert here("compress", *clips, "--output-dir", "alone", *options).code == 0
    ran = here("compress", *clips, "--output-dir", "beside", "--batch-size", "3", *options)
    assert ran.code == 0, ran.stderr
    for clip in clips:
        packed = [(tmp_path / d / f"{clip.stem}.bcdc").read_bytes() for d in ("alone", "beside")]
        assert packed[0] == packed[1]
    source = tmp_path / "alone" / "2.bcdc"
    form = ["--pcm", "float", *options]
    assert here("decompress", source, "-o", "whole.wav", *form).code == 0
    ran = here("decompress", source, "-o", "part.wav", "--start", "0.7", "--duration", "0.5", *form)
    assert ran.code == 0, ran.stderr
    whole, part = (soundfile.read(tmp_path / name)[0] for name in ("whole.wav", "part.wav"))
    assert np.array_equal(part, whole[11_200:19_200])


def test_no_torch_is_needed(clips: list[Path], models: Path, tmp_path: Path) -> None:
    model: list[str | Path] = ["--model", models / "model.safetensors"]
    commands: list[list[str | Path]] = [
        ["compress", clips[0], "-o", "a.bcdc", *model],
        ["info", "a.bcdc"],
        ["test", "a.bcdc"],
        ["tokens", "extract", "a.bcdc", "-o", "a.npy"],
        ["decompress", "a.bcdc", "-o", "a.wav", *model],
        ["models", "list"],
        ["eval", clips[0].parent, *model, "--metrics", "stoi", "--csv", "a.csv"],
        ["compare", clips[0], "a.wav", "--metrics", "stoi"],
    ]
    for arguments in commands:
        ran = without_torch(*arguments, folder=tmp_path)
        assert ran.returncode == 0, (arguments, ran.stderr)
    assert soundfile.info(tmp_path / "a.wav").frames == soundfile.info(clips[0]).frames


def test_metrics_that_need_torch_are_left_out_in_one_line(
    clips: list[Path], models: Path, tmp_path: Path
) -> None:
    options: list[str | Path] = ["--metrics", "stoi,sim,sim_wavlm,mel,distillmos"]
    evaluated: list[str | Path] = ["eval", tmp_path, "--model", models / "model.safetensors"]
    for arguments in (["compare", clips[1], clips[1]], [*evaluated, "--baselines", "dac:1"]):
        ran = without_torch(*arguments, *options, folder=tmp_path)
        assert ran.returncode == 0, ran.stderr
        (line,) = ran.stderr.splitlines()
        names = "dac:1, " if arguments[0] == "eval" else ""
        start = f"left out: {names}sim, sim_wavlm, mel, distillmos: this needs torch, which is not"
        assert line.startswith(start), line
        assert "STOI" in ran.stdout and "SIM" not in ran.stdout


@pytest.mark.parametrize("command", ["compress", "train"])
def test_what_needs_torch_says_so_in_one_line(
    clips: list[Path], models: Path, tmp_path: Path, command: str
) -> None:
    arguments: list[str | Path] = ["train", "--data", tmp_path, "--out", "run"]
    if command == "compress":
        options: list[str | Path] = ["--model", models / "model.safetensors", "--engine", "torch"]
        arguments = ["compress", clips[0], "-o", "a.bcdc", *options]
    ran = without_torch(*arguments, folder=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert "needs torch, which is not installed: pip install" in ran.stderr


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("graphs", ["--engine", "torch"], "graphs run with --engine onnx"),
        ("alone.safetensors", ["--engine", "onnx"], "--format onnx -o DIR' makes them"),
        ("nothing", ["--engine", "onnx"], "no such model or file"),
    ],
)
def test_an_engine_that_cannot_run_a_model(
    here: Here, clips: list[Path], models: Path, model: str, options: list[str], message: str
) -> None:
    shutil.copy(models / "model.safetensors", models / "alone.safetensors")
    ran = here("compress", clips[0], "-o", "a.bcdc", "--model", models / model, *options)
    assert ran.code == 1 and message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_graphs_do_not_decode_in_bfloat16(
    here: Here, clips: list[Path], models: Path, tmp_path: Path
) -> None:
    options = ["--model", models / "model.safetensors"]
    assert here("compress", clips[0], "-o", "a.bcdc", *options).code == 0
    half = [*options, "--precision", "bfloat16"]
    assert here("decompress", "a.bcdc", "-o", "a.wav", *half).code == 0
    ran = here("decompress", "a.bcdc", "-o", "b.wav", *half, "--engine", "onnx")
    assert ran.code == 1 and "in float32" in ran.stderr


def test_damaged_graphs_are_named(
    here: Here, clips: list[Path], models: Path, tmp_path: Path
) -> None:
    shutil.copy(models / "model.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "model.onnx.zip").write_bytes(b"PK no archive")
    ran = here("compress", clips[0], "-o", "a.bcdc", "--model", "model.safetensors")
    assert ran.code == 1 and "model.onnx.zip: not usable graphs" in ran.stderr


def test_the_example_decodes_without_torch(
    here: Here, clips: list[Path], models: Path, tmp_path: Path
) -> None:
    """As far as 16 bits show."""
    options = ["--model", models / "graphs", "--engine", "onnx"]
    for f0 in ("predicted", "coded"):
        ran = here("compress", clips[2], "-o", f"{f0}.bcdc", "--f0", f0, *options)
        assert ran.code == 0, ran.stderr
        assert here("decompress", f"{f0}.bcdc", "-o", f"{f0}.wav", *options).code == 0
        script = "import sys, runpy; sys.modules['torch'] = sys.modules['bigcodec_models'] = None; "
        script += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
        example = ROOT / "examples" / "decode_without_torch.py"
        files: list[str | Path] = [f"{f0}.bcdc", models / "graphs", "example.wav"]
        subprocess.run([sys.executable, "-c", script, example, *files], cwd=tmp_path, check=True)
        waves = [
            soundfile.read(tmp_path / n, dtype="int16")[0] for n in (f"{f0}.wav", "example.wav")
        ]
        assert np.abs(waves[0].astype(int) - waves[1]).max() <= 2  # float64 here, float32 there
