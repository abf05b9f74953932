"""Writes the golden files of this folder from a checkout of the published BigCodec code.

    python make_golden.py PATH_OF_CHECKOUT

It needs what that code needs (torch, numpy, einops), and pytorch_lightning and omegaconf for the
checkpoint in Lightning's layout. Weights are random, from a fixed seed, at a width of ours.

    golden_release.pt      the two state dicts, as the release file has them
    golden_lightning.ckpt  the same weights as pytorch_lightning saves them, with an omegaconf
                           configuration among the hyper-parameters
    golden_io.npz          a wave, and the latent, tokens and reconstruction made of it
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
STRIDES = (2, 4, 5, 5)


def build(checkout: Path) -> tuple[Any, Any]:
    """The published encoder and decoder at toy width, weights far from their flat start."""
    sys.path.insert(0, str(checkout))
    from vq.codec_decoder import CodecDecoder  # type: ignore[import-not-found]
    from vq.codec_encoder import CodecEncoder  # type: ignore[import-not-found]

    torch.manual_seed(1234)
    encoder = CodecEncoder(ngf=2, up_ratios=STRIDES, out_channels=12)
    decoder = CodecDecoder(
        in_channels=12,
        vq_dim=12,
        upsample_initial_channel=32,
        up_ratios=STRIDES[::-1],
        codebook_size=300,
    )
    with torch.no_grad():
        for name, parameter in (*encoder.named_parameters(), *decoder.named_parameters()):
            if name.endswith(("alpha", "beta")):
                parameter.normal_(0, 0.4)
            elif name.endswith("weight_g"):
                parameter.mul_(torch.empty_like(parameter).uniform_(0.7, 1.6))
    return encoder.eval(), decoder.eval()


def save_lightning(encoder: Any, decoder: Any, path: Path) -> None:
    """Let pytorch_lightning write a checkpoint of a module shaped like the published one."""
    import pytorch_lightning  # type: ignore[import-not-found]
    from omegaconf import OmegaConf  # type: ignore[import-not-found]

    class Module(pytorch_lightning.LightningModule):  # type: ignore[misc]
        def __init__(self, cfg: Any) -> None:
            super().__init__()
            self.cfg = cfg
            parts = {
                "CodecEnc": encoder,
                "generator": decoder,
                "discriminator": torch.nn.Linear(2, 2),
                "spec_discriminator": torch.nn.Linear(2, 2),
            }
            self.model = torch.nn.ModuleDict(parts)
            self.save_hyperparameters()

    config = OmegaConf.create({"model": {"ngf": 2, "up_ratios": list(STRIDES)}, "lr": 1e-4})
    trainer = pytorch_lightning.Trainer(accelerator="cpu", logger=False, barebones=True)
    trainer.strategy.connect(Module(config))
    trainer.save_checkpoint(path, weights_only=False)


def main() -> None:
    encoder, decoder = build(Path(sys.argv[1]))
    random = np.random.default_rng(5)
    time = np.arange(5123) / 16000
    wave = 0.3 * np.sin(2 * np.pi * (120 + 400 * time) * time) + 0.05 * random.standard_normal(5123)
    wave = wave.astype(np.float32)
    padded = torch.from_numpy(np.pad(wave, (0, 200 - len(wave) % 200))).view(1, 1, -1)
    with torch.no_grad():
        latent = encoder(padded)
        quantized, tokens, _ = decoder(latent, vq=True)
        reconstruction = decoder(quantized, vq=False)
    np.savez_compressed(
        HERE / "golden_io.npz",
        wave=wave,
        latent=latent[0].numpy(),
        tokens=tokens[0, 0].numpy().astype(np.int32),
        reconstruction=reconstruction[0, 0].numpy(),
    )
    state = {"CodecEnc": encoder.state_dict(), "generator": decoder.state_dict()}
    torch.save(state, HERE / "golden_release.pt")
    save_lightning(encoder, decoder, HERE / "golden_lightning.ckpt")


if __name__ == "__main__":
    main()
