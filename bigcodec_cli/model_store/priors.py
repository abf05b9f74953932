"""The priors on this machine. Loads no torch.

Shipped priors are in a folder next to the built-in models, the user's in BIGCODEC_HOME/priors.
Files are named MODEL-NUMBER-PRIOR.bcdp, with the first bytes of both fingerprints. A model with
several F0 modes has priors for each; the geometry in the file tells which mode it is for. Among the
priors for one geometry in a folder, new files use the one with the highest number; the others are
for reading old files. A file with another name in the user's folder is used for reading only.
Damaged files are left out, those of the user under another name; their checksum and fingerprint are
compared whenever they are loaded.
"""

from __future__ import annotations

import functools
from pathlib import Path

import bcdc
import bigcodec_models
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.atomic import atomic_output
from bigcodec_cli.files.containers import WithHeader
from bigcodec_cli.model_store.store import home, note_once, set_aside

SUFFIX = ".bcdp"
_MAX_BYTES = 1 << 28


def prior_for_model(fingerprint: bytes, geometry: bcdc.Geometry) -> bcdc.Prior | None:
    """The prior for new files of a model with tokens of a geometry: the user's own, or else the
    shipped one, or None."""
    for folder in _folders():
        for path in reversed(_files(folder, f"{fingerprint[:6].hex()}-*")):
            prior = _load(path)
            if prior is None or prior.model != fingerprint[:6]:
                continue
            if prior.geometry.layout == geometry.layout:
                return prior
    return None


def prior_of_container(container: WithHeader) -> bcdc.Prior | None:
    """The prior that a container's tokens are coded with; None if they need none.

    Raises:
        CliError: it is not on this machine.
    """
    name = container.header.prior_fingerprint
    if name is None:
        return None
    for folder in _folders():
        for path in _files(folder, f"{container.header.fingerprint.hex()}-*-{name.hex()}"):
            prior = _load(path)
            if prior is not None and prior.name == name:
                return prior
    for path in sorted(_folders()[0].glob(f"*{SUFFIX}")):  # it may have another name
        prior = _load(path)
        if prior is not None and prior.name == name:
            return prior
    raise CliError(
        f"its tokens are coded with the prior {name.hex()}, which is not at hand; "
        f"put its file into {_folders()[0]}"
    )


def store_prior(data: bytes) -> Path:
    """Store the bytes of a prior in the user's folder, for the new files of its model.

    Raises:
        CliError: the bytes are not those of a prior, or the file cannot be written.
    """
    folder = _folders()[0]
    try:
        prior = bcdc.read_prior(data)
        model = prior.model.hex()
        numbers = [int(path.name.split("-")[1]) for path in _files(folder, f"{model}-*")]
        number = max(numbers, default=0) + 1
        path = folder / f"{model}-{number}-{prior.name.hex()}{SUFFIX}"
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_output(path, overwrite=True) as temporary:
            temporary.write_bytes(data)
    except bcdc.PriorError as error:
        raise CliError(f"the prior cannot be used: {error}") from error
    except OSError as error:
        raise CliError(f"{folder}: cannot be written: {error.strerror}") from error
    _load.cache_clear()
    return path


def _folders() -> tuple[Path, Path]:
    shipped = Path(bigcodec_models.__file__).parent / "weights" / "priors"
    return home() / "priors", shipped


def _files(folder: Path, pattern: str) -> list[Path]:
    """Priors whose names without suffix match a pattern, in order of their numbers."""
    paths = folder.glob(f"{pattern}{SUFFIX}")
    return sorted(
        (path for path in paths if path.stem.split("-")[1].isdecimal()),
        key=lambda path: int(path.stem.split("-")[1]),
    )


@functools.lru_cache(maxsize=8)
def _load(path: Path) -> bcdc.Prior | None:
    """The prior of a file; None, and a line on stderr, if it cannot be used."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise bcdc.PriorError("not a file, or too large")
        return bcdc.read_prior(path.read_bytes())
    except OSError as error:
        note_once(f"{path}: cannot be read, and left out: {error.strerror}")
    except bcdc.PriorError as error:
        if path.parent == _folders()[0]:
            set_aside(path, error)
        else:
            note_once(f"{path}: damaged ({error}) and left out; install bigcodec-cli again")
    return None
