"""Makes a model file, or a run folder, of weights that an experiment left in parts.

    python scripts/experiments/to_model_file.py 'FOLDER/ema.*.safetensors' OUTPUT.safetensors
    python scripts/experiments/to_model_file.py 'FOLDER/*.safetensors' OUTPUT

For train_in_minutes.py, and for the `single` weights before it, whose LSTMs and F0 head have no
place any more: what is missing stays as a fresh network has it. Either is what
`bigcodec train --init` takes; a run folder holds the discriminators too.
"""

from __future__ import annotations

import glob
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from bigcodec_models.architectures.network import CodecNetwork
from bigcodec_models.checkpoints.model_file import ModelInfo, save_model
from bigcodec_models.config import PRESETS
from bigcodec_models.training.checkpoint import Checkpoint, save_checkpoint
from bigcodec_models.training.config import TrainConfig

_MODEL = PRESETS["lite"]
_RENAMED = {"decoder.pitch_head.0.": "decoder.f0_head.norm."}


def main(pattern: str, output: str) -> None:
    """Write the model file, in half precision, or the run folder."""
    torch.manual_seed(0)
    weights, discriminators, steps = read(pattern)
    fresh = CodecNetwork(_MODEL).state_dict()
    fit = {k: v for k, v in weights.items() if k in fresh and v.shape == fresh[k].shape}
    print(f"{len(fit)} tensors taken, {len(fresh) - len(fit)} fresh, {steps} steps")
    joined = {**fresh, **fit}
    if output.endswith(".safetensors"):
        facts = {"steps": steps, "fresh_tensors": len(fresh) - len(fit)}
        info = ModelInfo(name=Path(output).stem, license="MIT", training=facts)
        save_model(Path(output), {k: v.half() for k, v in joined.items()}, _MODEL, info)
        return
    checkpoint = Checkpoint(
        step=0,
        model=_MODEL,
        train=TrainConfig(),
        weights=joined,
        ema=joined,
        discriminators=discriminators,
        optimizer={},
        facts={"steps_before": steps},
    )
    print(save_checkpoint(Path(output), checkpoint))


def read(pattern: str) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Weights under today's names, discriminators, and the step they are of."""
    weights: dict[str, Tensor] = {}
    discriminators: dict[str, Tensor] = {}
    steps = 0
    for path in sorted(glob.glob(pattern)):
        with safe_open(path, "pt") as file:
            steps = int((file.metadata() or {}).get("step", 0))
        into = discriminators if Path(path).name.startswith("discriminators.") else weights
        for name, value in load_file(path).items():
            for old, new in _RENAMED.items():
                name = name.replace(old, new)
            into[name] = value.float()
    return weights, discriminators, steps


if __name__ == "__main__":
    main(*sys.argv[1:])
