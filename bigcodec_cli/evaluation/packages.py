"""Optional packages, imported only when a metric or a baseline needs them."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import warnings
from pathlib import Path
from typing import Any

INSTALL_HINT = "pip install 'bigcodec-cli[eval]'"


class MissingError(Exception):
    """A package, program or weights file is not on this machine; the message names it."""


def load_package(name: str) -> Any:
    """An optional package's module.

    Raises:
        MissingError: it is not installed, or cannot be imported.
    """
    package = name.partition(".")[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside packages do not concern the user
            return importlib.import_module(name)
    except ImportError as error:
        if error.name in (name, package):
            raise MissingError(f"{package} is not installed ({INSTALL_HINT})") from error
        raise MissingError(f"{package} cannot be imported: {error}") from error


def load_extension(package: str, module: str) -> Any:
    """A compiled module of a package, without running the package's `__init__`.

    The `__init__` of pyworld 0.3.5 needs pkg_resources, which setuptools 82 no longer has.

    Raises:
        MissingError: it is not installed.
    """
    folder = package_folder(package)
    spec = importlib.machinery.PathFinder.find_spec(f"{package}.{module}", [str(folder)])
    if spec is None or spec.loader is None:
        raise MissingError(f"{package} has no module {module} ({INSTALL_HINT})")
    extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    return extension


def package_folder(name: str) -> Path:
    """The folder of an installed package, which is not imported.

    Raises:
        MissingError: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise MissingError(f"{name} is not installed ({INSTALL_HINT})")
    return Path(spec.submodule_search_locations[0])
