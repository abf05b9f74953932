"""The models that ship inside the package, and their names. Loads no torch."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

_FOLDER = Path(__file__).parent / "weights"

ALIASES = {"lite": "lite-"}
"""Short names, each for the newest built-in model whose name has this prefix."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltinModel:
    """A shipped model: its name, weights file, SHA-256 fingerprint, digest of all that the file
    holds (see `LoadedModel`), license and one line on it. `graphs` is the archive of its graphs for
    ONNX Runtime, if there is one, and `graphs_sha256` the digest of that."""

    name: str
    path: Path
    fingerprint: bytes
    digest: bytes
    license: str
    summary: str
    graphs: Path | None = None
    graphs_sha256: bytes = b""


@functools.cache
def builtin_models() -> tuple[BuiltinModel, ...]:
    """Every shipped model, oldest first."""
    table = json.loads((_FOLDER / "models.json").read_text(encoding="utf-8"))
    return tuple(
        BuiltinModel(
            name=row["name"],
            path=_FOLDER / row["file"],
            fingerprint=bytes.fromhex(row["fingerprint"]),
            digest=bytes.fromhex(row["digest"]),
            license=row["license"],
            summary=row["summary"],
            graphs=_FOLDER / row["graphs"] if "graphs" in row else None,
            graphs_sha256=bytes.fromhex(row.get("graphs_sha256", "")),
        )
        for row in table
    )


def find_builtin(name: str) -> BuiltinModel | None:
    """The built-in model of a name or alias, or None."""
    prefix = ALIASES.get(name)
    for model in reversed(builtin_models()):
        if model.name == name or (prefix is not None and model.name.startswith(prefix)):
            return model
    return None
