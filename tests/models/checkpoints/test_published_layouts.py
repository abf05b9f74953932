"""Published weights in the layouts in which people pass them on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from bigcodec_models import Codec, ModelFileError
from bigcodec_models.checkpoints.archive import load_pickled
from bigcodec_models.checkpoints.published import load_upstream, load_upstream_discriminators

Flat = dict[str, Tensor]
PREFIXES = ("module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.model.module.")


@pytest.fixture(scope="module")
def flat(golden: Path) -> Flat:
    """The tensors of the golden release file, by published name."""
    loaded = load_pickled(golden / "golden_release.pt")
    parts = ("CodecEnc", "generator")
    return {f"{p}.{k}": v.clone() for p in parts for k, v in loaded[p].items()}


def release(tensors: Flat) -> dict[str, Flat]:
    parts: dict[str, Flat] = {"CodecEnc": {}, "generator": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


def parametrized(tensors: Flat) -> Flat:
    """As the newer `torch.nn.utils.parametrizations.weight_norm` names them."""
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 3))
    names = {str(list(v.shape)): k for k, v in layer.state_dict().items() if "original" in k}
    gain, direction = names["[3, 1]"], names["[3, 2]"]
    renamed = (
        (k.replace("weight_g", gain).replace("weight_v", direction), v) for k, v in tensors.items()
    )
    return dict(renamed)


LAYOUTS: dict[str, Callable[[Flat], object]] = {
    "flat": lambda flat: flat,
    "flat beside numbers": lambda flat: {"step": 600_000, "config": None, **flat},
    "flat under model": lambda flat: {"model": flat, "step": 3},
    "release": release,
    "release with prefixes inside": lambda flat: {
        part: {f"module.{name}": v for name, v in tensors.items()}
        for part, tensors in release(flat).items()
    },
    "state_dict": lambda flat: {"state_dict": flat, "epoch": 3, "optimizer_states": [{"a": 1.0}]},
    "parametrizations": parametrized,
    "prefixes in the middle": lambda flat: {
        f"model.{name.replace('.', '._orig_mod.', 1)}": v for name, v in parametrized(flat).items()
    },
    "discriminators": lambda flat: {
        "state_dict": {f"model.module.{k}": v for k, v in flat.items()}
        | {"model.module.discriminator.x": torch.zeros(2)}
    },
    **{
        prefix: lambda flat, prefix=prefix: {f"{prefix}{k}": v for k, v in flat.items()}  # type: ignore[misc]
        for prefix in PREFIXES
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_is_the_same_model(
    golden: Path, flat: Flat, tmp_path: Path, layout: str
) -> None:
    torch.save(LAYOUTS[layout](flat), tmp_path / "m.pt")
    expected, loaded = load_upstream(golden / "golden_release.pt"), load_upstream(tmp_path / "m.pt")
    assert loaded.config == expected.config and loaded.fingerprint == expected.fingerprint


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_safetensors_without_our_metadata(
    golden: Path, flat: Flat, tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file({f"module.{k}": v for k, v in flat.items()}, path, metadata)
    assert Codec.load(path).fingerprint == Codec.load(golden / "golden_release.pt").fingerprint
    safetensors.torch.save_file({"x": torch.zeros(2)}, path, metadata)
    with pytest.raises(ModelFileError, match="its key 'x' is none of the published model"):
        Codec.load(path)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision(golden: Path, flat: Flat, tmp_path: Path, kind: torch.dtype) -> None:
    torch.save(release({name: v.to(kind) for name, v in flat.items()}), tmp_path / "m.pt")
    codec, wave = Codec.load(tmp_path / "m.pt"), np.load(golden / "golden_io.npz")["wave"]
    exact = Codec.load(golden / "golden_release.pt").latents(wave)
    error = np.abs(codec.latents(wave) - exact).max() / np.abs(exact).max()
    assert 0 < error < 20 * torch.finfo(kind).eps


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.int32])
def test_another_filter_in_half_precision_is_refused(
    flat: Flat, tmp_path: Path, kind: torch.dtype
) -> None:
    name = next(name for name in flat if name.endswith("upsample.filter"))
    torch.save(flat | {name: (flat[name] * 1.02).to(kind)}, tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match="another low-pass filter"):
        load_upstream(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder.conv.weight": torch.zeros(1)}, "its key 'encoder.conv.weight' is none"),
        ({"module.CodecEnc.block.0.gamma": torch.zeros(1)}, "key 'module.CodecEnc.block.0.gamma'"),
        ({"model": {"a": torch.zeros(1)}}, "its key 'model.a' is none"),
        (
            {"module.CodecEnc.block.0.bias": torch.zeros(1)},
            "it holds 'CodecEnc.block.0.bias' twice",
        ),
        ({"generator.model.0": {"bias": 3}}, "'generator.model.0.bias' is not a tensor"),
    ],
)
def test_the_first_unknown_key_is_named(
    flat: Flat, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    first = next(iter(flat))
    rest = {name: v for name, v in flat.items() if name != first}
    torch.save({first: flat[first], **change, **rest, "zzz": torch.zeros(1)}, tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match=message) as caught:
        load_upstream(tmp_path / "m.pt")
    assert "zzz" not in str(caught.value)


def test_nothing_of_a_model_is_told(tmp_path: Path) -> None:
    torch.save({"step": 3, "state": None}, tmp_path / "m.pt")
    with pytest.raises(ModelFileError, match="holds no tensors of CodecEnc and generator"):
        load_upstream(tmp_path / "m.pt")


def test_discriminators_with_prefixes(tmp_path: Path) -> None:
    name = "model.discriminator.discriminators.0.convs.0.0"
    keys = (f"module.{name}.bias", f"_orig_mod.{name}.parametrizations.weight.original1")
    torch.save({"state_dict": {key: torch.ones(3) for key in keys}}, tmp_path / "m.ckpt")
    tensors = load_upstream_discriminators(tmp_path / "m.ckpt")
    assert set(tensors) == {f"mpd.parts.0.layers.0.{n}" for n in ("bias", "weight_v")}
