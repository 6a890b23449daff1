"""From a video to speech: lengths, seams, voices, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.core.errors import CheckpointError, ConfigError, DataError, FaceError
from viseme.core.media import probe, read_audio, write_audio, write_video
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.types import Audio, Video
from viseme.lip2speech import pipeline
from viseme.lip2speech.cli import app
from viseme.lip2speech.models import MultitaskConfig, MultitaskModel
from viseme.lip2speech.pipeline import Lip2Speech


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    write_audio(tmp_path / "voice.wav", Audio(noise, 16_000))
    return tmp_path / "voice.wav"


def test_command_writes_everything(clip: Path, vca_dir: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("wav", "mp4", "npz", "png")}
    command = ["speak", clip, "--model", vca_dir, "--out", files["wav"], "--video", files["mp4"], "--device", "cpu"]
    outcome = run_command(app, [*command, "--picture", files["png"], "--save-mel"])  # beside the sound
    assert outcome.code == 0, outcome.err
    frames = probe(clip).frames
    assert len(read_audio(files["wav"]).samples) == 640 * frames
    assert probe(files["mp4"]).frames == frames and probe(files["mp4"]).has_audio
    with np.load(files["npz"]) as arrays:
        assert arrays["mel"].shape == (1, 80, 4 * frames) and arrays["spec"].shape == (1, 321, 4 * frames)
    assert files["png"].read_bytes()[1:4] == b"PNG"


def test_same_seed_same_speech(clip: Path, vca_dir: Path) -> None:
    speaker = Lip2Speech.from_pretrained(vca_dir, device="cpu")
    first, again, other = (speaker.speak(clip, seed=seed).audio.samples for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_windows_join_without_seams(multitask_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a network with no memory gives in windows is what it gives whole: the fade adds nothing of its own."""
    speaker = Lip2Speech.from_pretrained(multitask_dir, device="cpu")
    crops = np.random.default_rng(0).integers(0, 255, (61, 48, 48), dtype=np.uint8)

    def framewise(crops: np.ndarray, prompt: object = None, *, seed: int = 0) -> tuple[torch.Tensor, None]:
        means = torch.from_numpy(crops.mean((1, 2))).float()
        return means.repeat_interleave(4).expand(80, -1).clone(), None

    monkeypatch.setattr(speaker, "speak_crops", framewise)
    monkeypatch.setattr(pipeline, "WINDOW", 20)
    monkeypatch.setattr(pipeline, "OVERLAP", 6)
    for count in (1, 6, 20, 21, 34, 35, 61):
        pieces = [mel for mel, _ in speaker.mels(iter(crops[:count]), None)]
        assert torch.allclose(torch.cat(pieces, -1), framewise(crops[:count])[0], atol=1e-4)
        assert max(piece.shape[-1] for piece in pieces) <= 4 * 20


def test_waveform_does_not_depend_on_pieces(vca_dir: Path) -> None:
    speaker = Lip2Speech.from_pretrained(vca_dir, device="cpu")
    mel, linear = torch.rand(80, 300) - 1, torch.rand(321, 300) - 1
    whole = np.concatenate(list(speaker.waveform([(mel, linear)])))
    pieces = [(m, x) for m, x in zip(mel.split(90, -1), linear.split(90, -1))]
    assert np.concatenate(list(speaker.waveform(pieces))).shape == whole.shape == (160 * 299,)


def test_voices(clip: Path, multitask_dir: Path, voice: Path, tmp_path: Path) -> None:
    speaker = Lip2Speech.from_pretrained(multitask_dir, device="cpu")
    spoken = speaker.speak(clip, reference=voice)
    assert spoken.voice == "reference" and spoken.to_dict()["voice"] == "reference"
    with pytest.raises(ConfigError, match="--reference"):
        speaker.speak(clip)
    write_audio(tmp_path / "silent.wav", Audio(np.zeros(16_000, np.float32), 16_000))
    with pytest.raises(DataError, match="silent"):
        speaker.speak(clip, reference=tmp_path / "silent.wav")
    write_audio(tmp_path / "short.wav", Audio(np.ones(2_000, np.float32) * 0.1, 16_000))
    with pytest.raises(DataError, match=r"0\.5 s"):
        speaker.speak(clip, reference=tmp_path / "short.wav")
    rate = Audio(np.random.default_rng(1).standard_normal(44_100).astype(np.float32) * 0.1, 44_100)
    write_audio(tmp_path / "rate.wav", rate)
    assert speaker.speak(clip, reference=tmp_path / "rate.wav").audio.rate == 16_000
    speaker.prompt = torch.zeros(1, 80, 50)
    assert speaker.speak(clip).voice == "model"


def test_one_voice_takes_no_reference(clip: Path, vca_dir: Path, voice: Path) -> None:
    check_user_error(app, ["speak", clip, "--model", vca_dir, "--reference", voice, "--device", "cpu"], "one voice")


@pytest.mark.parametrize("frames", [1, 3])
def test_very_short(frames: int, vca_dir: Path) -> None:
    speaker = Lip2Speech.from_pretrained(vca_dir, device="cpu")
    crops = np.zeros((frames, 48, 48), np.uint8)
    samples = np.concatenate(list(speaker.waveform(speaker.mels(iter(crops), None))))
    assert samples.shape == (160 * (4 * frames - 1),)


def test_no_face(vca_dir: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (10, 96, 96, 3), dtype=np.uint8)
    write_video(tmp_path / "noise.mp4", Video(frames, 25.0))
    with pytest.raises(FaceError, match=r"noise\.mp4"):
        Lip2Speech.from_pretrained(vca_dir, device="cpu").speak(tmp_path / "noise.mp4")


def test_sound_alone(vca_dir: Path, voice: Path) -> None:
    check_user_error(app, ["speak", voice, "--model", vca_dir, "--device", "cpu"], "no video", "voice.wav")


def test_model_directories(multitask_dir: Path, tmp_path: Path) -> None:
    speaker = Lip2Speech.from_pretrained(multitask_dir, device="cpu")
    again = Lip2Speech.from_pretrained(speaker.save(tmp_path / "again"), device="cpu")
    for key, value in speaker.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key])
    assert again.tokenizer == speaker.tokenizer and again.lips == speaker.lips
    with pytest.raises(CheckpointError, match="no such model directory"):
        Lip2Speech.from_pretrained(tmp_path / "nothing")


def test_another_packages_model(tmp_path: Path) -> None:
    from viseme.core.checkpoint import save_model_dir

    save_model_dir(tmp_path / "model", {"package": "avsr"}, {"x": torch.ones(1)})
    with pytest.raises(CheckpointError, match="viseme-lip2speech"):
        Lip2Speech.from_pretrained(tmp_path / "model")


def test_prompt_is_where_there_is_sound(multitask_dir: Path) -> None:
    speaker = Lip2Speech.from_pretrained(multitask_dir, device="cpu")
    samples = np.zeros(32_000, np.float32)
    samples[20_000:30_000] = np.random.default_rng(0).standard_normal(10_000) * 0.1
    prompt = speaker.prompt_of(Audio(samples, 16_000))
    assert prompt.shape == (1, 80, 50) and prompt.mean() > -0.5


def test_a_multitask_model_needs_a_prompt() -> None:
    speaker = Lip2Speech(MultitaskModel(MultitaskConfig.preset("tiny")), device="cpu")
    with pytest.raises(ConfigError, match="voice"):
        speaker.speak_crops(np.zeros((4, 48, 48), np.uint8))
