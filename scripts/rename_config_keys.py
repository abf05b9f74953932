"""Rewrites model files and run folders that were written before the settings were renamed.

    python scripts/rename_config_keys.py PATH...

PATH is a model file, a run folder or a portable checkpoint. In model files the keys of the stored
configuration and `licence` are renamed; tensors, and so the fingerprint, stay the same, which is
checked before a file is replaced. In run folders and portable checkpoints the training settings,
once a flat table with a list of discriminators in one string, become nested tables. What is already
in today's form stays as it is. End a run before its folder is rewritten; then it can be resumed.
"""

from __future__ import annotations

import itertools
import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch

from bigcodec_models.checkpoints.fingerprint import fingerprint
from bigcodec_models.config_values import Setting, build_dataclass, settings_of
from bigcodec_models.discriminators.config import PRESETS, expand_presets
from bigcodec_models.training.config import TrainConfig

RENAMED = {
    "adversarial_seconds": "discriminator_segment_seconds",
    "generator_only_steps": "discriminator_start_step",
    "licence": "license",
    "restart": "reset_every",
    "revive_every": "replace_dead_codes_every",
    "unit_codes": "l2_normalized_codes",
}


def _flat_name(setting: Setting) -> str:
    """The name that a setting had in the flat table."""
    newest = (setting.former or (setting.own_name,))[0]
    return RENAMED.get(newest, newest)


TABLES = {
    table: {_flat_name(setting): setting.own_name for setting in settings}
    for table, settings in itertools.groupby(
        (each for each in settings_of(TrainConfig) if each.name.count(".") == 1),
        key=lambda setting: setting.name.partition(".")[0],
    )
}
"""Names of flat settings, and what they are called in each of today's tables."""


def renamed(value: Any) -> Any:
    """Nested dictionaries with the keys of `RENAMED` replaced, in the same order."""
    if isinstance(value, dict):
        return {RENAMED.get(key, key): renamed(item) for key, item in value.items()}
    return value


def nested_settings(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Training settings in tables; those that are so already stay as they are."""
    if isinstance(flat.get("crops"), Mapping):
        return dict(flat)
    moved = {old for names in TABLES.values() for old in names}
    settings = {key: value for key, value in flat.items() if key not in moved}
    for table, names in TABLES.items():
        settings[table] = {new: flat[old] for old, new in names.items() if old in flat}
    if "discriminators" in flat:
        settings["discriminators"] = discriminator_table(flat["discriminators"])
    build_dataclass(TrainConfig, settings)  # raises where it would not be read
    return settings


def discriminator_table(setting: str) -> dict[str, Any]:
    """The table of what was `none`, a preset, or a list such as `mpd:1,mrd-small:0.5`."""
    if setting in PRESETS:
        return expand_presets({"preset": setting})
    table: dict[str, Any] = {"preset": "none"}
    for entry in setting.split(","):
        name, _, weight = (part.strip() for part in entry.partition(":"))
        size = "small" if name.endswith("-small") else "published"
        table[name.removesuffix("-small")] = {"size": size, "weight": float(weight or 1)}
    return expand_presets(table)


def rewrite_model_file(path: Path) -> None:
    """Rename the keys in the metadata of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata: dict[str, str] = renamed(header.get("__metadata__", {}))
    for field in ("config", "training"):
        if field in metadata:
            metadata[field] = json.dumps(renamed(json.loads(metadata[field])))
    if metadata == header.get("__metadata__", {}):
        return
    text = json.dumps({**header, "__metadata__": metadata}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    result = struct.pack("<Q", len(text)) + text + content[8 + length :]
    before, after = (fingerprint(safetensors.torch.load(file)) for file in (content, result))
    assert before == after, path
    path.write_bytes(result)
    print(path, after.hex())


def rewrite_settings(path: Path) -> None:
    """Nest the training settings of a JSON file, and rename keys of the rest."""
    before = json.loads(path.read_text(encoding="utf-8"))
    after = renamed(before)
    after["train"] = nested_settings(after["train"])
    if after != before:
        path.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")
        print(path)


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        if path.is_file():
            rewrite_model_file(path)
            continue
        for pattern in ("config.json", "portable.json", "checkpoints/*/state.json"):
            for file in sorted(path.glob(pattern)):
                rewrite_settings(file)
        for pattern in ("best.safetensors", "checkpoints/*/*.safetensors"):
            for file in sorted(path.glob(pattern)):
                rewrite_model_file(file)


if __name__ == "__main__":
    main()
