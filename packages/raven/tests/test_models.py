"""Encoders, recognisers and the pre-training pair: sizes, what is connected to what, what padding does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from viseme.core.errors import ConfigError
from viseme.raven.models import Encoder, EncoderConfig, Pretrainer, Recogniser, RecogniserConfig
from viseme.raven.models.block import DropPath
from viseme.raven.models.pretraining import PretrainConfig, block_mean, instance_normalise, whiten

FRAMES, CLIPS = 6, 3


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def clips(crop: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([FRAMES, FRAMES - 2, FRAMES])
    video = torch.randn(CLIPS, FRAMES, 1, crop, crop, generator=generator)
    audio = torch.randn(CLIPS, 640 * FRAMES, 1, generator=generator)
    return video, audio, lengths


@pytest.mark.parametrize(
    "name, modality, parameters",  # published counts, specification section 3.6
    [
        ("base", "video", 52_445_376),
        ("base", "audio", 45_111_168),
        ("baseplus", "video", 103_747_520),
        ("baseplus", "audio", 96_413_312),
        ("large", "video", 339_283_648),
        ("large", "audio", 331_949_440),
    ],
)
def test_encoders_have_the_published_sizes(name, modality, parameters) -> None:
    with torch.device("meta"):
        assert count(Encoder(EncoderConfig.preset(name, modality))) == parameters


@pytest.mark.parametrize(
    "name, modality, decoder, parameters",
    [
        ("base", "video", "narrow", 63_126_002),
        ("base", "video", "wide", 79_283_954),
        ("base", "audio", "narrow", 55_791_794),
        ("base", "audio", "wide", 71_949_746),
        ("large", "video", "narrow", 350_632_434),
        ("large", "video", "wide", 493_680_370),
        ("large", "audio", "wide", 486_346_162),
    ],
)
def test_recognisers_have_the_published_sizes(name, modality, decoder, parameters) -> None:
    with torch.device("meta"):
        assert count(Recogniser(RecogniserConfig.preset(name, modality, decoder))) == parameters


def test_a_base_predictor_as_in_the_published_key_list() -> None:
    """7,357,952: what the entries of the published training checkpoint's `predictor_cross` add up to."""
    with torch.device("meta"):
        pair = Pretrainer(PretrainConfig.preset("base"))
    assert count(pair.model_video.predictor_cross) == 7_357_952
    assert pair.model_video.predictor_within is None


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_an_encoder_gives_25_frames_a_second(modality) -> None:
    video, audio, lengths = clips()
    encoder = Encoder(EncoderConfig.preset("tiny", modality)).eval()
    x = video if modality == "video" else audio
    encoded = encoder.encode(x, lengths)
    assert encoded.memory.shape == (CLIPS, FRAMES, 32)
    assert encoded.mask.sum(-1).flatten().tolist() == lengths.tolist()
    assert encoder.encode(x).mask is None
    assert len(encoder.layers(x)) == 2


def test_samples_beyond_whole_frames_are_cut_off() -> None:
    encoder = Encoder(EncoderConfig.preset("tiny", "audio")).eval()
    x = torch.randn(1, 640 * 4 + 600, 1)
    torch.testing.assert_close(encoder.encode(x).memory, encoder.encode(x[:, : 640 * 4]).memory)


def test_recomputing_activations_changes_nothing() -> None:
    video, _, lengths = clips()
    encoder = Encoder(EncoderConfig.preset("tiny", "video", dropout=0.0, attention_dropout=0.0))
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    gradients = []
    for recompute in (False, True):
        encoder.load_state_dict(state)
        encoder.zero_grad()
        encoder.recompute = recompute
        encoder.encode(video, lengths).memory.square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)


def test_drop_path_keeps_the_mean_and_drops_whole_clips() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    y = drop(torch.ones(4000, 2, 3))
    values = y[:, 0, 0].unique()
    torch.testing.assert_close(values, torch.tensor([0.0, 1 / 0.75]))
    assert (y == y[:, :1, :1]).all()
    assert y.mean() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(drop.eval()(y), y)


