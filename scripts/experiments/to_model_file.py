"""Makes a model file of weights that an experiment left in parts.

    python scripts/experiments/to_model_file.py 'PARTS*.safetensors' OUTPUT [NAME]

For train_in_minutes.py's averages, and for the two-token-free `single` weights of before, whose
LSTMs and F0 head have no place any more: what is missing stays as a fresh network has it. The
result is what `bigcodec train --init` and `bigcodec eval --model` take.
"""

from __future__ import annotations

import glob
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bigcodec_models.config import PRESETS
from bigcodec_models.model_file import ModelInfo, save_model
from bigcodec_models.network import CodecNetwork

_RENAMED = {"decoder.pitch_head.0.": "decoder.f0_head.norm."}


def main(pattern: str, output: str, name: str = "") -> None:
    """Write the model file, in half precision."""
    torch.manual_seed(0)
    weights = CodecNetwork(PRESETS["lite"]).state_dict()
    left = set(weights)
    steps = 0
    for path in sorted(glob.glob(pattern)):
        with safe_open(path, "pt") as file:
            steps = int((file.metadata() or {}).get("step", 0))
        for key, value in load_file(path).items():
            for old, new in _RENAMED.items():
                key = key.replace(old, new)
            if key in weights and weights[key].shape == value.shape:
                weights[key] = value.float()
                left.discard(key)
    print(f"{len(weights) - len(left)} tensors taken, {len(left)} fresh, {steps} steps")
    info = ModelInfo(
        name=name or Path(output).stem, licence="MIT", training={"steps": steps, "fresh": len(left)}
    )
    save_model(Path(output), {k: v.half() for k, v in weights.items()}, PRESETS["lite"], info)


if __name__ == "__main__":
    main(*sys.argv[1:])
