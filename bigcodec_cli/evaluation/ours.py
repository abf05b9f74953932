"""Our models, as `compress` and `decompress` use them: through a container file."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import bcdc
from bigcodec_cli.evaluation.names import model_name
from bigcodec_cli.evaluation.systems import Coded, CodingError, SystemInfo
from bigcodec_cli.evaluation.token_statistics import Tokens
from bigcodec_cli.evaluation.waves import RATE, Wave, as_stored
from bigcodec_cli.loading import load_codec
from bigcodec_cli.pipeline import geometry_of
from bigcodec_cli.priors import prior_for_model, prior_of_container
from bigcodec_cli.store import find_model


class Model:
    """A model by name or path.

    Raises:
        CliError: there is none, or it cannot be used.
    """

    def __init__(self, name_or_path: str, device: str) -> None:
        self._codec, _ = load_codec(name_or_path, device)
        self._geometry = geometry_of(self._codec)
        entry = find_model(name_or_path)
        self._prior = prior_for_model(self._codec.fingerprint)
        self.info = SystemInfo(
            name=model_name(name_or_path),
            ours=True,
            description=entry.summary if entry else f"{name_or_path} ({self._codec.info.name})",
            fingerprint=self._codec.fingerprint.hex(),
            token_rate=self._geometry.codebooks * RATE / self._codec.hop,
        )
        # The first pass through a network takes longer, and would be counted as its speed.
        self._codec.decode(self._codec.encode(np.zeros(RATE, np.float32)))

    def code(self, wave: Wave, folder: Path) -> Coded:
        """See `System`."""
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
            sample_rate=RATE,
            channels=1,
            geometry=self._geometry,
        )
        with (
            path.open("wb") as file,
            bcdc.Writer(file, header, self._prior, auto=True) as writer,
        ):
            writer.write(tokens.reshape(1, len(tokens), -1).astype(np.int32))
            writer.finish(samples)

    def _read(self, path: Path) -> Tokens:
        """Tokens (T, K) of a container."""
        container = bcdc.read(path.read_bytes())
        tokens: Tokens = container.tokens(prior=prior_of_container(container))[0]
        return tokens