class TestPair:
    def pair(self, **changes) -> Pretrainer:
        torch.manual_seed(1)
        return Pretrainer(PretrainConfig.preset("tiny", **changes)).train()

    def run(self, pair: Pretrainer):
        video, audio, lengths = clips()
        masked = torch.zeros(CLIPS, FRAMES, dtype=torch.bool)
        masked[:, 1:3] = True
        return pair(video, audio, lengths, masked, masked), masked

    def test_teachers_start_as_the_students_and_have_no_gradient(self) -> None:
        pair = self.pair()
        for student in (pair.model_video, pair.model_audio):
            for own, copied in zip(student.backbone.encoder.parameters(), student.target_backbone.parameters()):
                assert torch.equal(own, copied)
                assert not copied.requires_grad
        made, _ = self.run(pair)
        assert not made.target_video.requires_grad and not made.target_audio.requires_grad

    def test_a_students_loss_reaches_that_student_only(self) -> None:
        pair = self.pair()
        made, _ = self.run(pair)
        made.v2a.sum().backward()
        assert all(p.grad is None for p in pair.model_audio.parameters())
        assert all(p.grad is not None for p in pair.model_video.student_parameters())

    def test_masked_input_is_not_seen(self) -> None:
        pair = self.pair().eval()
        video, audio, lengths = clips()
        masked = torch.zeros(CLIPS, FRAMES, dtype=torch.bool)
        masked[:, 2] = True
        one = pair(video, audio, lengths, masked, masked)
        video[:, 2], audio[:, 2 * 640 : 3 * 640] = 7.0, 0.5
        two = pair(video, audio, lengths, masked, masked)
        torch.testing.assert_close(one.v2a, two.v2a)
        torch.testing.assert_close(one.a2a, two.a2a)
        assert not torch.allclose(one.target_video, two.target_video)

    def test_ema_moves_parameters_and_leaves_statistics(self) -> None:
        pair = self.pair()
        with torch.no_grad():
            for p in pair.model_video.backbone.encoder.parameters():
                p.add_(1.0)
        before = {key: value.clone() for key, value in pair.model_video.target_backbone.state_dict().items()}
        pair.update_teachers(0.9)
        parameters = {name for name, _ in pair.model_video.target_backbone.named_parameters()}
        for key, value in pair.model_video.target_backbone.state_dict().items():
            wanted = before[key] + (0.1 if key in parameters else 0)
            torch.testing.assert_close(value.float(), wanted.float())

    def test_teachers_answer_the_same_twice_in_train_mode(self) -> None:
        """Dropout, attention dropout and drop path are off in them; only running statistics move."""
        pair = self.pair(drop_path=0.5)
        video, audio, _ = clips()
        mask = torch.ones(CLIPS, 1, FRAMES, dtype=torch.bool)
        one, two = pair.targets(video, audio, mask), pair.targets(video, audio, mask)
        torch.testing.assert_close(one, two)
        kept = self.pair(drop_path=0.5, teacher_drop_path=True)
        assert not torch.allclose(kept.targets(video, audio, mask)[0], kept.targets(video, audio, mask)[0])

    def test_braven_targets_are_block_means_with_unit_variance(self) -> None:
        pair = self.pair(targets="block_mean", target_norm="instance", video_predictor_blocks=1)
        video, audio, lengths = clips()
        mask = torch.arange(FRAMES) < lengths[:, None]
        target, _ = pair.targets(video, audio, mask[:, None])
        assert target[1, : int(lengths[1])].mean(0).abs().max() < 1e-4
        assert len(pair.model_video.predictor_cross.encoders) == 1
        assert len(pair.model_audio.predictor_cross.encoders) == 2

    def test_a_unit_start_has_residual_streams_of_unit_scale(self) -> None:
        torch.manual_seed(0)
        pair = Pretrainer(PretrainConfig.preset("tiny")).train()
        video = torch.randn(2, 12, 1, 36, 36)
        scales = []
        for encoder in (pair.model_video.backbone.encoder, pair.model_video.target_backbone):
            before = encoder.embed(encoder.frontend(video))[0].std()
            encoder.start_at_unit_scale()
            scales.append((before, encoder.embed(encoder.frontend(video))[0].std()))
            assert torch.allclose(scales[-1][1] * 32**0.5, before, rtol=0.3)  # dropout draws anew
        features = pair.model_video.backbone.encoder(video)
        predictor = pair.model_video.predictor_cross
        loud = predictor.positions(predictor.embed(features))[0].std()
        pair.start_at_unit_scale()
        assert predictor.positions(predictor.embed(features))[0].std() < 0.3 * loud

    def test_weights_decide_which_predictors_there_are(self) -> None:
        pair = self.pair(a2a=0.0, v2v=1.0)
        assert pair.model_audio.predictor_within is None and pair.model_video.predictor_within is not None
        with pytest.raises(ConfigError, match="each student needs a loss"):
            PretrainConfig.preset("tiny", a2a=0.0, a2v=0.0)

    def test_groups_hold_every_parameter_once(self) -> None:
        pair = self.pair(probe_vocabulary=7, probe_decoder="tiny")
        groups = pair.parameter_groups()
        assert list(groups) == ["video", "video_probe", "audio", "audio_probe"]
        grouped = [id(p) for parameters in groups.values() for p in parameters]
        assert sorted(grouped) == sorted(id(p) for p in pair.parameters() if p.requires_grad)


