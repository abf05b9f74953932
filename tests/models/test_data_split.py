"""The split of training data into training and validation, by names alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigcodec_models.data.crops import Clip, split
from bigcodec_models.errors import DataError


def names(clips: list[Clip]) -> list[str]:
    return [clip.name for clip in clips]


def made_up(name: str, seconds: float = 1.0, root: str = "/data") -> Clip:
    """A clip without a file."""
    return Clip(path=Path(root, name), frames=round(seconds * 16000), rate=16000, root=Path(root))


clip_lists = st.lists(
    st.tuples(st.from_regex("([a-h]/){0,3}[a-z][.]wav", fullmatch=True), st.floats(0.1, 100)),
    min_size=2,
    max_size=60,
    unique_by=lambda entry: entry[0],
)


class TestSplit:
    @settings(deadline=None)
    @given(clip_lists, st.floats(0.001, 0.999), st.randoms(use_true_random=False))
    def test_it_is_a_partition_by_names_alone(
        self, entries: list[tuple[str, float]], fraction: float, shuffler: random.Random
    ) -> None:
        clips = [made_up(name, seconds) for name, seconds in entries]
        training, validation = split(clips, fraction)
        assert training and validation
        assert sorted(names(training) + names(validation)) == sorted(names(clips))
        moved = [made_up(name, seconds, "/else/where") for name, seconds in entries]
        shuffler.shuffle(moved)
        again = split(moved, fraction)
        assert (names(again[0]), names(again[1])) == (names(training), names(validation))

    @settings(deadline=None)
    @given(clip_lists)
    def test_folders_stay_whole_where_there_are_ten(self, entries: list[tuple[str, float]]) -> None:
        training, validation = split([made_up(name, seconds) for name, seconds in entries])
        if len({clip.folders for clip in training + validation}) >= 10:
            assert not {clip.folders for clip in training} & {clip.folders for clip in validation}

    @pytest.mark.parametrize("pattern", ["s{0}/{1}.wav", "corpus/s{0}/c{1}/x.wav", "{0}-{1}.wav"])
    @pytest.mark.parametrize("fraction", [0.02, 0.1])
    def test_about_the_fraction_is_held_out(self, pattern: str, fraction: float) -> None:
        """By speaker in the first two, never by chapter; by file in the third."""
        clips = [made_up(pattern.format(k // 10, k % 10), 1 + k % 7) for k in range(2000)]
        training, validation = split(clips, fraction)
        held = sum(clip.seconds for clip in validation) / sum(clip.seconds for clip in clips)
        assert fraction / 2 <= held <= 2 * fraction
        speakers = [{"/".join(c.folders[:2]) for c in part} for part in (training, validation)]
        assert pattern[0] == "{" or not speakers[0] & speakers[1]

    def test_a_folder_that_is_most_of_the_data_is_for_training(self) -> None:
        for large in range(12):
            clips = [made_up(f"{k}/x.wav", 99.0 if k == large else 1.0) for k in range(12)]
            assert max(clip.seconds for clip in split(clips)[1]) == 1

    def test_few_clips(self) -> None:
        alone = [made_up("x.wav")]
        assert split(alone) == (alone, alone)
        assert [len(part) for part in split([*alone, made_up("x.wav", root="/b")])] == [1, 1]
        with pytest.raises(DataError):
            split([])
        for fraction in (0.0, 1.0):
            with pytest.raises(ValueError, match="fraction"):
                split(alone, fraction)
