"""Writes the golden files of the training step from a checkout of the published BigCodec code.

    python make_train_golden.py PATH_OF_CHECKOUT

It runs the published training module itself, at a width of ours, so it needs torch, numpy,
einops, pytorch_lightning, hydra-core and omegaconf; and librosa, because torchaudio, which the
published mel loss takes its spectrograms from, may be missing: `Spectrogram` stands in for it.
Everything is computed in double precision from single-precision weights of a fixed seed.

    train_golden.pt    the weights before the step, under the names of a Lightning checkpoint less
                       its `model.`
    train_golden.npz   real and generated waves, tokens, and the feature maps of the discriminators
                       before the step, as `part.map`: scores whole, of the rest each 37th value
    train_golden.json  widths; the losses; norms of every gradient before clipping

The step is the published one: the discriminators' losses, gradients and update (clipped to norm
1, AdamW, at a learning rate raised to 1e-3 so that leaving it out shows), then the generator's
losses and gradients against the updated discriminators.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import hydra  # type: ignore[import-not-found]
import librosa
import numpy as np
import pytorch_lightning  # type: ignore[import-not-found]  # noqa: F401  (before the stand-in)
import torch
from omegaconf import OmegaConf  # type: ignore[import-not-found]
from torch import Tensor

HERE = Path(__file__).parent
STRIDES = (4, 5, 5)
SAMPLES = 3500
THINNING = 37
WIDTHS = {
    "codec_encoder": {"ngf": 2, "out_channels": 12, "up_ratios": list(STRIDES)},
    "codec_decoder": {
        "in_channels": 12,
        "vq_dim": 12,
        "upsample_initial_channel": 16,
        "up_ratios": list(STRIDES[::-1]),
        "codebook_size": 64,
    },
    "mpd": {"channels": 2, "max_downsample_channels": 16},
    "mstft": {"channels": 2, "max_downsample_channels": 12},
}
WARM_UP_START = 1e-5  # the published schedule's value at step 0, which multiplies `lr`
RATE = 1e-3


class Spectrogram(torch.nn.Module):
    """What the mel loss asks of torchaudio's MelSpectrogram, with librosa's mel filters."""

    filters: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__()
        assert options["power"] == 1 and options["center"] and options["mel_scale"] == "slaney"
        self.n_fft, self.hop = options["n_fft"], options["hop_length"]
        filters = librosa.filters.mel(
            sr=options["sample_rate"],
            n_fft=self.n_fft,
            n_mels=options["n_mels"],
            htk=False,
            norm=options["norm"],
            dtype=np.float64,
        )
        self.register_buffer("filters", torch.from_numpy(filters))

    def forward(self, wave: Tensor) -> Tensor:
        window = torch.hann_window(self.n_fft)
        spectrum = torch.stft(wave, self.n_fft, self.hop, window=window, return_complex=True)
        return self.filters @ spectrum.abs()


def load_published(checkout: Path) -> Any:
    """The published training module, at our widths, without mixed precision or Hydra's folders."""
    stand_in, transforms = types.ModuleType("torchaudio"), types.ModuleType("torchaudio.transforms")
    transforms.MelSpectrogram = Spectrogram  # type: ignore[attr-defined]
    stand_in.transforms = transforms  # type: ignore[attr-defined]
    sys.modules |= {"torchaudio": stand_in, "torchaudio.transforms": transforms}
    hydra.utils.get_original_cwd = lambda: ""
    sys.path.insert(0, str(checkout))
    from lightning_module import CodecLightningModule  # type: ignore[import-not-found]

    folder = checkout / "config"
    parts = ("model", "train", "preprocess")
    published = {part: OmegaConf.load(folder / part / "default.yaml") for part in parts}
    overrides = {"model": WIDTHS, "train": {"disc_optim_params": {"lr": RATE / WARM_UP_START}}}
    return CodecLightningModule(OmegaConf.merge(published, overrides)).train()


