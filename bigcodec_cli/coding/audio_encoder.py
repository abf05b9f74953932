"""A codec model ready to make containers of audio."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from pathlib import Path

import bcdc
from bigcodec_cli.audio.channels import are_equal
from bigcodec_cli.audio.reader import AudioInput, open_audio
from bigcodec_cli.coding.compress_job import CompressJob
from bigcodec_cli.coding.config import SHORT_AT_ONCE, CompressConfig
from bigcodec_cli.coding.recording import Recording, may_be_equal, recording_of_audio
from bigcodec_cli.coding.scheduler import Stream
from bigcodec_cli.console.messages import CliError
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Reporter
from bigcodec_cli.model_store.headers import geometry_of
from bigcodec_cli.model_store.loading import load_codec
from bigcodec_cli.model_store.priors import prior_for_model
from bigcodec_cli.model_store.store import find_model
from bigcodec_models.codec import Codec

_MAX_TAG_BYTES = 1 << 15


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioEncoder:
    """A model ready to compress: `coder` None is prior if there is one, else adaptive. `name` is
    the model's in the store, or that of its file."""

    config: CompressConfig
    codec: Codec
    prior: bcdc.Prior | None
    coder: bcdc.Coder | None
    name: str
    description: str

    @classmethod
    def load(cls, config: CompressConfig) -> AudioEncoder:
        """Load model and prior.

        Raises:
            CliError: one of them is not at hand, or cannot be used.
        """
        codec, description = load_codec(
            config.model, config.device, f0=config.f0, engine=config.engine
        )
        return cls.of(codec, config, description)

    @classmethod
    def of(cls, codec: Codec, config: CompressConfig, description: str = "") -> AudioEncoder:
        """An encoder of a model that is loaded already.

        Raises:
            CliError: the coder of the configuration needs a prior, and there is none.
        """
        prior = prior_for_model(codec.fingerprint, geometry_of(codec))
        coder = _coder(config.coder, prior, codec)
        entry = find_model(config.model)
        return cls(
            config=config,
            codec=codec,
            prior=prior,
            coder=coder,
            name=entry.name if entry is not None else Path(config.model).name,
            description=description,
        )

    @property
    def stream(self) -> Stream:
        """What runs recordings through the model."""
        return Codec.encode_streams

    @property
    def width(self) -> int:
        """How many channels go through it side by side."""
        return self.config.batch_size or 1

    @property
    def short_width(self) -> int:
        """The same for short recordings."""
        return self.config.batch_size or (SHORT_AT_ONCE if self.codec.side_by_side else 1)

    def open_job(self, job: Job, outputs: OutputOptions, reporter: Reporter) -> CompressJob:
        """A task for one audio file; see `CompressJob`."""
        return CompressJob(
            job,
            outputs,
            reporter,
            self.open_recording,
            codec=self.codec,
            model=self.name,
            coder=self.coder,
            find_prior=lambda header: self.prior,
            verify=self.config.verify,
        )

    def open_recording(
        self, job: Job, stack: contextlib.ExitStack, reporter: Reporter
    ) -> Recording:
        """Open a job's audio file; what there is to close goes into the stack.

        Raises:
            CliError: it cannot be read.
            ValueError: a container cannot hold it.
        """
        audio = stack.enter_context(open_audio(job.source, self.config.raw))
        kept = tuple((n, t) for n, t in audio.tags if len(os.fsencode(t)) <= _MAX_TAG_BYTES // 9)
        if len(kept) < len(audio.tags):
            reporter.remark(f"{audio.name}: a tag is too long for a container and left out")
        if audio.remark is not None:
            reporter.remark(f"{audio.name}: {audio.remark}")
        audio = dataclasses.replace(audio, tags=kept)
        downmix = self.config.downmix
        audio, equal = (audio, False) if downmix else self._compare_channels(audio, job)
        geometry, fingerprint = geometry_of(self.codec), self.codec.fingerprint
        return recording_of_audio(audio, fingerprint, geometry, stack, downmix, equal)

    def _compare_channels(self, audio: AudioInput, job: Job) -> tuple[AudioInput, bool]:
        """Whether all channels are equal, where that can be known before they are coded: the file
        is then read once more. And the input, to be read from its beginning."""
        path = job.source
        if path is None or not path.is_file() or not may_be_equal(audio.channels):
            return audio, False
        first = next(audio.blocks, None)
        if first is None:
            return audio, False
        rest = dataclasses.replace(audio, blocks=itertools.chain([first], audio.blocks))
        if not are_equal(first):
            return rest, False
        with open_audio(path, self.config.raw) as again:
            return rest, all(map(are_equal, again.blocks))


def _coder(name: str, prior: bcdc.Prior | None, codec: Codec) -> bcdc.Coder | None:
    """The coder of --coder, or None for auto.

    Raises:
        CliError: it needs a prior.
    """
    if name == "auto":
        return None
    coder = bcdc.Coder[name.upper()]
    if coder not in bcdc.usable_coders(prior):
        mode = f" with --f0 {codec.f0}" if len(codec.config.f0_modes) > 1 else ""
        raise CliError(
            f"--coder {name}: there is no prior for this model{mode}; "
            "'bigcodec train-prior' makes one, --coder adaptive needs none"
        )
    return coder
