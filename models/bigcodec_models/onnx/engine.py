"""The engine that runs a model in ONNX Runtime and numpy, on a CPU. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bigcodec_models.arrays import Tokens
from bigcodec_models.config import LiteConfig
from bigcodec_models.inference.chunking import Pipeline, chunks_by_stage
from bigcodec_models.inference.receptive_field import receptive_fields
from bigcodec_models.layers.recurrence import Recurrence, SequenceState
from bigcodec_models.layers.state_reset import StreamState, excitation_phases
from bigcodec_models.onnx.f0_tracker import track_f0
from bigcodec_models.onnx.graph_set import GraphSet
from bigcodec_models.onnx.sessions import Sessions, return_free_memory
from bigcodec_models.onnx.transforms import (
    excitation_spectra,
    log_spectra,
    overlap_add,
    phase_increments,
    phases,
)

Floats = npt.NDArray[Any]
"""Of float32."""
_SCORES_AT_ONCE = 1 << 20
"""Scores of codes for latents that are in memory at the same time."""


class OnnxEngine:
    """A model in ONNX Runtime; see `Engine`. `f0` is the F0 mode for encoding."""

    name, device = "onnx", "cpu"
    side_by_side = False

    def __init__(self, graphs: GraphSet, f0: str | None, threads: int | None = None) -> None:
        self.config = graphs.config
        # Of the published family the convolutions round by the number of threads.
        fixed = None if isinstance(self.config, LiteConfig) else 1
        self._sessions = Sessions(graphs, fixed or threads)
        self._f0_coded = f0 == "coded"
        self._rows = max(1, _SCORES_AT_ONCE // self.config.quantizer.codebook_size)
        self.encoder, self.decoder = self._encoder(), self._decoder()

    def from_numpy(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """As in `Engine`."""
        return array

    def to_numpy(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """As in `Engine`."""
        return array

    def quantize(self, latents: npt.NDArray[Any]) -> Tokens:
        """As in `Engine`."""
        dim, frames = self.config.latent_dim, latents.shape[2]
        codes = [
            self._sessions.run("quantizer", latents[:, :dim, start : start + self._rows])[0]
            for start in range(0, frames, self._rows)
        ]
        f0 = latents[:, dim:].astype(np.int64).transpose(0, 2, 1)
        tokens: Tokens = np.concatenate([np.concatenate(codes, axis=1), f0], axis=2)[0]
        return tokens

    def _encoder(self) -> Pipeline:
        fields, chunks = receptive_fields(self.config), chunks_by_stage(self.config)
        return Pipeline(
            pre_recurrence=self._encoder_pre,
            lstm=self._sequence("encoder_sequence"),
            post_recurrence=self._encoder_post,
            receptive_fields=(fields.encoder_pre, fields.encoder_post),
            unit_in=self.config.hop,
            unit_out=1,
            has_f0=self._f0_coded,
            chunks_a_window=(chunks["encoder_pre"], chunks["encoder_post"]),
            chunks_before=self._chunks_before("encoder_sequence"),
        )

    def _decoder(self) -> Pipeline:
        config, fields = self.config, receptive_fields(self.config)
        chunks = chunks_by_stage(config)
        reset_every = config.reset_every if isinstance(config, LiteConfig) else 0

        def bypass(state: StreamState, increments: Floats) -> Floats:
            now = increments[:, 0].astype(np.int64)
            result: Floats = excitation_phases(state, now, reset_every, phases)
            return result

        return Pipeline(
            pre_recurrence=self._decoder_pre,
            lstm=self._sequence("decoder_sequence"),
            post_recurrence=self._decoder_post,
            receptive_fields=(fields.decoder_pre, fields.decoder_post),
            unit_in=1,
            unit_out=config.hop,
            reset_every=reset_every,
            has_f0=isinstance(config, LiteConfig) and config.harmonics,
            chunks_a_window=(chunks["decoder_pre"], chunks["decoder_post"]),
            chunks_before=self._chunks_before("decoder_sequence"),
            bypass=bypass,
        )

    def _encoder_pre(self, wave: Floats) -> Floats:
        config = self.config
        features = log_spectra(wave[0, 0], config) if isinstance(config, LiteConfig) else wave
        (hidden,) = self._sessions.run("encoder_pre", features)
        if not self._f0_coded:
            return hidden
        f0 = track_f0(wave[0, 0], config.hop).astype(np.float32)
        return np.concatenate([hidden, f0[None, None]], axis=1)

    def _encoder_post(self, hidden: Floats) -> Floats:
        width = hidden.shape[1] - self._f0_coded
        (latents,) = self._sessions.run("encoder_post", hidden[:, :width])
        return np.concatenate([latents, hidden[:, width:]], axis=1) if self._f0_coded else latents

    def _decoder_pre(self, tokens: Tokens) -> Floats:
        # Not after each of the shorter windows that follow: pages that are new cost time.
        return_free_memory()
        columns, codebooks = tokens.transpose(0, 2, 1), self.config.quantizer.num_codebooks
        if columns.shape[2] > codebooks:
            f0 = columns[:, :, codebooks]
            (hidden,) = self._sessions.run("decoder_pre_f0", columns[:, :, :codebooks], f0)
        elif not self.decoder.has_f0:
            return self._sessions.run("decoder_pre", columns)[0]
        else:
            hidden, f0 = self._sessions.run("decoder_pre", columns)
        increments = phase_increments(f0[0], self.config.hop).astype(np.float32)
        return np.concatenate([hidden, increments[None, None]], axis=1)

    def _decoder_post(self, hidden: Floats) -> Floats:
        config = self.config
        if not isinstance(config, LiteConfig):
            return self._sessions.run("decoder_post", hidden)[0]
        width = config.decoder_width
        spectra, *filters = (
            part[0].view(np.complex64)[..., 0]
            for part in self._sessions.run("decoder_post", hidden[:, :width])
        )
        if config.harmonics:
            # Not in place: numpy rounds products of complex numbers in another way there.
            spectra = spectra + filters[0] * excitation_spectra(hidden[0, width:], config)
        return overlap_add(spectra, config)[None, None]

    def _sequence(self, name: str) -> Recurrence | None:
        return _Sequence(name, self._sessions, self._empty_state(name)) if self._has(name) else None

    def _has(self, name: str) -> bool:
        return name in self._sessions

    def _empty_state(self, name: str) -> SequenceState:
        """That of a stream at its start: zeros (layers, 1, width), or no keys and values."""
        config = self.config
        width = config.decoder_width
        if name == "encoder_sequence":
            if isinstance(config, LiteConfig):
                width = config.encoder_width
            else:
                width = config.encoder_channels[-1]
        frames = () if config.sequence == "lstm" else (0,)
        empty = np.zeros((config.lstm_layers, 1, *frames, width), np.float32)
        return empty, empty

    def _chunks_before(self, name: str) -> Callable[[int], int] | None:
        """As in `WindowedAttention.chunks_before`; None for other sequence layers."""
        config = self.config
        if not self._has(name) or config.sequence == "lstm":
            return None
        return lambda chunk: config.lstm_layers * -(-(config.attention_window - 1) // chunk)


class _Sequence:
    """A sequence layer whose state is an input and an output of its graph."""

    def __init__(self, name: str, sessions: Sessions, empty: SequenceState) -> None:
        self._name, self._sessions, self._empty = name, sessions, empty

    def step_many(
        self, pieces: Sequence[Floats], states: Sequence[SequenceState | None]
    ) -> list[tuple[Floats, SequenceState]]:
        """As in `Recurrence`; streams run one after another."""
        results: list[tuple[Floats, SequenceState]] = []
        for piece, state in zip(pieces, states, strict=True):
            output, *after = self._sessions.run(self._name, piece, *(state or self._empty))
            results.append((output, (after[0], after[1])))
        return results
