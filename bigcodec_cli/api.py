"""The codec from Python, with the models and priors of this machine. `bigcodec_cli` has all of it.

Nothing is printed, but for a line on stderr where something in the model store is damaged.
"""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch

import bcdc
from bigcodec_cli.audio.channels import Repeated, Samples, are_equal
from bigcodec_cli.audio.reader import AudioInput
from bigcodec_cli.coding.audio_encoder import AudioEncoder
from bigcodec_cli.coding.compressor import Compressor
from bigcodec_cli.coding.config import CompressConfig
from bigcodec_cli.coding.decompressor import Decompressor, decode_part
from bigcodec_cli.coding.pace import Pace
from bigcodec_cli.coding.recording import Recording, may_be_equal, recording_of_audio
from bigcodec_cli.coding.token_extraction import record_of_container
from bigcodec_cli.coding.verification import verify_container
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.containers import open_container, too_many_tokens, too_much_audio
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Outcomes
from bigcodec_cli.files.token_files import TokenRecord, id_of
from bigcodec_cli.files.token_shards import open_shard
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_cli.model_store.loading import CodecCache
from bigcodec_cli.model_store.priors import prior_of_container
from bigcodec_cli.model_store.store import (
    default_model,
    find_by_fingerprint,
    model_path,
    read_stored,
)
from bigcodec_models import codec as models
from bigcodec_models.inference.arguments import Given, as_samples
from bigcodec_models.inference.prepare import pick_device

Bytes = bytes | bytearray | memoryview
_MAX_CHANNELS = 255
_AT_ONCE = 8
"""Channels that go through the model side by side; each takes some 20 MB."""


class Codec(models.Codec):
    """`bigcodec_models.Codec`, which also knows the models of this machine."""

    @classmethod
    def load(
        cls,
        name_or_path: str | Path | None = None,
        device: str | torch.device = "auto",
        precision: str = "float32",
        f0: str | None = None,
        gradients: bool = False,
    ) -> Self:
        """Load a model by any name of `bigcodec models list`, or from a file; by default the one
        that `bigcodec compress` takes. All else is as in `bigcodec_models.Codec.load`.

        Raises:
            CliError: no model of this name and no file of this path.
            ModelFileError: it cannot be used, or is not what was stored under its name.
            ValueError: unknown precision or device, or an F0 mode that the model does not know.
        """
        name = default_model() if name_or_path is None else name_or_path
        model = models.read_model(name) if isinstance(name, Path) else read_stored(name)
        return cls(model, device, precision, f0, gradients)


class Audio(NamedTuple):
    """Samples (channels, n), float32 with full scale 1.0, at `rate` samples per second."""

    samples: Samples
    rate: int


def compress(
    audio: str | Path | Given,
    rate: int | None = None,
    *,
    model: str | Path | models.Codec | None = None,
    coder: str = "auto",
    f0: str | None = None,
    device: str | torch.device = "auto",
    downmix: bool = False,
) -> bytes:
    """The bytes of a .bcdc file, of an audio file, or of samples (n,) or (channels, n) at `rate`.

    Samples are floats with full scale 1.0, numpy or torch. `model` is a name or file, by default
    the one that `bigcodec compress` takes, or a loaded codec, whose device and F0 mode then hold.
    The other options are those of `bigcodec compress`, and the bytes those that it writes. They are
    read back and compared.

    Raises:
        CliError: the file cannot be read, or not all of it; no such model, or it has no prior for
            `coder`.
        ModelFileError: the model cannot be used.
        ValueError: wrong samples, a missing or superfluous `rate`, an unknown option.
    """
    if coder not in ("auto", *(known.name.lower() for known in bcdc.Coder)):
        raise ValueError(f"unknown coder {coder!r}")
    if isinstance(model, models.Codec) and f0 not in (None, model.f0):
        raise ValueError(f"the codec was loaded for f0={model.f0!r}, not {f0!r}")
    codec = model if isinstance(model, models.Codec) else _loaded(model, device, f0=f0)
    config = CompressConfig(model="", coder=coder, f0=codec.f0, downmix=downmix)
    encoder = AudioEncoder.of(codec, config)
    name = str(audio) if isinstance(audio, str | Path) else "samples"
    with _naming(name), contextlib.ExitStack() as stack:
        return _container(encoder, _recording(audio, rate, encoder, stack))


