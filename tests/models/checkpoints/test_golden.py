"""The architecture and both checkpoint layouts against numbers of the published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bigcodec_models import Codec
from bigcodec_models.config import BigCodecConfig, QuantizerConfig

FINGERPRINT = "6ac83c60475231b4cf5ddd242b884a483345c421f7adb894979fb842ed67e53d"
LAYOUTS = ("golden_release.pt", "golden_lightning.ckpt")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_published_code_is_matched(golden: Path, layout: str) -> None:
    codec = Codec.load(golden / layout)
    numbers = np.load(golden / "golden_io.npz")
    latent = codec.latents(numbers["wave"])
    assert np.abs(latent - numbers["latent"]).max() <= 1e-4 * np.abs(numbers["latent"]).max()
    tokens = codec.encode(numbers["wave"])
    assert np.array_equal(tokens, numbers["tokens"])
    assert len(set(tokens.tolist())) > 5
    restored = codec.decode(tokens)
    assert np.abs(restored - numbers["reconstruction"]).max() <= 1e-4


def test_widths_and_strides_are_read_off_the_tensors(golden: Path) -> None:
    assert Codec.load(golden / LAYOUTS[0]).config == BigCodecConfig(
        encoder_width=2,
        encoder_strides=(2, 4, 5, 5),
        latent_dim=12,
        decoder_width=32,
        decoder_strides=(5, 5, 4, 2),
        quantizer=QuantizerConfig(codebook_size=300),
    )


def test_the_fingerprint_is_the_same_whichever_layout_it_came_from(golden: Path) -> None:
    fingerprints = {Codec.load(golden / layout).fingerprint for layout in LAYOUTS}
    assert [f.hex() for f in fingerprints] == [
        "6ac83c60475231b4cf5ddd242b884a483345c421f7adb894979fb842ed67e53d"
    ]


def test_the_lightning_file_is_one_that_torch_refuses(golden: Path) -> None:
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(golden / "golden_lightning.ckpt", weights_only=True)
