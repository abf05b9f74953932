"""Reading published checkpoints: tensors get the names of this package, and their shapes give the
configuration.

Several layouts hold the same tensors: the release file, a dict with the state dicts `CodecEnc` and
`generator`; a Lightning checkpoint, whose `state_dict` has them under the prefix `model.`; and one
flat dict, also as a safetensors file. Their names may have what torch's wrappers put into them
(`module`, `_orig_mod`, `parametrizations`), and they may be in half precision.

`archive.load_pickled` reads what torch wrote; tensors are measured before they are copied.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from bigcodec_models.checkpoints.archive import load_pickled, text_items
from bigcodec_models.checkpoints.model_file import (
    LoadedModel,
    ModelInfo,
    check_dtypes,
    check_shapes,
    shortened,
)
from bigcodec_models.config import BigCodecConfig, QuantizerConfig
from bigcodec_models.discriminators.published import adapt_discriminators
from bigcodec_models.errors import ConfigError, ModelFileError
from bigcodec_models.kernels.low_pass import LOW_PASS, TAPS

_PARTS = ("CodecEnc", "generator")
_WRAPPERS = ("module", "_orig_mod")
"""What data parallel training and `torch.compile` put into names."""
_PARAMETRIZED = (
    (".parametrizations.weight.original0", ".weight_g"),
    (".parametrizations.weight.original1", ".weight_v"),
)
"""Names of the newer of torch's two weight norms, and those of the older one."""
_KNOWN_NAME = re.compile(
    r"(CodecEnc\.block|generator\.model|generator\.quantizer\.layers)\.\d+\.[\w.]*?"
    r"(bias|weight_[gv]|alpha|beta|filter|_codebook\.weight|(weight|bias)_[ih]h_l\d+)"
)
_DISCRIMINATORS = ("discriminator.", "spec_discriminator.")
_FILTER_SUFFIXES = (".upsample.filter", ".downsample.lowpass.filter")
_DILATIONS = (1, 3, 9)  # cannot be read off the tensors; every published model has these
_LICENSE = "MIT (weights of the BigCodec authors)"


def load_upstream(path: Path) -> LoadedModel:
    """Read a published checkpoint of any layout, as torch or safetensors wrote it.

    Raises:
        ModelFileError: unreadable, or not such a checkpoint.
    """
    try:
        is_zip = zipfile.is_zipfile(path)
        loaded = load_pickled(path) if is_zip else safetensors.torch.load_file(path)
        tensors, config = adapt(_generator_tensors(loaded))
        tensors = _copies(tensors, path)
        check_dtypes(tensors)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise ModelFileError(
            f"{path}: not a usable BigCodec checkpoint: {shortened(error)}"
        ) from error
    return LoadedModel(
        config=config, info=ModelInfo(name=path.stem, license=_LICENSE), tensors=tensors
    )


def load_upstream_discriminators(path: Path) -> dict[str, Tensor]:
    """Discriminator tensors of a Lightning checkpoint; empty for any other file.

    Those of the published discriminators are under the names that `build_discriminators` gives
    them, others under their own.

    Raises:
        ModelFileError: unreadable.
    """
    if not zipfile.is_zipfile(path):
        return {}
    try:
        state = text_items(load_pickled(path).get("state_dict", {}))
        tensors = {_bare_name(name): v for name, v in state if isinstance(v, Tensor)}
        tensors = {name: v for name, v in tensors.items() if "discriminator." in name}
        tensors = _copies(tensors, path)
    except ConfigError as error:
        raise ModelFileError(f"{path}: {shortened(error)}") from error
    try:
        return adapt_discriminators(tensors)
    except ConfigError:  # some other discriminators, which the caller may compare with its own
        return tensors


