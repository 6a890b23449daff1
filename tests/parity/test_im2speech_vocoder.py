"""The unit vocoder: inference with and without durations, and what its training computes."""

from __future__ import annotations

import json

import harness
import pytest
import torch
from topic import Check, inputs, state

from viseme.core.layers.hifigan import UnitVocoder, UnitVocoderConfig, merge_weight_norm
from viseme.core.losses.vocoder import VocoderMel, duration_targets

SYSTEM = "im2speech"


def vocoder(entry: dict) -> UnitVocoder:
    options = json.loads((harness.folder(SYSTEM) / entry["config"]["config_file"]).read_text(encoding="utf-8"))
    model = UnitVocoder(UnitVocoderConfig.from_published(options))
    (keys,) = entry["keys"]
    model.load_state_dict(merge_weight_norm(state(SYSTEM, entry, keys)))
    return model.eval()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "vocoder/plain", "vocoder/duration"))
@torch.no_grad()
def test_vocoder(name: str, entry: dict) -> None:
    check, given, model = Check(SYSTEM, entry), inputs(SYSTEM, entry), vocoder(entry)
    code = torch.from_numpy(given["code"])
    units_BU = code[code >= 0][None]
    speaker_B = None if given["speaker"] is None else torch.tensor([given["speaker"]])
    frames_BT = units_BU
    if entry["config"]["duration_prediction"]:
        check.check("log_duration", model.log_durations(units_BU))
        check.check("duration", model.durations(units_BU))
        frames_BT = units_BU.repeat_interleave(model.durations(units_BU)[0], dim=1)
    kept: dict[str, torch.Tensor] = {}
    model.conv_pre.register_forward_hook(lambda _, __, out: kept.update(conv_pre=out))
    model.ups[0].register_forward_hook(lambda _, __, out: kept.update(up0=out))
    model.conv_post.register_forward_hook(lambda _, __, out: kept.update(conv_post=out))
    wave = model(frames_BT, speaker_B)
    assert wave.shape[2] == frames_BT.shape[1] * entry["config"]["hop"]
    check.check("wave", wave)
    for part, value in kept.items():
        check.check(part, value)
    check.finish()
    spoken = model.speak(code, durations=entry["config"]["duration_prediction"], speaker=given["speaker"])
    torch.testing.assert_close(spoken, wave[0, 0])


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "vocoder_train/duration"))
def test_duration_training(name: str, entry: dict) -> None:
    check, model = Check(SYSTEM, entry), vocoder(entry)
    code = torch.from_numpy(inputs(SYSTEM, entry)["code"])
    embedded = model.dict(code).detach().requires_grad_()
    targets = duration_targets(code, embedded)
    assert model.dur_predictor is not None
    predicted = model.dur_predictor(targets.embedded)
    loss = targets.loss(predicted)
    loss.backward()
    check.check("unique_feature_mask", targets.mask)
    check.check("durations", targets.durations)
    check.check("log_duration_prediction", predicted[targets.mask])
    check.check("duration_loss", loss)
    check.check("grad_embedded_code", embedded.grad)
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "vocoder_train/mel"))
def test_mel_of_the_loss(name: str, entry: dict) -> None:
    check, config = Check(SYSTEM, entry), entry["config"]
    mel = VocoderMel(
        config["sample_rate"],
        config["n_fft"],
        config["hop"],
        config["win"],
        config["n_mels"],
        config["fmin"],
        config["fmax"],
    )
    check.check("mel", mel(torch.from_numpy(inputs(SYSTEM, entry)["wave"])))
    check.finish()