def randomise(module: Any) -> None:
    """Weights far from their flat start, and exact in single precision."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith(("alpha", "beta")):
                parameter.normal_(0, 0.4)
            elif name.endswith("weight_g"):
                parameter.mul_(torch.empty_like(parameter).uniform_(0.7, 1.6))
            elif name.endswith("bias"):
                parameter.add_(torch.empty_like(parameter).uniform_(-0.05, 0.05))
            parameter.copy_(parameter.float())


def make_waves() -> Tensor:
    """Two waves (2, SAMPLES) of gliding tones in noise, exact in single precision."""
    random, time = np.random.default_rng(77), np.arange(SAMPLES) / 16000
    tones = [np.sin(2 * np.pi * (start + 900 * time) * time) for start in (140, 310)]
    waves = 0.25 * np.stack(tones) + 0.05 * random.standard_normal((2, SAMPLES))
    return torch.from_numpy(waves.astype(np.float32)).double()


def feature_maps(model: Any, waves: dict[str, Tensor]) -> dict[str, Any]:
    """The maps of both discriminators, as `mpd_real.0.5`: sub-discriminator 0, map 5."""
    kept: dict[str, Any] = {}
    for kind, key in (("mpd", "discriminator"), ("spectral", "spec_discriminator")):
        for name, wave in waves.items():
            for part, maps in enumerate(model[key](wave)):
                for index, features in enumerate(maps):
                    values = features.detach().flatten().float().numpy()
                    last = index == len(maps) - 1
                    kept[f"{kind}_{name}.{part}.{index}"] = values[:: 1 if last else THINNING]
    return kept


def gradient_norms(parameters: Any) -> dict[str, float]:
    """Norm of every gradient, by name."""
    return {name: parameter.grad.norm().item() for name, parameter in parameters}


def take_step(module: Any, batch: dict[str, Tensor], output: Any) -> dict[str, Any]:
    """Losses and gradient norms of one published step; the discriminators are updated."""
    [_, optimizer], _ = module.configure_optimizers()
    named = list(module.model.named_parameters())
    discriminators = [pair for pair in named if "discriminator." in pair[0]]
    generator = [pair for pair in named if "discriminator." not in pair[0]]

    first = module.compute_disc_loss(batch, output)
    first["disc_loss"].backward()
    norms = gradient_norms(discriminators)
    clip = module.cfg.train.disc_grad_clip
    torch.nn.utils.clip_grad_norm_([parameter for _, parameter in discriminators], clip)
    optimizer.step()
    second = module.compute_gen_loss(batch, output)
    second["gen_loss"].backward()
    losses = {
        "d_real": first["real_loss"],
        "d_fake": first["fake_loss"],
        "mel": second["mel_loss"],
        "adv": second["adv_loss"],
        "fm_mpd": second["fm_loss"],
        "fm_spec": second["spec_fm_loss"],
        "vq": second["vq_loss"],
        "total": second["gen_loss"],
    }
    return {
        "widths": WIDTHS,
        "losses": {name: loss.item() for name, loss in losses.items()},
        "gradients": {"discriminators": norms, "generator": gradient_norms(generator)},
    }


def main() -> None:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(20240)
    module = load_published(Path(sys.argv[1]))
    randomise(module)
    batch = {"wav": make_waves()}
    output = module(batch)
    weights = {name: value.float() for name, value in module.model.named_parameters()}
    torch.save(
        {name: value.detach().clone() for name, value in weights.items()}, HERE / "train_golden.pt"
    )
    fake = output["gen_wav"].detach()
    np.savez_compressed(
        HERE / "train_golden.npz",
        real=batch["wav"].float().numpy(),
        fake=fake[:, 0].float().numpy(),
        tokens=output["vq_code"][0].numpy().astype(np.int32),
        **feature_maps(module.model, {"real": output["gt_wav"], "fake": fake}),
    )
    values = take_step(module, batch, output)
    (HERE / "train_golden.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
