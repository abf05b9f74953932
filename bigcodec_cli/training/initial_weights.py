"""What `train --init` names: weights to begin with, and the discriminators that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from bigcodec_cli.console.messages import CliError
from bigcodec_cli.model_store.store import model_path, read_stored
from bigcodec_models.checkpoints.discriminator_file import discriminator_file, load_discriminators
from bigcodec_models.checkpoints.model_file import check_shapes
from bigcodec_models.checkpoints.published import load_upstream_discriminators
from bigcodec_models.errors import ConfigError
from bigcodec_models.registry import builtin_models
from bigcodec_models.training.checkpoint import load_checkpoint
from bigcodec_models.training.layout import is_portable
from bigcodec_models.training.portable import load_portable
from bigcodec_models.training.trainer import Trainer

Say = Callable[[str], None]


def start_from(init: str, trainer: Trainer, say: Say) -> None:
    """Begin with the weights of a portable checkpoint, a run, or a model by name or file.

    Raises:
        CliError: the weights do not fit the model of the run.
        ModelFileError: a file is damaged.
    """
    folder = Path(init)
    if is_portable(folder):
        _start_from_portable(init, trainer, say)
        return
    checkpoint = None
    if folder.is_dir():
        checkpoint = load_checkpoint(
            folder, lambda error: say(f"{error}; the checkpoint before it is used")
        )
    if checkpoint is not None:
        weights, discriminators, name = checkpoint.ema, checkpoint.discriminators, folder.name
    else:
        path, model = model_path(init), read_stored(init)
        weights, discriminators = model.tensors, _discriminators_of(path)
        name = model.info.name or path.name
    _check_weights(trainer, init, weights)
    usable = _usable_discriminators(trainer, discriminators, say)
    trainer.start_from(weights, discriminators=usable, facts={"init": name})


def _discriminators_of(model: Path) -> Mapping[str, Tensor]:
    """The discriminators in a checkpoint, or in the file beside a model file; else none.

    Those of the models that ship are in the folder `training` of a checkout, as nobody who only
    codes needs them.
    """
    beside = discriminator_file(model)
    places = [beside]
    if any(model == shipped.path for shipped in builtin_models()):
        places.append(model.parents[3] / "training" / beside.name)
    for place in places:
        if place.exists():
            return load_discriminators(place)
    return load_upstream_discriminators(model)


def _start_from_portable(init: str, trainer: Trainer, say: Say) -> None:
    checkpoint = load_portable(Path(init))
    resumes = int(checkpoint.facts.get("inexact_resumes", 0)) + 1
    say("resuming from a portable checkpoint is not exact: the optimizer starts anew")
    _check_weights(trainer, init, checkpoint.weights)
    # The clips may be others here, and the best weights are not in a portable checkpoint.
    facts = {**checkpoint.facts, "inexact_resumes": resumes, "best_mel": None}
    trainer.start_from(
        checkpoint.weights, checkpoint.ema, checkpoint.discriminators, checkpoint.step, facts
    )


def _usable_discriminators(
    trainer: Trainer, tensors: Mapping[str, Tensor], say: Say
) -> Mapping[str, Tensor]:
    """Discriminators that come with the weights, if they are those of this run; else none."""
    expected = trainer.codec_loss.discriminators.state_dict()
    if tensors and _shapes(tensors) == _shapes(expected):
        return tensors
    if tensors and expected:
        say("its discriminators are not those of this run: new ones begin")
    return {}


def _check_weights(trainer: Trainer, init: str, weights: Mapping[str, Tensor]) -> None:
    try:
        check_shapes(_shapes(weights), trainer.network.config)
    except ConfigError as error:
        raise CliError(f"--init {init}: does not fit this preset: {error}") from error


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
