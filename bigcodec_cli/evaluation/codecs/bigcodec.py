"""BigCodec models: files go the way of `compress` and `decompress`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from bigcodec_cli.coding.audio_decoder import AudioDecoder
from bigcodec_cli.coding.audio_encoder import AudioEncoder
from bigcodec_cli.coding.compress_files import compress_files
from bigcodec_cli.coding.config import CompressConfig, DecompressConfig
from bigcodec_cli.coding.decompress_files import decompress_files
from bigcodec_cli.evaluation.codecs.base import CodecInfo, Coded, CodingError
from bigcodec_cli.evaluation.config import model_name
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.containers import open_container
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Outcome, Outcomes
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_cli.model_store.loading import CodecCache
from bigcodec_cli.model_store.priors import prior_of_container
from bigcodec_cli.model_store.store import find_model
from bigcodec_models.arrays import AnyTokens, Wave
from bigcodec_models.codec import Codec
from bigcodec_models.config import SAMPLE_RATE


class Model:
    """A model by name or path, with an F0 mode, by default its first. `names_f0` puts the mode into
    the name, where a model is compared in several.

    Raises:
        CliError: there is none, or it cannot be used.
    """

    def __init__(
        self,
        name_or_path: str,
        device: str,
        f0: str | None = None,
        engine: str = "auto",
        names_f0: bool = False,
    ) -> None:
        config = CompressConfig(model=name_or_path, device=device, f0=f0, engine=engine)
        self._encoder = AudioEncoder.load(config)
        codec, codecs = self._encoder.codec, CodecCache(None, device)
        name = model_name(name_or_path)
        codecs.add(codec)
        self._decoder = AudioDecoder(config=DecompressConfig(device=device), codecs=codecs)
        self.info = CodecInfo(
            name=f"{name} F0 {codec.f0}" if names_f0 else name,
            is_bigcodec=True,
            description=_description(name_or_path, codec),
            fingerprint=codec.fingerprint.hex(),
            token_rate=geometry_of(codec).codebooks * SAMPLE_RATE / codec.hop,
        )
        # The first pass through a network takes longer, and would be counted as its speed.
        with tempfile.TemporaryDirectory() as folder:
            self.code(np.zeros(SAMPLE_RATE, np.float32), Path(folder))

    def code(self, wave: Wave, folder: Path) -> Coded:
        """See `CodecUnderTest`."""
        original, coded, restored = (folder / n for n in ("in.wav", "speech.bcdc", "out.wav"))
        soundfile.write(original, wave, SAMPLE_RATE, subtype="FLOAT")
        encode_seconds = _timed(
            lambda reporter: compress_files(
                [Job(original, coded)], self._encoder, OutputOptions(), reporter
            )
        )
        decode_seconds = _timed(
            lambda reporter: decompress_files(
                [Job(coded, restored)], self._decoder, OutputOptions(), reporter
            )
        )
        samples, _ = soundfile.read(restored, dtype="float32")
        return Coded(
            restored=samples,
            size=coded.stat().st_size,
            encode_seconds=encode_seconds,
            decode_seconds=decode_seconds,
            tokens=_tokens(coded),
        )


def _timed(work: Callable[[Outcomes], None]) -> float:
    """The seconds that work on a file takes.

    Raises:
        CodingError: it failed.
    """
    outcomes: list[Outcome] = []
    start = time.perf_counter()
    work(Outcomes(outcomes.append))
    seconds = time.perf_counter() - start
    for outcome in outcomes:
        if outcome.error is not None:
            raise CodingError(outcome.error)
    return seconds


def _tokens(path: Path) -> AnyTokens:
    """Tokens (T, K) of a container with one channel."""
    container = open_container(path)
    tokens: AnyTokens = container.tokens(prior=prior_of_container(container))[0]
    return tokens


def _description(name_or_path: str, codec: Codec) -> str:
    """What a model is, and the F0 mode where it knows several."""
    entry = find_model(name_or_path)
    summary = entry.summary if entry else f"{name_or_path} ({codec.info.name})"
    return f"{summary}; F0 {codec.f0}" if len(codec.config.f0_modes) > 1 else summary
