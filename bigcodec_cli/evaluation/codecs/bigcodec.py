"""Our models, as `compress` and `decompress` use them: through a container file."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import bcdc
from bigcodec_cli.evaluation.codecs.base import CodecInfo, Coded, CodingError
from bigcodec_cli.evaluation.config import model_name
from bigcodec_cli.evaluation.metrics.waveform import as_stored
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_cli.model_store.loading import load_codec
from bigcodec_cli.model_store.priors import prior_for_model, prior_of_container
from bigcodec_cli.model_store.store import find_model
from bigcodec_models.arrays import Tokens, Wave
from bigcodec_models.codec import Codec
from bigcodec_models.config import SAMPLE_RATE


class Model:
    """A model by name or path, in an F0 mode of its, by default its first.

    Raises:
        CliError: there is none, or it cannot be used.
    """

    def __init__(self, name_or_path: str, device: str, f0: str | None = None) -> None:
        self._codec, _ = load_codec(name_or_path, device, f0=f0)
        self._geometry = geometry_of(self._codec)
        self._prior = prior_for_model(self._codec.fingerprint, self._geometry)
        self.info = CodecInfo(
            name=model_name(name_or_path),
            is_bigcodec=True,
            description=_description(name_or_path, self._codec),
            fingerprint=self._codec.fingerprint.hex(),
            token_rate=self._geometry.codebooks * SAMPLE_RATE / self._codec.hop,
        )
        # The first pass through a network takes longer, and would be counted as its speed.
        self._codec.decode(self._codec.encode(np.zeros(SAMPLE_RATE, np.float32)))

    def code(self, wave: Wave, folder: Path) -> Coded:
        """See `CodecUnderTest`."""
        path = folder / "speech.bcdc"
        start = time.perf_counter()
        tokens = self._codec.encode(wave)
        encoded = time.perf_counter()
        self._write(path, tokens, len(wave))
        stored = self._read(path)
        read = time.perf_counter()
        restored = self._codec.decode(stored, len(wave))
        decoded = time.perf_counter()
        if not np.isfinite(restored).all():
            raise CodingError("the decoder gave samples that are not finite")
        return Coded(
            restored=as_stored(restored),
            size=path.stat().st_size,
            encode_seconds=encoded - start,
            decode_seconds=decoded - read,
            tokens=stored,
        )

    def _write(self, path: Path, tokens: Tokens, samples: int) -> None:
        header = bcdc.Header(
            fingerprint=self._codec.fingerprint[:6],
            sample_rate=SAMPLE_RATE,
            channels=1,
            geometry=self._geometry,
        )
        with (
            path.open("wb") as file,
            bcdc.Writer(file, bcdc.header_for(header, None, self._prior), self._prior) as writer,
        ):
            writer.write(tokens.reshape(1, len(tokens), -1).astype(np.int32))
            writer.finish(samples)

    def _read(self, path: Path) -> Tokens:
        """Tokens (T, K) of a container."""
        container = bcdc.read(path.read_bytes())
        tokens: Tokens = container.tokens(prior=prior_of_container(container))[0]
        return tokens


def _description(name_or_path: str, codec: Codec) -> str:
    """What a model is, and its F0 mode where it knows several."""
    entry = find_model(name_or_path)
    words = entry.summary if entry else f"{name_or_path} ({codec.info.name})"
    return f"{words}; F0 {codec.f0}" if len(codec.config.f0_modes) > 1 else words
