"""Models of transformers whose weights are already on this machine; nothing is fetched."""

from __future__ import annotations

from typing import Any

from bigcodec_cli.evaluation.packages import MissingError, load_package

EXTRA = "baselines"
"""The extra that brings transformers."""


def load_local(repository: str, model: str) -> Any:
    """A model of transformers, ready to use, from the Hugging Face cache.

    Raises:
        MissingError: transformers or the weights are not on this machine.
    """
    network = _load(repository, model).eval()
    return network.requires_grad_(False)


def load_local_processor(repository: str, processor: str) -> Any:
    """The processor that prepares the input of a model, from the Hugging Face cache.

    Raises:
        MissingError: transformers or its files are not on this machine.
    """
    return _load(repository, processor)


def _load(repository: str, kind: str) -> Any:
    transformers = load_package("transformers", EXTRA)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return getattr(transformers, kind).from_pretrained(repository, local_files_only=True)
    except (OSError, ValueError) as error:
        raise MissingError(
            f"the weights of {repository} are not on this machine (hf download {repository})"
        ) from error
