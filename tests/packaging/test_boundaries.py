"""What may import what: between the three packages, between the rooms of each, at start."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import bcdc

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "bigcodec_cli": ROOT / "bigcodec_cli",
    "bcdc": ROOT / "format" / "bcdc",
    "bigcodec_models": ROOT / "models" / "bigcodec_models",
}
USER_INTERFACE = {"click", "rich", "tqdm"}
FORBIDDEN = {
    "bcdc": {*USER_INTERFACE, "bigcodec_cli", "bigcodec_models", "torch", "numba"},
    "bigcodec_models": {*USER_INTERFACE, "bigcodec_cli", "bcdc"},
}
LEVELS = (
    {"console"},
    {"files", "audio", "model_store", "pages"},
    {"coding", "training", "evaluation", "cluster"},
    {"commands"},
)
"""The rooms of the command, from the bottom up: none imports from a higher one."""

Graph = dict[str, set[str]]


def modules_of(package: str) -> dict[str, Path]:
    """The files of a package by the name of their module; that of a folder ends in `.__init__`."""
    root = PACKAGES[package]
    return {
        ".".join(path.relative_to(root.parent).with_suffix("").parts): path
        for path in root.rglob("*.py")
    }


def imported_names(path: Path) -> Iterator[tuple[str, ...]]:
    """What every import of a file may mean, wherever it stands: the likeliest name first."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno} imports relatively"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.name,)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant):
                    yield (str(argument.value),)


def graph_of(package: str) -> Graph:
    """Which files of a package each of its files imports."""
    modules = modules_of(package)
    graph: Graph = {name: set() for name in modules}
    for name, path in modules.items():
        for meanings in imported_names(path):
            spellings = (s for m in meanings for s in (m, f"{m}.__init__"))
            graph[name] |= {next((s for s in spellings if s in modules), name)} - {name}
    if package == "bigcodec_cli":  # main imports these by a name that it puts together
        graph["bigcodec_cli.main"] |= {m for m in modules if m.startswith("bigcodec_cli.commands.")}
    return graph


def entries_of(folder: str, graph: Graph) -> Graph:
    """Which entries of a folder, files and folders alike, each of its entries imports."""
    entries: Graph = {}
    for name, imported in graph.items():
        for other in imported:
            if name.startswith(f"{folder}.") and other.startswith(f"{folder}."):
                here, there = (m.removeprefix(f"{folder}.").split(".")[0] for m in (name, other))
                if here != there:
                    entries.setdefault(here, set()).add(there)
    return entries


def circle_in(graph: Graph) -> list[str]:
    """The nodes of a circle, if there is one."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


def loaded_by(code: str, *arguments: str | Path) -> set[str]:
    """The packages that a fresh interpreter has loaded after some code."""
    code = f"{code}\nimport sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return set(subprocess.check_output(command, text=True).splitlines()[-1].split())


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle_of_files(package: str) -> None:
    assert circle_in(graph_of(package)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle_of_folders(package: str) -> None:
    """In every folder its files and folders can be put into an order in which each imports from
    those before it only."""
    graph = graph_of(package)
    folders = {name.removesuffix(".__init__") for name in graph if name.endswith(".__init__")}
    assert {f: c for f in sorted(folders) if (c := circle_in(entries_of(f, graph)))} == {}


def test_circles_are_found() -> None:
    """The tests above would see one, of files and of folders."""
    graph: Graph = {"p.a.x": {"p.b.x"}, "p.b.y": {"p.a.y"}, "p.c": {"p.d"}, "p.d": {"p.e"}}
    assert circle_in(graph) == []
    assert set(circle_in(entries_of("p", graph))) == {"a", "b"}
    assert set(circle_in({**graph, "p.e": {"p.c"}})) == {"p.c", "p.d", "p.e"}
    assert graph_of("bigcodec_cli")["bigcodec_cli.files.batch"] >= {
        "bigcodec_cli.console.progress",
        "bigcodec_cli.files.inputs",
    }


def test_rooms_of_the_command_import_from_their_level_or_below() -> None:
    level = {room: height for height, rooms in enumerate(LEVELS) for room in rooms}
    entries = entries_of("bigcodec_cli", graph_of("bigcodec_cli"))
    folders = {path.name for path in PACKAGES["bigcodec_cli"].iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == set(level)
    for room, imported in entries.items():
        for other in imported & set(level):
            assert room not in level or level[other] <= level[room], f"{room} imports {other}"


@pytest.mark.parametrize("package", FORBIDDEN)
def test_the_libraries_know_neither_each_other_nor_the_command(package: str) -> None:
    for name, path in modules_of(package).items():
        imported = {meanings[0].split(".")[0] for meanings in imported_names(path)}
        assert not imported & FORBIDDEN[package], name


def test_a_folder_has_more_than_one_file() -> None:
    for package in PACKAGES:
        folders = [name.rpartition(".")[0] for name in modules_of(package)]
        assert [folder for folder in set(folders) if folders.count(folder) < 3] == []


def test_the_page_on_architecture_names_every_folder() -> None:
    """In its tree, as `name/`."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for root in PACKAGES.values():
        for path in root.rglob("__init__.py"):
            assert f"{path.parent.name}/ " in text, path


def test_importing_the_format_loads_nothing_heavy() -> None:
    loaded = loaded_by("import bcdc")
    assert "bcdc" in loaded and not loaded & {*FORBIDDEN["bcdc"], "soundfile", "scipy"}


def test_importing_the_models_loads_no_format_no_interface_and_no_engine() -> None:
    loaded = loaded_by("from bigcodec_models import Codec, PRESETS")
    assert "bigcodec_models" in loaded
    assert not loaded & {"bcdc", "bigcodec_cli", "click", "rich", "torch", "onnxruntime", "numba"}


def test_tables_and_settings_need_no_torch() -> None:
    modules = ("registry", "config", "training.config", "training.layout")
    code = "import " + ", ".join(f"bigcodec_models.{name}" for name in modules)
    assert "torch" not in loaded_by(code)


def test_help_and_info_load_no_torch(tmp_path: Path) -> None:
    header = bcdc.Header(fingerprint=bytes(6), sample_rate=16000)
    shape = (1, header.frames_of(16000), header.geometry.codebooks)
    (tmp_path / "a.bcdc").write_bytes(bcdc.write(header, np.zeros(shape, np.int32), 16000))
    run = "import sys; from bigcodec_cli.main import run; assert run(sys.argv[1:]) == 0"
    for arguments in (["--help"], ["info", tmp_path / "a.bcdc"], ["compress", "--help"]):
        assert not loaded_by(run, *arguments) & {"torch", "numba", "scipy", "jinja2"}, arguments


def test_the_package_runs_as_a_module() -> None:
    for command in (
        [sys.executable, "-m", "bigcodec_cli"],
        [Path(sys.executable).parent / "bigcodec"],
    ):
        answer = subprocess.check_output([*command, "--version"], text=True)
        assert answer.startswith("bigcodec, version ")
