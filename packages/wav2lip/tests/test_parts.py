"""Boxes, masks, silence, loops and windows: each better than what was published, by a figure."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.core.media import write_video
from viseme.core.signal import WAV2LIP_MEL
from viseme.core.types import Video
from viseme.wav2lip import synthesis
from viseme.wav2lip.blend import BlendOptions, blend_face, face_mask, seam_gradient
from viseme.wav2lip.boxes import box_jitter, smooth_path
from viseme.wav2lip.geometry import smooth_boxes
from viseme.wav2lip.metrics import correlation, roc_auc
from viseme.wav2lip.silence import PowerMeter, speech_weights
from viseme.wav2lip.source import open_source, prefetched, source_index
from viseme.wav2lip.windows import MEL_STEP, cut_windows, frame_starts

# ----------------------------------------------------------------------------------------------------- boxes


def moving_boxes(noise: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """(true, seen) boxes of a face that moves steadily, and turns back."""
    t = np.arange(80)
    x = 3.0 * np.minimum(t, 80 - t)
    true = np.stack((100 + x, 80 + 0 * x, 180 + x, 190 + 0 * x), axis=1)
    return true, true + np.random.default_rng(0).normal(0, noise, true.shape)


def test_smoothing_takes_jitter_and_adds_no_lag() -> None:
    true, seen = moving_boxes()
    ours, published = smooth_path(seen, 7), smooth_boxes(seen.astype(int)).astype(float)
    assert box_jitter(ours) < 0.35 * box_jitter(seen)
    steady = slice(8, 32)  # where it moves at a constant pace
    lag_ours, lag_published = (float((made[steady] - true[steady])[:, 0].mean()) for made in (ours, published))
    assert abs(lag_ours) < 1.0
    assert lag_published > 4.0  # two frames ahead


def test_smoothing_leaves_steady_motion_alone() -> None:
    line = np.linspace(0, 50, 30)[:, None] * np.ones(4)
    np.testing.assert_allclose(smooth_path(line, 7), line, atol=1e-9)
    for count in range(1, 6):
        assert smooth_path(line[:count], 7).shape == (count, 4)


# ----------------------------------------------------------------------------------------------------- blending


def face_points() -> np.ndarray:
    """68 points of a schematic face in a box (60, 40, 160, 160)."""
    angle = np.linspace(np.pi, 0, 17)
    jaw = np.stack((110 + 45 * np.cos(angle), 95 + 60 * np.sin(angle)), axis=1)
    points = np.full((68, 2), (110.0, 100.0))
    points[:17] = jaw
    points[31:36] = np.stack((np.linspace(100, 120, 5), np.full(5, 108.0)), axis=1)
    return points


@pytest.fixture
def picture() -> np.ndarray:
    y, x = np.mgrid[:200, :220]
    return np.stack((120 + 0.2 * x, 100 + 0.2 * y, 90 + 0.1 * (x + y)), axis=-1).astype(np.uint8)


BOX = (60, 40, 160, 160)


def test_mask_covers_the_mouth_and_not_the_edge() -> None:
    mask = face_mask(face_points(), BOX, BlendOptions())
    assert mask.shape == (96, 96) and mask.min() >= 0 and mask.max() <= 1
    assert mask[68, 48] > 0.95  # mouth
    assert mask[:36].max() == 0  # eyes
    assert max(mask[:, 0].max(), mask[:, -1].max(), mask[-1].max()) < 0.05


def test_seam_is_less_visible_than_the_published_box(picture: np.ndarray) -> None:
    """The generator's colours are a little off, as they are in practice."""
    generated = picture[40:160, 60:160].astype(np.float32)[:96, :96] + np.float32([25, 15, 20])
    points = face_points()
    published = blend_face(picture, generated, BOX, points, BlendOptions(mask=False))
    ours = blend_face(picture, generated, BOX, points, BlendOptions())
    assert seam_gradient(published, picture, BOX) > 5
    assert abs(seam_gradient(ours, picture, BOX)) < 0.2


def test_colour_match_removes_a_cast(picture: np.ndarray) -> None:
    generated = np.ascontiguousarray(picture[40:136, 60:156]).astype(np.float32) + 20
    with_match = blend_face(picture, generated, BOX, face_points(), BlendOptions())
    without = blend_face(picture, generated, BOX, face_points(), BlendOptions(match_colour=False))
    mouth = np.s_[115:140, 95:125]
    error = [np.abs(made[mouth].astype(int) - picture[mouth]).mean() for made in (with_match, without)]
    assert error[0] < 0.5 * error[1]


def test_weight_fades_between_source_and_generated(picture: np.ndarray) -> None:
    generated = np.zeros((96, 96, 3), np.float32)
    none = blend_face(picture, generated, BOX, face_points(), BlendOptions(), weight=0.0)
    assert np.array_equal(none, picture) and none is not picture
    options = BlendOptions(match_colour=False)
    half, full = (blend_face(picture, generated, BOX, face_points(), options, weight=w) for w in (0.5, 1.0))
    assert full[125, 110].mean() < half[125, 110].mean() < picture[125, 110].mean()
    assert np.array_equal(full[:80], picture[:80])


# ----------------------------------------------------------------------------------------------------- silence


def test_silence_gate() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, 3 * 16000).astype(np.float32)
    samples[16000:32000] *= 1e-3
    weights = speech_weights(samples, 75, 25.0)
    assert (weights[:23] == 1).all() and (weights[52:] == 1).all()
    assert (weights[30:45] == 0).all()
    assert np.abs(np.diff(weights)).max() <= 0.5  # soft


