"""Training data: scan and index, split, excerpts, crops; on real speech and on made-up signals."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bigcodec_models.data import crops
from bigcodec_models.data.crops import Augmentation, Clip, CropSource, excerpts, scan
from bigcodec_models.errors import DataError, UnreadableError

Write = Callable[..., Clip]


@pytest.fixture(scope="module")
def folder(speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real speech at several rates, channel counts and formats, and files that are no audio."""
    root = tmp_path_factory.mktemp("data")
    wave, _ = soundfile.read(speech, dtype="float32")
    (root / "a" / "b").mkdir(parents=True)
    soundfile.write(root / "a" / "one.wav", wave[:40000], 16000)
    soundfile.write(root / "a" / "two.FLAC", np.stack([wave, wave * 0.5], axis=1), 44100)
    soundfile.write(root / "a" / "b" / "three.mp3", wave, 22050)
    soundfile.write(root / "a" / "b" / "four.opus", wave, 16000, format="OGG", subtype="OPUS")
    soundfile.write(root / "short.ogg", wave[20000:24000], 8000)
    (root / "broken.wav").write_bytes(b"RIFF....WAVE")
    soundfile.write(root / "empty.wav", wave[:0], 16000)
    (root / "notes.txt").write_text("no audio")
    return root


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes samples (n,) or (n, channels) as a WAV file under `tmp_path`/audio."""

    def write(name: str, samples: crops.Wave, rate: int = 16000, subtype: str = "PCM_16") -> Clip:
        path = tmp_path / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, subtype=subtype)
        return Clip(path=path, frames=len(samples), rate=rate, root=tmp_path / "audio")

    return write


def names(clips: list[Clip]) -> list[str]:
    return [clip.name for clip in clips]


def made_up(name: str, seconds: float = 1.0, root: str = "/data") -> Clip:
    """A clip without a file."""
    return Clip(path=Path(root, name), frames=round(seconds * 16000), rate=16000, root=Path(root))


class TestScan:
    def test_finds_what_is_readable_and_tells_the_rest(self, folder: Path) -> None:
        skipped: dict[str, str] = {}
        clips = scan(folder, skipped=lambda path, why: skipped.update({path.name: why}))
        assert names(clips[:3]) == ["a/b/four.opus", "a/b/three.mp3", "a/one.wav"]
        assert names(clips[3:]) == ["a/two.FLAC", "short.ogg"]
        assert [clip.rate for clip in clips] == [16000, 22050, 16000, 44100, 8000]
        assert skipped.keys() == {"broken.wav", "empty.wav"} and all(skipped.values())
        assert clips[2].frames == 40000 and clips[2].seconds == 2.5
        assert clips[0].folders == ("a", "b") and clips[-1].folders == ()

    def test_hidden_files_are_passed_over(self, write: Write) -> None:
        """Such as those in which macOS keeps what other file systems cannot."""
        shown = write("a.wav", np.ones(100, np.float32))
        for name in ("._a.wav", ".hidden/b.wav"):
            write(name, np.ones(100, np.float32))
        assert scan(shown.path.parent) == [shown]

    def test_folders_without_audio_are_refused(self, tmp_path: Path) -> None:
        for bad in (tmp_path, tmp_path / "none"):
            with pytest.raises(DataError, match=str(bad)):
                scan(bad, tmp_path / "index.json")

    def test_indexed_files_are_not_opened_again(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reports: list[tuple[Path, str]] = []
        where = tmp_path / "new" / "index.json"
        clips = scan(folder, where, lambda *both: reports.append(both))
        written = where.stat()
        monkeypatch.setattr(soundfile, "info", None)
        assert scan(folder, where, lambda *both: reports.append(both)) == clips
        assert reports[:2] == reports[2:] and len(reports) == 4
        # Nothing changed, so the index was left alone; nothing else lies beside it.
        assert os.path.samestat(where.stat(), written)
        assert os.listdir(where.parent) == ["index.json"]

    def test_changes_are_noticed(self, write: Write, tmp_path: Path) -> None:
        where, root = tmp_path / "index.json", tmp_path / "audio"
        for name in ("changed.wav", "gone.wav", "kept.wav", "spoilt.wav"):
            write(name, np.zeros(100))
        scan(root, where)
        write("changed.wav", np.zeros(50))
        write("new.wav", np.zeros(70))
        (root / "gone.wav").unlink()
        (root / "spoilt.wav").write_bytes(b"RIFF")
        skipped: list[str] = []
        clips = scan(root, where, lambda path, why: skipped.append(path.name))
        assert names(clips) == ["changed.wav", "kept.wav", "new.wav"]
        assert [clip.frames for clip in clips] == [50, 100, 70] and skipped == ["spoilt.wav"]
        assert "gone.wav" not in where.read_text()

    def test_one_index_serves_several_roots(
        self, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        where = tmp_path / "index.json"
        write("a/x.wav", np.zeros(100))
        write("ab/x.wav", np.zeros(200))
        both_clips = [scan(tmp_path / "audio" / name, where) for name in ("a", "ab")]
        monkeypatch.setattr(soundfile, "info", None)
        monkeypatch.chdir(tmp_path)
        assert [scan(tmp_path / "audio" / name, where) for name in ("a", "ab")] == both_clips
        assert scan(Path("audio"), where)[1].frames == 200

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: "",
            lambda text: text[: len(text) // 2],
            lambda text: text.replace('"version": 4', '"version": 99'),
            lambda text: text.replace('"frames": 100', '"frames": "100"'),
            lambda text: text.replace('"frames": 100', '"frames": 0'),
            lambda text: "[" * 100_000,
        ],
    )
    def test_a_damaged_index_is_built_anew(
        self, write: Write, tmp_path: Path, change: Callable[[str], str]
    ) -> None:
        write("x.wav", np.zeros(100))
        where = tmp_path / "index.json"
        clips = scan(tmp_path / "audio", where)
        good = where.read_text()
        assert change(good) != good
        where.write_text(change(good))
        assert scan(tmp_path / "audio", where) == clips
        assert json.loads(where.read_text()) == json.loads(good)

    def test_an_index_that_cannot_be_written_is_told(self, write: Write, tmp_path: Path) -> None:
        write("x.wav", np.zeros(100))
        (tmp_path / "file").touch()
        reports: list[str] = []
        assert scan(tmp_path / "audio", tmp_path / "file" / "i", lambda _, why: reports.append(why))
        assert len(reports) == 1 and reports[0].startswith("index cannot be written: ")
        assert scan(tmp_path / "audio", tmp_path / "audio", lambda *reports: None)
        assert sorted(os.listdir(tmp_path)) == ["audio", "file"]

    def test_links_pipes_and_odd_names(self, write: Write, tmp_path: Path) -> None:
        write("a/x.wav", np.zeros(100))
        root = tmp_path / "audio"
        (root / "a" / "loop").symlink_to(root)
        (root / "b").symlink_to(root / "a")
        (root / "dangling.wav").symlink_to(root / "nothing")
        os.mkfifo(root / "pipe.wav")
        (outside := tmp_path / "outside").mkdir()
        (root / "a" / "x.wav").rename(outside / os.fsdecode(b"\xff.wav"))
        (root / "c").symlink_to(outside)
        skipped: list[str] = []
        for _ in range(2):
            clips = scan(root, tmp_path / "i.json", lambda path, _: skipped.append(path.name))
            assert [os.fsencode(clip.name) for clip in clips] == [b"c/\xff.wav"]
        assert skipped == ["dangling.wav", "pipe.wav"] * 2
        assert len(CropSource(clips, crop=50, seed=0).batch(0, 2)) == 2
        assert excerpts(clips, 1, 1.0)[0][0] == "c/\\udcff.wav"


class TestReading:
    @pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
    def test_any_part_at_any_rate_is_in_place(self, write: Write, rate: int) -> None:
        """A tone, read from somewhere, is the tone at 16 kHz from there: both channels' mean."""
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * rate) / rate)
        clip = write("tone.wav", np.stack([tone, tone * 0.2], axis=1), rate)
        expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * 16000) / 16000)
        for start, length in ((12345, 4000), (20001, 1), (30000, 9000)):
            piece = crops.read_mono(clip, start, length)
            assert piece.shape == (length,) and piece.dtype == np.float32
            assert np.abs(piece - expected[start : start + length]).max() < 2e-4
        assert len(crops.read_mono(clip, 47000, 16000)) == 1000
        assert len(crops.read_mono(clip)) == 48000

    def test_files_changed_since_the_scan(self, write: Write) -> None:
        clip = write("x.wav", np.zeros(1000))
        write("x.wav", np.zeros(100))
        with pytest.raises(UnreadableError, match="shorter"):
            crops.read_mono(clip, 500, 100)
        write("x.wav", np.zeros(1000), 8000)
        with pytest.raises(UnreadableError, match="8000 Hz"):
            crops.read_mono(clip)
        write("x.wav", np.full(1000, np.nan), subtype="FLOAT")
        with pytest.raises(UnreadableError, match="not finite"):
            crops.read_mono(clip)
        clip.path.unlink()
        with pytest.raises(UnreadableError, match=r"x\.wav: .*No such file"):
            crops.read_mono(clip)

    def test_excerpts_are_spread_over_folders(self, write: Write) -> None:
        clips = [write(f"{s}/{k}.wav", np.full(16000, 0.5)) for s in "abc" for k in range(5)]
        shown = excerpts(clips, 6, 0.25)
        assert Counter(name[0] for name, _ in shown) == {"a": 2, "b": 2, "c": 2}
        assert all(wave.shape == (4000,) and wave.dtype == np.float32 for _, wave in shown)
        assert [name for name, _ in excerpts(clips[::-1], 6, 9.0)] == [name for name, _ in shown]
        next(clip.path for clip in clips if clip.name == shown[0][0]).unlink()
        assert len(dict(excerpts(clips, 100, 9.0)).keys() - {shown[0][0]}) == 14
        with pytest.raises(DataError, match="gone"):
            excerpts([made_up("gone.wav")], 1, 1.0)


