"""The files of a folder that are evaluated, their groups, and which of them get a player."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from bigcodec_cli.console.messages import CliError
from bigcodec_cli.evaluation.run import EvalClip, Unread
from bigcodec_models.data.index import Clip, scan
from bigcodec_models.errors import DataError


def find_clips(folder: Path, by: str) -> tuple[list[EvalClip], list[Unread]]:
    """The audio files below a folder, and those that cannot be read.

    `by` "folder" groups them by the subfolders of the folder, "prefix" by their names up to the
    first "-" or "_".

    Raises:
        CliError: it is not a folder, or holds no readable audio.
    """
    unread: list[Unread] = []

    def skipped(path: Path, reason: str) -> None:
        unread.append(Unread(file=path.relative_to(folder).as_posix(), reason=reason))

    try:
        files = scan(folder, skipped=skipped)
    except DataError as error:
        raise CliError(str(error)) from error
    clips = [EvalClip(path=c.path, name=c.name, group=_group(c, by)) for c in files]
    return clips, unread


def choose_players(clips: Sequence[EvalClip], count: int) -> list[EvalClip]:
    """The clips, up to `count` of them with a player: in turn from each group, and evenly spread
    over it."""
    groups = collections.defaultdict[str, list[EvalClip]](list)
    for clip in clips:
        groups[clip.group].append(clip)
    counts = dict.fromkeys(groups, 0)
    total = min(count, len(clips))
    while sum(counts.values()) < total:
        for group, members in groups.items():
            if counts[group] < len(members) and sum(counts.values()) < total:
                counts[group] += 1
    chosen = {
        members[(2 * k + 1) * len(members) // (2 * counts[group])].name
        for group, members in groups.items()
        for k in range(counts[group])
    }
    return [dataclasses.replace(clip, has_player=clip.name in chosen) for clip in clips]


def _group(clip: Clip, by: str) -> str:
    if by == "prefix":
        return re.split(r"[-_]", clip.path.stem, maxsplit=1)[0]
    return clip.folders[0] if clip.folders else ""