def test_instance_norm_over_all_frames_and_over_valid_ones() -> None:
    x = torch.randn(2, 5, 3)
    full = instance_normalise(x)
    torch.testing.assert_close(full.mean(1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    mask = torch.ones(2, 1, 5, dtype=torch.bool)
    torch.testing.assert_close(instance_normalise(x, mask), full)
    mask[1, :, 3:] = False
    torch.testing.assert_close(instance_normalise(x, mask)[1, :3], instance_normalise(x[1:, :3])[0])


def test_a_margin_keeps_clips_ends_out_of_the_statistics() -> None:
    x = torch.randn(2, 10, 3)
    x[0, :2], x[0, 8:] = 50.0, -50.0  # what padding does there
    mask = torch.ones(2, 1, 10, dtype=torch.bool)
    mask[1, :, 4:] = False  # too short for a margin of two: all its frames count
    made = instance_normalise(x, mask, margin=2)
    torch.testing.assert_close(made[0, 2:8], instance_normalise(x[:1, 2:8])[0])
    torch.testing.assert_close(made[1, :4], instance_normalise(x[1:, :4])[0])


def test_whitening_makes_every_direction_count_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    loud = torch.randn(6, 50, 1, generator=generator) @ torch.randn(1, 16, generator=generator)
    x = loud + 0.3 * torch.randn(6, 50, 16, generator=generator)
    mask = torch.ones(6, 1, 50, dtype=torch.bool)
    mask[0, 0, 30:] = False
    x[0, 30:] = 1e3  # padding must not count
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = whiten(x, mask, margin=3)
        inner = mask[:, 0].clone()
        inner[:, :3] = inner[:, -3:] = inner[0, 27:] = False
        before, after = (torch.linalg.eigvalsh(torch.cov(z[inner].T)) for z in (x, y))
        assert before[-1] / before.sum() > 0.8
        assert after[-1] < 1.05 and after[0] > 0.7
        assert torch.allclose(y[inner].mean(0), torch.zeros(16), atol=1e-4)


def test_block_mean() -> None:
    assert torch.equal(block_mean([torch.zeros(1, 2, 3), torch.full((1, 2, 3), 4.0)]), torch.full((1, 2, 3), 2.0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: EncoderConfig("lips"),  # type: ignore[arg-type]
        lambda: EncoderConfig("video", dim=30, heads=4),
        lambda: EncoderConfig("video", drop_path=1.0),
        lambda: EncoderConfig.preset("huge", "video"),
        lambda: RecogniserConfig.preset("tiny", "video", "thin"),
        lambda: RecogniserConfig.from_dict({"vocabulary": 5}),
        lambda: RecogniserConfig.from_dict({"encoder": {"modality": "video", "wings": 2}}),
        lambda: PretrainConfig.preset("tiny", targets="input"),
        lambda: PretrainConfig(video=EncoderConfig("audio"), audio=EncoderConfig("audio")),
    ],
)
def test_configurations_that_make_no_sense(make) -> None:
    with pytest.raises(ConfigError):
        make()


def test_a_configuration_survives_its_dictionary() -> None:
    config = RecogniserConfig.preset("tiny", "audio", "tiny", vocabulary=9, drop_path=0.1)
    assert RecogniserConfig.from_dict(config.to_dict()) == config