class TestShares:
    def test_weights_are_shares_and_the_rest_goes_by_duration(self) -> None:
        one, three = [made_up("x", 1.0)], [made_up("y", 1.0), made_up("z", 2.0)]
        assert crops.crop_fractions([(one, None), (three, 0.3)]) == pytest.approx([0.7, 0.3])
        assert crops.crop_fractions([(one, None), (three, None), (one, 0.2)]) == pytest.approx(
            [0.2, 0.6, 0.2]
        )
        assert crops.crop_fractions([(one, 3), (three, 1)]) == pytest.approx([0.75, 0.25])
        assert crops.crop_fractions([(one, None)]) == [1.0]

    @pytest.mark.parametrize("weights", [(), (None, 1.0), (0.0, None), (-1.0, 2.0), (None, np.nan)])
    def test_impossible_weights_are_refused(self, weights: tuple[float | None, ...]) -> None:
        with pytest.raises(DataError):
            CropSource([([made_up("x")], weight) for weight in weights], crop=1, seed=0)
        with pytest.raises(DataError, match="no clips"):
            crops.crop_fractions([([made_up("x")], None), ([], 0.5)])

    def test_crops_come_by_share_and_within_a_source_by_duration(self, write: Write) -> None:
        a, b = (write(f"{n}.wav", np.full(n, level)) for level, n in ((0.125, 1000), (0.25, 3000)))
        c = write("c.wav", np.full(9000, 0.5))
        source = CropSource([([a, b], None), ([c], 0.3)], crop=10, seed=3)
        counts = Counter(source.batch(0, 4000)[:, 0].tolist())
        for level, expected in ((0.125, 700), (0.25, 2100), (0.5, 1200)):
            assert abs(counts[level] - expected) < 4 * np.sqrt(expected)