def decompress(
    container: Bytes | str | Path,
    *,
    start: float = 0.0,
    duration: float | None = None,
    model: str | Path | models.Codec | None = None,
    device: str | torch.device = "auto",
    precision: str = "float32",
    allow_long: bool = False,
) -> Audio:
    """The audio of a .bcdc file, or of its bytes; or `duration` seconds of it from `start` on.

    Model and prior are found by the fingerprints in it; `model` is for one that is not in the
    store. Small files that would become hours of audio are restored only with `allow_long`.

    Raises:
        CliError: it cannot be read, is damaged, or needs a model or prior that is not here.
        ModelFileError: the model cannot be used.
        ValueError: times out of range, an unknown option.
    """
    opened, name = _opened(container)
    span = _span(opened, start, duration)
    if not allow_long:
        _refuse_long(opened, name, span[1] - span[0])
    codec = _codec_of(opened, name, model, device, precision)
    with _naming(name):
        channels = opened.header.restored_channels
        blocks = _Blocks(channels)
        sink = Repeated(blocks, channels)
        job = Decompressor(opened, sink, span=span, prior=prior_of_container(opened))
        if span == (0, opened.num_samples):
            for piece in codec.decode_streams(job.sources, min(job.channels, _AT_ONCE)):
                if piece.error is not None:
                    raise piece.error
                job.take(piece.index, piece.data)
            job.finish()
        else:
            decode_part(job, codec, Pace.FREE)  # the result is in memory anyway
    return Audio(blocks.joined(), opened.header.sample_rate)


def read_tokens(container: Bytes | str | Path, *, allow_long: bool = False) -> TokenRecord:
    """The tokens of a .bcdc file, or of its bytes, with what is known of them. No model is needed;
    the prior is found by itself. `allow_long` is for far more tokens than speech has in so few
    bytes.

    Raises:
        CliError: it cannot be read, is damaged, or needs a prior that is not here.
    """
    opened, name = _opened(container)
    if not allow_long:
        _refuse_long(opened, name, 0, opened.frames)
    with _naming(name):
        tokens = opened.tokens(prior=prior_of_container(opened))
    id, file = (id_of(Path(name)), name) if isinstance(container, str | Path) else ("", "")
    return record_of_container(id, file, opened, tokens)


def read_shard(path: str | Path) -> Iterator[TokenRecord]:
    """The recordings of a file that `bigcodec tokens extract -o FILE.jsonl` or `.npz` wrote, one
    after the other.

    Raises:
        CliError: it cannot be read, or a record is impossible.
    """
    shard = open_shard(Path(path))
    for index, id in enumerate(shard.ids):
        with _naming(f"{path}: {id}"):
            record = shard.read(index)
        if not isinstance(record, TokenRecord):
            raise CliError(f"{path}: {id}: is an array alone, which does not say what it is")
        yield record


class _Blocks:
    """A sink that keeps what it is given."""

    def __init__(self, channels: int) -> None:
        self._held = [np.zeros((channels, 0), np.float32)]

    def write(self, samples: Samples) -> None:
        """Take samples (channels, n)."""
        self._held.append(samples.copy())

    def joined(self) -> Samples:
        return np.concatenate(self._held, axis=1)


def _recording(
    audio: str | Path | Given, rate: int | None, encoder: AudioEncoder, stack: contextlib.ExitStack
) -> Recording:
    if isinstance(audio, str | Path):
        if rate is not None:
            raise ValueError("a file says its own rate; leave `rate` out")
        reporter = Outcomes(lambda outcome: None, lambda text: warnings.warn(text, stacklevel=4))
        return encoder.open_recording(Job(Path(audio), None), stack, reporter)
    if rate is None:
        raise ValueError("samples do not say their rate: compress(samples, rate)")
    samples = as_samples(audio)
    samples = samples[None] if samples.ndim == 1 else samples
    if samples.ndim != 2 or not 1 <= len(samples) <= _MAX_CHANNELS:
        raise ValueError(
            f"samples must have the shape (n,) or (channels, n), not {samples.shape}; "
            "soundfile's are (n, channels): give samples.T"
        )
    source = AudioInput(
        name="samples",
        rate=rate,
        channels=len(samples),
        frames=samples.shape[1],
        blocks=iter([samples]),
    )
    geometry, codec = geometry_of(encoder.codec), encoder.codec
    downmix = encoder.config.downmix
    equal = samples.size > 0 and may_be_equal(len(samples)) and are_equal(samples)
    return recording_of_audio(source, codec.fingerprint, geometry, stack, downmix, equal)