def test_short_pauses_are_speech_and_silence_is_silence() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    samples[8000:9600] = 0  # 0.1 s
    assert speech_weights(samples, 25, 25.0).min() == 1
    assert speech_weights(np.zeros(16000, np.float32), 25, 25.0).max() == 0
    assert len(speech_weights(samples[:100], 0, 25.0)) == 0


# ------------------------------------------------------------------------------------------------ order, windows


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ("pingpong", [0, 1, 2, 3, 2, 1, 0, 1, 2]),
        ("loop", [0, 1, 2, 3, 0, 1, 2, 3, 0]),
        ("hold", [0, 1, 2, 3, 3, 3, 3, 3, 3]),
        ("stop", [0, 1, 2, 3]),
        ("spread", [0, 0, 0, 1, 1, 2, 2, 3, 3]),
    ],
)
def test_loops(loop: str, expected: list[int]) -> None:
    assert source_index(4, 9, loop) == expected  # type: ignore[arg-type]
    assert source_index(4, 3, loop) == [0, 1, 2]  # type: ignore[arg-type]
    assert source_index(1, 3, loop) == [0, 0, 0]  # type: ignore[arg-type]


def test_every_frame_has_a_window() -> None:
    mel = np.arange(80 * 50, dtype=np.float32).reshape(80, 50)
    windows = cut_windows(mel, frame_starts(20, 25.0))
    assert windows.shape == (20, 80, MEL_STEP)
    np.testing.assert_array_equal(windows[5], mel[:, 16:32])
    assert (windows[19][:, -6:] == -4).all()  # the sound is over
    early = cut_windows(mel, frame_starts(20, 25.0, offset_frames=-1))
    assert (early[0][:, :4] == -4).all()
    np.testing.assert_array_equal(early[6], mel[:, 16:32])


def test_long_sound_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, 200 * 333 + 77).astype(np.float32))
    whole = WAV2LIP_MEL(samples).numpy()
    monkeypatch.setattr(synthesis, "_PIECE", 100)
    np.testing.assert_allclose(synthesis.spectrogram(samples), whole, atol=1e-4)


def test_windows_of_streamed_sound_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "_PIECE", 100)
    random = np.random.default_rng(0)
    samples = random.normal(0, 0.1, 200 * 333 + 77).astype(np.float32)
    starts = frame_starts(108, 25.0, offset_frames=-1.5)
    expected = cut_windows(synthesis.spectrogram(torch.from_numpy(samples)), starts)
    blocks = np.split(samples, np.sort(random.integers(0, len(samples), 60)))
    streamed = synthesis.SoundWindows(blocks, len(samples), starts)
    asked = [range(0, 7), [9, 30], [], range(30, 31), range(60, 108)]
    for numbers in asked:
        np.testing.assert_allclose(streamed[numbers], expected[list(numbers)], atol=1e-5)
    assert streamed._held.shape[1] < 200, "what is behind is forgotten"
    with pytest.raises(ValueError, match="forward only"):
        streamed[[0, 1]]


def test_a_moment_of_sound_has_windows() -> None:
    made = synthesis.SoundWindows([np.zeros(330, np.float32)], 330, [0, 3])[[0, 1]]
    assert made.shape == (2, 80, MEL_STEP)
    assert (made == -4).all()


@pytest.mark.parametrize("fps", [25.0, 29.97, 60.0])
def test_power_of_blocks_is_that_of_the_whole(fps: float) -> None:
    random = np.random.default_rng(0)
    samples = random.normal(0, 0.1, 16000 * 9 + 123).astype(np.float32)
    meter = PowerMeter(fps)
    for block in np.split(samples, np.sort(random.integers(0, len(samples), 40))):
        meter.add(block)
    power = meter.finish()
    edges = (np.arange(len(power) + 1) * 16000 / fps).astype(int).clip(0, len(samples))
    assert edges[-2] < len(samples) == edges[-1]
    expected = [np.square(samples[a:b], dtype=np.float64).mean() for a, b in itertools.pairwise(edges)]
    np.testing.assert_allclose(power, expected, rtol=1e-9)


def test_prefetched_gives_everything_in_order_and_raises_what_was_raised() -> None:
    assert list(prefetched(iter(range(50)), 3)) == list(range(50))

    def failing() -> object:
        yield 1
        raise OSError("gone")

    items = prefetched(failing(), 2)  # type: ignore[arg-type]
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_prefetched_stops_with_its_reader() -> None:
    made = []

    def endless() -> object:
        while True:
            made.append(1)
            yield 1

    items = prefetched(endless(), 4)  # type: ignore[arg-type]
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert len(made) < 20


# ----------------------------------------------------------------------------------------------------- measures


def test_measures() -> None:
    assert roc_auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])) == 0.75
    assert roc_auc(np.ones(4), np.array([0, 1, 0, 1])) == 0.5
    assert correlation(np.arange(5), 3 - 2 * np.arange(5)) == pytest.approx(-1)
    assert correlation(np.ones(5), np.arange(5)) == 0


def test_frames_come_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    """Each frame's grey level is its number, whatever the way through the video."""
    levels = np.arange(14) * 16 + 16
    video = Video(np.broadcast_to(levels[:, None, None, None], (14, 32, 32, 3)).astype(np.uint8), 25.0)
    write_video(tmp_path / "count.mp4", video, crf=0)
    source = open_source(tmp_path / "count.mp4")
    assert (source.frames, source.fps, source.still) == (14, 25.0, False)
    for loop in ("pingpong", "loop", "hold", "stop", "spread"):
        index = source_index(14, 40, loop)  # type: ignore[arg-type]
        seen = [round((float(frame.mean()) - 16) / 16) for frame in source.shown(index)]
        assert seen == index, loop
