"""Masks, schedules, collapse figures."""

from __future__ import annotations

import pytest
import torch

from viseme.core.errors import ConfigError, DataError
from viseme.raven.collapse import CollapseAlarm, similarity_picture, spread
from viseme.raven.masking import span_mask
from viseme.raven.schedules import learning_rate, teacher_momentum
from viseme.raven.transforms import TimeMask, audio_input, time_mask_spans, video_input_train


def test_masks_come_in_spans_and_stay_inside() -> None:
    generator = torch.Generator().manual_seed(0)
    masked = span_mask([40, 25], 0.3, 3, generator=generator, equal_counts=False)
    assert masked.shape == (2, 40) and not masked[1, 25:].any()
    for row in masked:
        edges = torch.diff(torch.cat([torch.tensor([0]), row.int(), torch.tensor([0])]))
        lengths = (edges == -1).nonzero() - (edges == 1).nonzero()
        assert (lengths >= 3).all()


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_a_clip_shorter_than_a_span_is_masked_all_the_same(length) -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        masked = span_mask([length], 0.2, 3, generator=generator)
        assert 1 <= int(masked.sum()) <= length


def test_a_short_clip_unmasks_the_others_only_where_counts_are_equal() -> None:
    generator = torch.Generator().manual_seed(3)
    equal = span_mask([100, 4], 0.2, 3, generator=generator)
    own = span_mask([100, 4], 0.2, 3, generator=generator, equal_counts=False)
    assert equal[0].sum() == equal[1].sum() <= 4
    assert own[0].sum() > 10


def test_masks_depend_on_their_generator_alone() -> None:
    one, two = (span_mask([50], 0.2, 3, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("probability, length", [(-0.1, 3), (1.1, 3), (0.2, 0)])
def test_masking_that_makes_no_sense(probability, length) -> None:
    with pytest.raises(ConfigError):
        span_mask([10], probability, length)


def test_learning_rate_ends_at_its_floor() -> None:
    at = {"base": 1e-2, "min_lr": 1e-5, "warmup_steps": 10, "total_steps": 100}
    assert learning_rate(5, **at) == pytest.approx(5e-3)
    assert learning_rate(10, **at) == pytest.approx(1e-2)
    assert learning_rate(100, **at) == learning_rate(400, **at) == pytest.approx(1e-5)
    with pytest.raises(ConfigError, match="warm-up"):
        learning_rate(1, base=1, min_lr=0, warmup_steps=5, total_steps=5)


def test_momentum_rises_to_one() -> None:
    values = [teacher_momentum(step, base=0.9, total_steps=50) for step in range(51)]
    assert values[0] == pytest.approx(0.9) and values[-1] == pytest.approx(1.0)
    assert values == sorted(values)


def test_spread_tells_collapse_from_none() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(4, 1, 50, dtype=torch.bool)
    everywhere = torch.randn(4, 50, 64, generator=generator)
    std, cosine = spread(everywhere, mask)
    assert std == pytest.approx(1.0, abs=0.05) and cosine < 0.2
    std, cosine = spread(torch.ones(4, 50, 64) + 1e-4 * everywhere, mask)
    assert std < 0.01 and cosine > 0.999
    mask[:, :, 25:] = False  # padding does not count
    everywhere[:, 25:] = 1.0
    assert spread(everywhere, mask)[1] < 0.2


class _Trainer:
    """A step at which the video teacher looks so, and the audio teacher healthy."""

    def __init__(self, step: int, cosine: float, std: float) -> None:
        self.global_step = step
        figures = {"target_cosine_video": cosine, "target_std_video": std}
        figures |= {"target_cosine_audio": 0.3, "target_std_audio": 0.9}
        self.callback_metrics = {name: torch.tensor(value) for name, value in figures.items()}


@pytest.mark.parametrize("cosine, std", [(0.999, 0.5), (0.5, 0.01)])
def test_the_alarm_goes_off_when_collapse_lasts(cosine, std, capsys) -> None:
    alarm = CollapseAlarm(after_steps=10, window=3)
    alarm.on_train_batch_end(_Trainer(5, cosine, std), None, None, None, 0)  # type: ignore[arg-type]
    for step in (10, 11):
        alarm.on_train_batch_end(_Trainer(step, cosine, std), None, None, None, 0)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="video teacher has collapsed"):
        alarm.on_train_batch_end(_Trainer(12, cosine, std), None, None, None, 0)  # type: ignore[arg-type]
    warning = CollapseAlarm(after_steps=0, window=1, stop=False)
    warning.on_train_batch_end(_Trainer(1, cosine, std), None, None, None, 0)  # type: ignore[arg-type]
    assert "collapsed" in capsys.readouterr().err


def test_the_alarm_is_silent_where_targets_differ() -> None:
    alarm = CollapseAlarm(after_steps=0, window=2)
    for step in range(20):
        alarm.on_train_batch_end(_Trainer(step, 0.9 if step % 2 else 0.999, 0.4), None, None, None, 0)  # type: ignore[arg-type]


def test_similarity_picture() -> None:
    x = torch.eye(4)
    picture = similarity_picture(x, x)
    assert picture.shape == (1, 4, 12)
    torch.testing.assert_close(picture[0, :, :4], (x + 1) / 2)


def test_time_masks_zero_after_normalisation() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.full((60, 96, 96), 200, dtype=torch.uint8)
    x = video_input_train(frames, generator, flip=0.0, mask=TimeMask(10, 25))
    zero = (x == 0).flatten(1).all(1)
    assert 0 < int(zero.sum()) < 60 and (x[~zero] != 0).all()
    samples = audio_input(torch.ones(32000), generator, mask=TimeMask(6400, 16000))
    assert samples.shape == (32000, 1) and set(samples.unique().tolist()) == {0.0, 1.0}


def test_corrected_time_masks_are_as_long_as_their_draw() -> None:
    draws = iter([4, 9, 2])
    assert time_mask_spans(20, 10, 25, lambda n: next(draws), corrected=True) == [(2, 6)]
    draws = iter([4, 9, 2])
    assert time_mask_spans(20, 10, 25, lambda n: next(draws)) == [(2, 11)]


def test_flips_mirror_the_whole_clip() -> None:
    frames = torch.zeros(2, 96, 96, dtype=torch.uint8)
    frames[:, :, 48:] = 255
    one = video_input_train(frames, torch.Generator().manual_seed(1), flip=0.0)
    two = video_input_train(frames, torch.Generator().manual_seed(1), flip=1.0)
    torch.testing.assert_close(one.flip(-1), two)
