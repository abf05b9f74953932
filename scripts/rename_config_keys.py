"""Rewrite the metadata of model files written before the settings were renamed.

    python scripts/rename_config_keys.py FILE.safetensors...

Renames the keys of the stored configuration and training facts, and `licence` to `license`. The
bytes of the tensors, and so the fingerprint, stay the same; this is checked before a file is
replaced.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import safetensors.torch

from bigcodec_models.checkpoints.fingerprint import fingerprint

RENAMED = {
    "adversarial_seconds": "discriminator_segment_seconds",
    "generator_only_steps": "discriminator_start_step",
    "licence": "license",
    "restart": "reset_every",
    "revive_every": "replace_dead_codes_every",
    "unit_codes": "l2_normalized_codes",
}


def renamed(value: Any) -> Any:
    """Nested dictionaries with the keys of `RENAMED` replaced, in the same order."""
    if isinstance(value, dict):
        return {RENAMED.get(key, key): renamed(item) for key, item in value.items()}
    return value


def rewritten(content: bytes) -> bytes:
    """A safetensors file with renamed keys in its metadata."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata: dict[str, str] = renamed(header["__metadata__"])
    for field in ("config", "training"):
        if field in metadata:
            metadata[field] = json.dumps(renamed(json.loads(metadata[field])))
    text = json.dumps({**header, "__metadata__": metadata}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        content = path.read_bytes()
        result = rewritten(content)
        before, after = (fingerprint(safetensors.torch.load(file)) for file in (content, result))
        assert before == after, path
        path.write_bytes(result)
        print(path, after.hex())


if __name__ == "__main__":
    main()
