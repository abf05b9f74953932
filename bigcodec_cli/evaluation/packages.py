"""Optional packages, imported only when a metric or a baseline needs them."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.machinery
import importlib.util
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bigcodec_cli.console.messages import NEEDS_TORCH, WITH_TORCH


class MissingError(Exception):
    """A package, program or weights file is not on this machine; the message names it.

    `package` and `extra` are set where an extra of this project would bring a package.
    """

    def __init__(self, message: str, package: str = "", extra: str = "") -> None:
        super().__init__(message)
        self.package, self.extra = package, extra


@dataclasses.dataclass(frozen=True)
class Missing:
    """Why a metric or a baseline is left out; `package` and `extra` as in `MissingError`."""

    reason: str
    package: str = ""
    extra: str = ""

    @classmethod
    def of(cls, error: MissingError) -> Missing:
        """What an error says."""
        return cls(str(error), error.package, error.extra)


def by_cause(missing: Mapping[str, Missing]) -> list[tuple[str, str]]:
    """What is left out, and why: once for each extra, and for each other reason."""
    groups: dict[str, list[str]] = {}
    for key, each in missing.items():
        groups.setdefault(each.extra or each.reason, []).append(key)
    return [(", ".join(keys), _why([missing[key] for key in keys])) for keys in groups.values()]


def _why(missing: list[Missing]) -> str:
    first = missing[0]
    packages = dict.fromkeys(each.package for each in missing)
    if not first.extra:
        return first.reason
    are = "are" if len(packages) > 1 else "is"
    return f"{', '.join(packages)} {are} not installed ({install_hint(first.extra)})"


def install_hint(extra: str) -> str:
    """The command that installs what is missing."""
    return f"pip install 'bigcodec-cli[{extra}]'"


def _not_installed(package: str, extra: str) -> MissingError:
    return MissingError(f"{package} is not installed ({install_hint(extra)})", package, extra)


@contextlib.contextmanager
def using_torch() -> Iterator[None]:
    """Around imports of what needs torch.

    Raises:
        MissingError: torch is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in WITH_TORCH:
            raise
        raise MissingError(NEEDS_TORCH) from error


def load_package(name: str, extra: str = "eval") -> Any:
    """The module of an optional package, which `extra` brings.

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
            raise _not_installed(package, extra) from error
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
        raise MissingError(f"{package} has no module {module} ({install_hint('eval')})")
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
        raise _not_installed(name, "eval")
    return Path(spec.submodule_search_locations[0])