class TestCrops:
    def test_they_depend_on_seed_step_and_item_only(self, folder: Path) -> None:
        def make(seed: int = 4, **options: Any) -> CropSource:
            louder = Augmentation(gain_db=3.0)
            return CropSource(scan(folder), crop=8000, seed=seed, augmentation=louder, **options)

        for options in ({}, {"cache_bytes": 0}, {"cache_bytes": 200_000}):
            used = make(**options)
            used.batch(0, 20)
            assert np.array_equal(used.batch(3, 4), make(**options).batch(3, 6)[:4])
        assert not np.array_equal(make().batch(3, 4), make().batch(4, 4))
        assert not np.array_equal(make().batch(3, 4), make(seed=5).batch(3, 4))
        # The cache matters only where a decoder starts in the middle of a compressed file.
        assert np.abs(make().batch(0, 20) - make(cache_bytes=0).batch(0, 20)).max() < 0.05
        plain = [clip for clip in scan(folder) if clip.path.suffix in (".wav", ".FLAC")]
        starts = CropSource(plain, crop=80, seed=1).batch(0, 99)
        assert len({crop.tobytes() for crop in starts}) > 95
        cached, seeking = (CropSource(plain, crop=8000, seed=1, cache_bytes=n) for n in (10**9, 0))
        assert np.abs(cached.batch(0, 20) - seeking.batch(0, 20)).max() < 1e-4

    def test_short_files_are_padded(self, write: Write) -> None:
        crop = CropSource([write("x.wav", np.full(100, 0.5))], crop=300, seed=0).batch(0, 1)[0]
        assert (crop[:100] == 0.5).all() and not crop[100:].any()

    def test_levels_vary_below_full_scale(self, folder: Path) -> None:
        loud = Augmentation(gain_db=30)
        batch = CropSource(scan(folder), crop=8000, seed=4, augmentation=loud).batch(0, 40)
        assert np.abs(batch).max() < 0.99001
        assert np.ptp([np.abs(crop).max() for crop in batch]) > 0.5

    def test_noise_has_the_ratio_that_was_drawn(self, write: Write) -> None:
        """The signal is a constant, the noise has none, and is shorter than the crop."""
        noise = [write("noise.wav", 0.05 * np.sin(np.arange(3000) * np.pi / 5))]
        clips = [write("x.wav", np.full(50000, 0.25))]
        for bounds, probability in (((7.0, 7.0), 1.0), ((0.0, 20.0), 0.5)):
            augmentation = Augmentation(noise_probability=probability, noise_snr_db=bounds)
            source = CropSource(clips, crop=9000, seed=0, noise=noise, augmentation=augmentation)
            batch = source.batch(0, 300)
            spread = batch.std(axis=1)
            ratios = 20 * np.log10(batch.mean(axis=1)[spread > 0] / spread[spread > 0])
            assert abs(len(ratios) - 300 * probability) < 35
            assert bounds[0] - 0.01 < ratios.min() and ratios.max() < bounds[1] + 0.01
            assert abs(ratios.mean() - np.mean(bounds)) < 1.5
        loud, silent = np.full(9, 0.5, np.float32), np.zeros(9, np.float32)
        assert crops.mix(loud, silent, 0.0) is loud and crops.mix(silent, loud, 0.0) is silent

    def test_impossible_options_are_refused(self) -> None:
        with pytest.raises(ValueError, match="crop must"):
            CropSource([made_up("x")], crop=0, seed=0)
        noisy = Augmentation(noise_probability=0.5)
        with pytest.raises(ValueError, match="without clips of noise"):
            CropSource([made_up("x")], crop=1, seed=0, augmentation=noisy)
        for options in (
            {"noise_snr_db": (1.0, 0.0)},
            {"noise_probability": 1.5},
            {"speed_probability": -0.1},
            {"max_speed": 0.9},
        ):
            with pytest.raises(ValueError, match="must be"):
                Augmentation(**options)

    def test_lost_files_are_passed_over_and_told_once(self, write: Write) -> None:
        intact, lost = write("kept.wav", np.full(99, 0.5)), write("lost.wav", np.full(99, 0.1))
        reports: list[Path] = []
        lost.path.unlink()
        source = CropSource(
            [intact, lost], crop=9, seed=0, failed=lambda path, _: reports.append(path)
        )
        assert (source.batch(0, 50) == 0.5).all()
        assert reports == [lost.path]
        louder = Augmentation(gain_db=6.0)
        used, fresh = (
            CropSource([intact, lost], crop=9, seed=0, augmentation=louder) for _ in "ab"
        )
        used.batch(0, 30)
        assert np.array_equal(used.batch(7, 9), fresh.batch(7, 9))
        with pytest.raises(DataError, match="20 clips in a row"):
            CropSource([lost], crop=9, seed=0).batch(0, 1)


