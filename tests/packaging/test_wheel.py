"""The built wheel: what it holds, and that it works by itself from another folder."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import bigcodec_cli
from bigcodec_cli.training.plan import recipe_names

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    build += ["-o", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_top_level_names_are_exactly_three(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith((".dist-info", ".data"))} == {
        "bigcodec_cli",
        "bcdc",
        "bigcodec_models",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("weights/ATTRIBUTION.md") for name in names)
    assert {f"bigcodec_cli/training/recipes/{name}.toml" for name in recipe_names()} <= set(names)
    data = {name.partition(".data/data/")[2] for name in names}
    assert {f"share/man/man1/{page.name}" for page in ROOT.glob("docs/man/*.1")} <= data
    suffixes = (".j2", ".css", ".js")
    templates = [p for p in ROOT.glob("bigcodec_cli/**/*") if p.suffix in suffixes]
    assert len(templates) >= 8
    assert {path.relative_to(ROOT).as_posix() for path in templates} <= set(names)


def test_it_stays_below_60_megabytes(wheel: Path) -> None:
    assert wheel.stat().st_size < 60e6


def test_it_works_alone_from_another_folder(wheel: Path, tmp_path: Path, speech: Path) -> None:
    """The environment is new and holds the wheel only; its dependencies are borrowed by path,
    which does not bring the editable install of this checkout along."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    packages = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(code: str, *arguments: str | Path) -> str:
        command: list[str | Path] = [python, "-c", code, *arguments]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.check_output(command, cwd=elsewhere, env=environment, text=True)

    where = run("import bigcodec_cli, bcdc, bigcodec_models as m; print(m.__file__, bcdc.__file__)")
    assert where.count(str(packages)) == 2
    start = "from bigcodec_cli.main import main; main()"
    run(start, "compress", speech, "-o", "a.bcdc")
    run(start, "decompress", "a.bcdc", "-o", "a.wav")
    assert (elsewhere / "a.wav").stat().st_size > 100_000


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == bigcodec_cli.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (newest, *_) = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert newest == ("Unreleased" if ".dev" in project["version"] else project["version"])
    assert all(f"Python :: 3.{minor}" in str(project["classifiers"]) for minor in (11, 12, 13))
    assert set(project["optional-dependencies"]) == {
        *("eval", "baselines", "distillmos", "wer", "ray", "train", "onnx", "dev")
    }


def test_installed_versions_are_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert all("==" in pin and "+" not in pin for pin in pins)