def _container(encoder: AudioEncoder, recording: Recording) -> bytes:
    """A recording as a container, which was read back and compared."""
    out = io.BytesIO()
    compressor = Compressor(recording, out, encoder.coder, encoder.prior)
    for piece in encoder.codec.encode_streams(recording.sources, _width(recording)):
        if piece.error is not None:
            raise piece.error
        compressor.take(piece.index, piece.data)
    if (fault := recording.fault()) is not None:
        raise CliError(f"{fault}; {compressor.seconds:.2f} s could be read")
    compressor.finish()
    data = out.getvalue()
    verify_container(bcdc.read(data), compressor.digest, compressor.samples, encoder.prior)
    return data


def _width(recording: Recording) -> int:
    channels = recording.header.channels
    return channels if recording.pace is Pace.LOCKSTEP else min(channels, _AT_ONCE)


def _opened(container: Bytes | str | Path) -> tuple[bcdc.Container, str]:
    """A container and its name."""
    if isinstance(container, str | Path):
        return open_container(Path(container)), str(container)
    with _naming("the container"):
        return bcdc.read(bytes(container)), "the container"


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """What is wrong with a container or a record, with its name."""
    try:
        yield
    except bcdc.BcdcError as error:
        raise CliError(f"{name}: {error}") from error
    except CliError as error:
        raise error if str(error).startswith(name) else CliError(f"{name}: {error}") from error


def _span(container: bcdc.Container, start: float, duration: float | None) -> tuple[int, int]:
    """The samples that are asked for: nearest to the times given."""
    rate, total = container.header.sample_rate, container.num_samples
    if not 0 <= start <= container.seconds or not (duration is None or 0 <= duration):
        raise ValueError(f"start and duration must lie within 0 and {container.seconds:.3f} s")
    last = total if duration is None else min(total, round((start + duration) * rate))
    return min(round(start * rate), last), last


def _refuse_long(
    container: bcdc.Container, name: str, samples: int, frames: int | None = None
) -> None:
    """Refuse to make so many samples a channel, or `frames` of tokens, of few bytes."""
    header, size = container.header, container.size
    frames = min(container.frames, header.frames_of(samples)) if frames is None else frames
    reason = too_much_audio(header, samples, size) or too_many_tokens(header, frames, size)
    if reason is not None:
        raise CliError(f"{name}: {reason}; if that is right, use allow_long=True")


def _codec_of(
    container: bcdc.Container,
    name: str,
    model: str | Path | models.Codec | None,
    device: str | torch.device,
    precision: str,
) -> models.Codec:
    """The codec that made a container."""
    cache = CodecCache(None, str(pick_device(device)), precision)
    entry = find_by_fingerprint(container.header.fingerprint) if model is None else None
    if isinstance(model, models.Codec):
        cache.add(model)
    elif entry is not None or model is not None:
        cache.add(_loaded(model if entry is None else entry.name, device, precision))
    return cache.codec_for(Path(name), container)


def _loaded(
    model: str | Path | None,
    device: str | torch.device,
    precision: str = "float32",
    f0: str | None = None,
) -> Codec:
    """A codec by name or file; the last two are kept, for calls that follow."""
    name = default_model() if model is None else model
    path = name if isinstance(name, Path) else model_path(name)
    status = path.stat() if path.exists() else None
    stamp = (path.resolve(), status and (status.st_mtime_ns, status.st_size))
    return _load_once(name, stamp, str(pick_device(device)), precision, f0)


@functools.lru_cache(maxsize=2)
def _load_once(
    name: str | Path, stamp: object, device: str, precision: str, f0: str | None
) -> Codec:
    return Codec.load(name, device, precision, f0)
