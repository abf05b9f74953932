"""What a shell is offered for the values of options: names of models, presets and recipes.

Where nothing that is known begins like the word, files are offered.
"""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from bigcodec_cli.console.messages import CliError


def complete_models(_: click.Context, __: click.Parameter, word: str) -> list[CompletionItem]:
    """Models of the store, and short names."""
    from bigcodec_cli.model_store.store import all_models
    from bigcodec_models.registry import ALIASES

    try:
        return _offer([*ALIASES, *(model.name for model in all_models())], word)
    except CliError:  # the store cannot be read; a command would say so
        return _offer([], word)


def complete_published(_: click.Context, __: click.Parameter, word: str) -> list[CompletionItem]:
    """Models that can be pulled."""
    from bigcodec_cli.model_store.hub import PUBLISHED

    return _offer(PUBLISHED, word)


def complete_presets(_: click.Context, __: click.Parameter, word: str) -> list[CompletionItem]:
    """Presets to train."""
    from bigcodec_cli.training.plan import preset_names

    return _offer(preset_names(), word)


def complete_recipes(_: click.Context, __: click.Parameter, word: str) -> list[CompletionItem]:
    """Recipes of the package."""
    from bigcodec_cli.training.plan import recipe_names

    return _offer(recipe_names(), word)


def _offer(names: Iterable[str], word: str) -> list[CompletionItem]:
    known = [CompletionItem(name) for name in names if name.startswith(word)]
    return known or [CompletionItem(word, type="file")]
