"""The errors of the package: one family, no torch, and no exception outside of it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bigcodec_models
from bigcodec_models import errors

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(bigcodec_models.__path__, "bigcodec_models.")
    if not name.endswith("triton")  # it cannot be imported without Triton
]


def test_every_exception_of_the_package_is_in_the_family() -> None:
    defined = {
        value
        for name in MODULES
        for value in vars(importlib.import_module(name)).values()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == name
    }
    assert defined == {getattr(errors, name) for name in errors.__all__}
    assert all(issubclass(error, errors.ModelsError) for error in defined)


def test_the_tree_in_the_docstring_is_the_one_of_the_classes() -> None:
    tree = [line for line in str(errors.__doc__).splitlines() if "Error " in line and "+--" in line]
    assert len(tree) == len(errors.__all__) - 1
    parents = {0: "ModelsError"}
    for line in tree:
        depth = line.index("+--") // 4
        name = line.split()[line.split().index("+--") + 1]
        parents[depth] = name
        assert getattr(errors, parents[depth - 1]) in getattr(errors, name).__bases__


@pytest.mark.parametrize("module", [bigcodec_models, errors])
def test_all_names_are_the_visible_ones(module: object) -> None:
    visible = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", "").startswith("bigcodec_models")
    }
    lazy = {"Codec", "PRESETS"} & set(module.__all__)  # type: ignore[attr-defined]
    assert visible | lazy == set(module.__all__)  # type: ignore[attr-defined]
    assert all(hasattr(module, name) for name in lazy)


def test_wrong_settings_are_also_value_errors() -> None:
    assert issubclass(errors.ConfigError, ValueError)


def test_an_unreadable_file_is_named() -> None:
    error = errors.UnreadableError(Path("a.wav"), "is empty")
    assert (str(error), error.path, error.reason) == ("a.wav: is empty", Path("a.wav"), "is empty")


def test_errors_load_no_torch() -> None:
    code = "import sys, bigcodec_models.errors; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