class TestPrefetching:
    def test_order_is_exact_from_any_step(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def dawdle(clip: Clip, start: int, length: int) -> crops.Wave:
            time.sleep(random.random() / 100)
            return read_mono(clip, start, length)

        read_mono = crops.read_mono
        source = CropSource(scan(folder), crop=800, seed=1, cache_bytes=0)
        expected = [source.batch(step, 2) for step in range(5, 25)]
        monkeypatch.setattr(crops, "read_mono", dawdle)
        for batch, target in zip(source.batches(5, 2), expected, strict=False):
            assert np.array_equal(batch, target)

    def test_errors_surface_when_it_is_their_turn(self, write: Write) -> None:
        clip = write("x.wav", np.full(99, 0.5))
        batches = CropSource([clip], crop=9, seed=0, cache_bytes=0).batches(0, 2, ahead=3)
        next(batches)
        clip.path.unlink()
        with pytest.raises(DataError, match="20 clips in a row"):
            for _ in range(5):
                next(batches)

    def test_closing_is_prompt_and_leaves_no_thread(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slow, never, reads = threading.Event(), threading.Event(), [0, 0]
        wave: Any = np.zeros(9, np.float32)

        def read_slowly(*_: object) -> Any:
            reads[slow.is_set()] += 1
            return never.wait(0.05 * slow.is_set()) or wave

        monkeypatch.setattr(crops, "read_mono", read_slowly)
        batches = CropSource([made_up("x")], crop=9, seed=0, cache_bytes=0).batches(0, 1000)
        next(batches)
        slow.set()
        batches.close()
        assert reads[True] < 100  # a whole batch takes 1000 reads, and some wait to be made
        assert not [t for t in threading.enumerate() if t.name.startswith("crops")]
