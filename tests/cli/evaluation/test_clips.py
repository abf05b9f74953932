"""Which files are evaluated, in which groups, and which get a player."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from bigcodec_cli.console.messages import CliError
from bigcodec_cli.evaluation.clips import choose_players, find_clips
from bigcodec_cli.evaluation.run import EvalClip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/one.wav", "b/deep/two.wav", "a/corpus-clean_1.wav", "corpus_2.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros(100), 16000)
    (tmp_path / "a" / "broken.wav").write_bytes(b"no audio")
    (tmp_path / "notes.txt").write_text("not audio, and not meant to be")
    return tmp_path


def test_groups_are_folders_or_the_starts_of_names(folder: Path) -> None:
    clips, unread = find_clips(folder, "folder")
    assert {clip.name: clip.group for clip in clips} == {
        "a/corpus-clean_1.wav": "a",
        "b/deep/two.wav": "b",
        "b/one.wav": "b",
        "corpus_2.wav": "",
    }
    assert [each.file for each in unread] == ["a/broken.wav"]
    clips, _ = find_clips(folder, "prefix")
    assert {clip.name: clip.group for clip in clips} == {
        "a/corpus-clean_1.wav": "corpus",
        "b/deep/two.wav": "two",
        "b/one.wav": "one",
        "corpus_2.wav": "corpus",
    }


def test_a_folder_without_audio_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="no readable audio"):
        find_clips(tmp_path, "folder")
    with pytest.raises(CliError, match="no such folder"):
        find_clips(tmp_path / "none", "folder")


@pytest.mark.parametrize(
    ("count", "expected"), [(0, (0, 0)), (1, (1, 0)), (2, (1, 1)), (5, (3, 2)), (9, (7, 2))]
)
def test_players_are_taken_from_the_groups_in_turn(count: int, expected: tuple[int, int]) -> None:
    names = [("a", f"a{n}") for n in range(9)] + [("b", f"b{n}") for n in range(2)]
    clips = [EvalClip(path=Path(name), name=name, group=group) for group, name in names]
    chosen = [clip for clip in choose_players(clips, count) if clip.has_player]
    assert tuple(sum(clip.group == group for clip in chosen) for group in "ab") == expected
    if count == 5:
        assert [clip.name for clip in chosen] == ["a1", "a4", "a7", "b0", "b1"]
    assert all(clip.has_player for clip in choose_players(clips, 99))
