"""Codec models ready to restore audio from containers."""

from __future__ import annotations

import dataclasses

from bigcodec_cli.coding.config import DecompressConfig
from bigcodec_cli.coding.decompress_job import DecompressJob
from bigcodec_cli.coding.scheduler import Stream
from bigcodec_cli.files.batch import OutputOptions
from bigcodec_cli.files.inputs import Job
from bigcodec_cli.files.reporting import Reporter
from bigcodec_cli.model_store.loading import CodecCache
from bigcodec_models.codec import Codec


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioDecoder:
    """Models ready to decompress, each loaded when a container first needs it."""

    config: DecompressConfig
    codecs: CodecCache

    @classmethod
    def load(cls, config: DecompressConfig) -> AudioDecoder:
        """Load the model of the configuration, if it names one.

        Raises:
            CliError: it is not at hand, or cannot be used.
        """
        codecs = CodecCache(config.model, config.device, config.precision, config.engine)
        return cls(config=config, codecs=codecs)

    @property
    def stream(self) -> Stream:
        """What runs tokens through the model."""
        return Codec.decode_streams

    @property
    def width(self) -> int:
        """How many channels go through it side by side."""
        return self.config.batch_size

    def open_job(self, job: Job, outputs: OutputOptions, reporter: Reporter) -> DecompressJob:
        """A task for one container; see `DecompressJob`."""
        return DecompressJob(job, self.config, self.codecs, outputs, reporter)