def _copies(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors in memory of their own.

    Raises:
        ConfigError: they are larger than twice the file. Tied weights share their data, but a small
            file must not become a large model.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > 2 * path.stat().st_size:
        raise ConfigError("its tensors are larger than the file")
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def adapt(upstream: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], BigCodecConfig]:
    """Tensors under the names of this package, and the configuration, of published tensors.

    Published names begin with `CodecEnc.` or `generator.`.

    Raises:
        ConfigError: a tensor is missing, superfluous, or of a shape that fits no configuration.
    """
    config = _infer_config(upstream)
    filters = {name for name in upstream if name.endswith(_FILTER_SUFFIXES)}
    _check_filters(upstream[name] for name in filters)
    tensors: dict[str, Tensor] = {}
    for source, target in name_pairs(config):
        if source in upstream:
            tensors[target] = upstream[source]
    unknown = set(upstream) - filters - {source for source, _ in name_pairs(config)}
    if unknown:
        raise ConfigError(f"tensor {min(unknown)!r} has no place in this architecture")
    check_shapes({name: tuple(tensor.shape) for name, tensor in tensors.items()}, config)
    return tensors, config


def name_pairs(config: BigCodecConfig) -> Iterator[tuple[str, str]]:
    """The published name and the name here of every learned tensor."""
    yield from _quantizer_pairs(config)
    yield from _encoder_pairs(config)
    yield from _decoder_pairs(config)


