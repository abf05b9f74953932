"""Word error rate, with a speech recognizer that the user has on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bigcodec_cli.evaluation.packages import MissingError, load_package, using_torch
from bigcodec_models.arrays import Wave
from bigcodec_models.config import SAMPLE_RATE

_EXTRA = "wer"
_CHUNK_SECONDS = 30

Recognizer = Callable[[Wave], str]


class WordErrors:
    """How many words a recognizer hears otherwise in the restored wave than in the original.

    `folder` holds a model of transformers (Whisper, or one with a CTC head such as wav2vec 2.0),
    or a Whisper of faster-whisper, which has a file `model.bin`. Nothing is fetched.

    Raises:
        MissingError: a package is not installed, or the folder holds no such model.
    """

    def __init__(self, folder: Path | None) -> None:
        if folder is None:
            raise MissingError("it needs --asr DIR, the folder of a speech recognizer")
        jiwer = load_package("jiwer", _EXTRA)
        self._words = jiwer.Compose(
            [
                jiwer.ToLowerCase(),
                jiwer.RemovePunctuation(),
                jiwer.RemoveMultipleSpaces(),
                jiwer.Strip(),
                jiwer.ReduceToListOfListOfWords(),
            ]
        )
        self._compare = jiwer.wer
        is_faster = (folder / "model.bin").is_file()
        self._recognize = _faster_whisper(folder) if is_faster else _transformers(folder)
        self._heard = ("", "")

    def __call__(self, original: Wave, restored: Wave) -> float:
        """Substituted, missing and added words, in percent of those of the original; waves (n,)."""
        reference = self._reference(original)
        if not any(self._words([reference])):
            raise ValueError("the recognizer hears no words in the original")
        text = self._recognize(restored)
        words = {"reference_transform": self._words, "hypothesis_transform": self._words}
        return 100 * float(self._compare(reference, text, **words))

    def _reference(self, wave: Wave) -> str:
        """What is heard in an original, which is the same for all codecs."""
        name = hashlib.sha256(wave.tobytes()).hexdigest()
        if self._heard[0] != name:
            self._heard = (name, self._recognize(wave))
        return self._heard[1]


def _transformers(folder: Path) -> Recognizer:
    with using_torch():
        import torch  # noqa: F401  transformers says less clearly that it is missing
    transformers = load_package("transformers", _EXTRA)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        pipeline: Any = transformers.pipeline(
            "automatic-speech-recognition",
            model=str(folder),
            chunk_length_s=_CHUNK_SECONDS,
            local_files_only=True,
        )
    except Exception as error:  # transformers may raise anything at what it does not know
        raise MissingError(_unusable(folder, "transformers", error)) from error

    def recognize(wave: Wave) -> str:
        return str(pipeline({"raw": wave, "sampling_rate": SAMPLE_RATE})["text"])

    return recognize


def _faster_whisper(folder: Path) -> Recognizer:
    package = load_package("faster_whisper", _EXTRA)
    try:
        # Many are stored in float16, which a CPU lacks; CTranslate2 would warn of it.
        model: Any = package.WhisperModel(
            str(folder), compute_type="float32", local_files_only=True
        )
    except Exception as error:  # as above
        raise MissingError(_unusable(folder, "faster-whisper", error)) from error

    def recognize(wave: Wave) -> str:
        segments, _ = model.transcribe(wave, temperature=0.0, condition_on_previous_text=False)
        return " ".join(segment.text for segment in segments)

    return recognize


def _unusable(folder: Path, package: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{folder}: no speech recognizer that {package} can load: {reason}"