def _generator_tensors(loaded: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors of any layout by the names of the release file, joined by a dot; discriminators are
    left out.

    Raises:
        ConfigError: a key is unknown, names what is no tensor, or names one twice.
    """
    flat: dict[str, Tensor] = {}
    for key, value in _entries(loaded):
        name = _bare_name(key)
        if name.startswith(_DISCRIMINATORS):
            continue
        if not _KNOWN_NAME.fullmatch(name):
            raise ConfigError(f"its key {key!r} is none of the published model")
        if not isinstance(value, Tensor):
            raise ConfigError(f"{key!r} is not a tensor")
        if name in flat:
            raise ConfigError(f"it holds {name!r} twice")
        flat[name] = value
    if not flat:
        raise ConfigError("it holds no tensors of CodecEnc and generator")
    return flat


def _entries(loaded: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values of the state dicts that a checkpoint holds, or of itself as one."""
    if "state_dict" in loaded:
        yield from text_items(loaded["state_dict"])
        return
    parts = all(part in loaded for part in _PARTS)
    for name in _PARTS if parts else loaded:
        if parts or isinstance(loaded[name], dict):
            yield from ((f"{name}.{inner}", v) for inner, v in text_items(loaded[name]))
        elif isinstance(loaded[name], Tensor):  # not a number of steps or the like
            yield name, loaded[name]


def _bare_name(key: str) -> str:
    """The name of the release file, of one to which torch's wrappers have added."""
    name = ".".join(part for part in key.split(".") if part not in _WRAPPERS)
    name = name.removeprefix("model.")
    for original, published in _PARAMETRIZED:
        if name.endswith(original):
            name = name.removesuffix(original) + published
    return name


def _infer_config(upstream: Mapping[str, Tensor]) -> BigCodecConfig:
    encoder, decoder = "CodecEnc.block", "generator.model"
    encoder_strides = _strides(upstream, encoder, str(len(_DILATIONS) + 1))
    decoder_strides = _strides(upstream, decoder, "1")
    size, dim = _shape(upstream, "generator.quantizer.layers.0._codebook.weight", 2)
    latent = _shape(upstream, f"{decoder}.0.weight_v", 3)
    return BigCodecConfig(
        encoder_width=_shape(upstream, f"{encoder}.0.weight_v", 3)[0],
        encoder_strides=encoder_strides,
        latent_dim=latent[1],
        decoder_width=latent[0],
        decoder_strides=decoder_strides,
        dilations=_DILATIONS,
        lstm_layers=_count(upstream, r"CodecEnc\.block\.\d+\.lstm\.weight_ih_l\d+"),
        quantizer=QuantizerConfig(
            codebook_size=size,
            codebook_dim=dim,
            num_codebooks=_count(upstream, r"generator\.quantizer\.layers\.\d+\._codebook\.weight"),
        ),
    )


def _count(upstream: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in upstream)


def _strides(upstream: Mapping[str, Tensor], part: str, position: str) -> tuple[int, ...]:
    """Strides of a part, half the kernel of the strided convolution in each of its blocks."""
    pattern = re.compile(re.escape(part) + r"\.(\d+)\.block\." + position + r"\.weight_v")
    names = {int(m[1]): name for name in upstream if (m := pattern.fullmatch(name))}
    kernels = [_shape(upstream, names[index], 3)[2] for index in sorted(names)]
    if not kernels or any(kernel % 2 for kernel in kernels):
        raise ConfigError(f"{part} has no strided convolutions of a known form")
    return tuple(kernel // 2 for kernel in kernels)


def _shape(upstream: Mapping[str, Tensor], name: str, dims: int) -> tuple[int, ...]:
    if name not in upstream or upstream[name].dim() != dims:
        raise ConfigError(f"tensor {name} is missing or of an unknown shape")
    return tuple(upstream[name].shape)


def _check_filters(filters: Iterator[Tensor]) -> None:
    expected = torch.tensor(LOW_PASS)
    for taps in filters:
        half = taps.dtype in (torch.float16, torch.bfloat16)
        error = torch.finfo(taps.dtype).eps if half else 1e-5
        if taps.numel() != TAPS or not torch.allclose(taps.float().flatten(), expected, atol=error):
            raise ConfigError("its activations use another low-pass filter than the published one")


_CONV = ("bias", "weight_g", "weight_v")


def _conv(source: str, target: str) -> Iterator[tuple[str, str]]:
    for name in _CONV:
        yield f"{source}.{name}", f"{target}.{name}"


def _activation(source: str, target: str) -> Iterator[tuple[str, str]]:
    for name in ("alpha", "beta"):
        yield f"{source}.act.{name}", f"{target}.{name}"


def _residual_unit(source: str, target: str) -> Iterator[tuple[str, str]]:
    for index in (0, 2):
        yield from _activation(f"{source}.block.{index}", f"{target}.layers.{index}")
        yield from _conv(f"{source}.block.{index + 1}", f"{target}.layers.{index + 1}")


def _lstm(source: str, target: str, layers: int) -> Iterator[tuple[str, str]]:
    for layer in range(layers):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            yield f"{source}.lstm.{name}_l{layer}", f"{target}.lstm.{name}_l{layer}"


def _quantizer_pairs(config: BigCodecConfig) -> Iterator[tuple[str, str]]:
    for index in range(config.quantizer.num_codebooks):
        source, target = f"generator.quantizer.layers.{index}", f"quantizer.codebooks.{index}"
        yield f"{source}._codebook.weight", f"{target}.codes"
        yield from _conv(f"{source}.in_proj", f"{target}.in_proj")
        yield from _conv(f"{source}.out_proj", f"{target}.out_proj")


def _encoder_pairs(config: BigCodecConfig) -> Iterator[tuple[str, str]]:
    source, units, at = "CodecEnc.block", len(config.dilations), 1
    yield from _conv(f"{source}.0", "encoder.frontend.0")
    for block in range(1, len(config.encoder_strides) + 1):
        for unit in range(units):
            yield from _residual_unit(f"{source}.{block}.block.{unit}", f"encoder.frontend.{at}")
            at += 1
        yield from _activation(f"{source}.{block}.block.{units}", f"encoder.frontend.{at}")
        yield from _conv(f"{source}.{block}.block.{units + 1}", f"encoder.frontend.{at + 1}")
        at += 2
    after = len(config.encoder_strides) + 1
    yield from _lstm(f"{source}.{after}", "encoder.lstm.0", config.lstm_layers)
    after += 1 if config.lstm_layers else 0
    yield from _activation(f"{source}.{after}", "encoder.project.0")
    yield from _conv(f"{source}.{after + 1}", "encoder.project.1")


def _decoder_pairs(config: BigCodecConfig) -> Iterator[tuple[str, str]]:
    source, at = "generator.model", 0
    yield from _conv(f"{source}.0", "decoder.embed")
    yield from _lstm(f"{source}.1", "decoder.lstm.0", config.lstm_layers)
    first = 2 if config.lstm_layers else 1
    for block in range(first, first + len(config.decoder_strides)):
        yield from _activation(f"{source}.{block}.block.0", f"decoder.backend.{at}")
        yield from _conv(f"{source}.{block}.block.1", f"decoder.backend.{at + 1}")
        at += 2
        for unit in range(len(config.dilations)):
            yield from _residual_unit(f"{source}.{block}.block.{unit + 2}", f"decoder.backend.{at}")
            at += 1
    after = first + len(config.decoder_strides)
    yield from _activation(f"{source}.{after}", f"decoder.backend.{at}")
    yield from _conv(f"{source}.{after + 1}", f"decoder.backend.{at + 1}")
