"""The neural vocoder: pieces, training, use, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.layers import HiFiGANGenerator
from viseme.core.media import probe, read_audio
from viseme.core.testing.commands import check_user_error, run_command
from viseme.lip2speech.cli import app
from viseme.lip2speech.models import SpectrumConfig, VocoderConfig
from viseme.lip2speech.models.config import MELS
from viseme.lip2speech.pipeline import Lip2Speech
from viseme.lip2speech.sound import analyse, mel_to_magnitude
from viseme.lip2speech.spectrum import SpectrumNet, SpectrumVocoder, spectrum_loss
from viseme.lip2speech.streaming import in_pieces
from viseme.lip2speech.vocoder import CONTEXT, MelVocoder, load_vocoder


@pytest.fixture(scope="module")
def vocoder() -> MelVocoder:
    torch.manual_seed(0)
    config = VocoderConfig.preset("tiny", mel="vca_lrs")
    return MelVocoder(HiFiGANGenerator(config.geometry), config)


@pytest.mark.parametrize("sizes", [[130], [50, 80], [10, 10, 110], [60, 60, 10], [5] * 26, [CONTEXT] * 5 + [10]])
def test_pieces_make_the_whole(sizes: list[int], vocoder: MelVocoder) -> None:
    mel = torch.rand(80, sum(sizes)) * 2 - 1
    streamed = torch.cat(list(vocoder.stream(mel.split(sizes, dim=1))))
    torch.testing.assert_close(streamed, vocoder(mel), atol=1e-6, rtol=1e-4)


def test_nothing_makes_nothing(vocoder: MelVocoder) -> None:
    assert list(vocoder.stream([])) == []


def test_context_covers_what_the_published_geometry_sees() -> None:
    """One column changed moves no sound further away than the context."""
    torch.manual_seed(0)
    config = VocoderConfig.preset("base", channels=32)
    generator = HiFiGANGenerator(config.geometry)
    for weight in generator.parameters():
        torch.nn.init.normal_(weight, 0, 0.2)
    mel = torch.zeros(80, 101)
    changed = mel.clone()
    changed[:, 50] = 1
    made = MelVocoder(generator, config)
    where = (made(mel) != made(changed)).nonzero().flatten()
    assert int(where.min()) >= 160 * (50 - CONTEXT) and int(where.max()) < 160 * (51 + CONTEXT)


def test_trains_and_speaks(store: Path, clip: Path, vca_dir: Path, tmp_path: Path) -> None:
    command = ["train", "recipe=vocoder_demo", "model=vocoder_tiny", "model.mel=vca_lrs", f"data.data={store}"]
    command += ["trainer.max_steps=4", "objective.adversarial_after=1", "data.workers=0", "trainer.progress=false"]
    outcome = run_command(app, [*command, f"checkpoint_dir={tmp_path / 'run'}"])
    assert outcome.code == 0, outcome.err
    made = tmp_path / "run" / "model"
    out = tmp_path / "out.wav"
    speak = ["speak", clip, "--model", vca_dir, "--vocoder", made, "--out", out, "--device", "cpu"]
    outcome = run_command(app, speak)
    assert outcome.code == 0, outcome.err
    assert len(read_audio(out).samples) == 640 * probe(clip).frames
    check_user_error(app, ["speak", clip, "--model", made, "--device", "cpu"], "not a model that speaks")


def test_other_mels_are_refused(vocoder: MelVocoder, multitask_dir: Path, vca_dir: Path) -> None:
    with pytest.raises(ConfigError, match="multitask"):
        Lip2Speech.from_pretrained(multitask_dir, device="cpu").use_vocoder(vocoder)
    with pytest.raises(CheckpointError, match="vocoder"):
        load_vocoder(vca_dir)
    with pytest.raises(ConfigError, match="hop"):
        VocoderConfig.preset("tiny", rates=(2, 2), kernels=(4, 4))


def test_spectrum_starts_from_the_pseudo_inverse_and_learns(clip: Path) -> None:
    torch.manual_seed(0)
    spec = MELS["vca_lrs"]
    mel, target = analyse(torch.from_numpy(read_audio(clip, rate=16000).samples), spec)
    network = SpectrumNet(SpectrumConfig.preset("tiny", mel="vca_lrs", channels=32))
    rough = mel_to_magnitude(mel[None], spec)
    torch.testing.assert_close(network(mel[None]), rough, atol=2e-5, rtol=1e-4)
    before = float(spectrum_loss(rough, target[None]))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(40):
        loss = spectrum_loss(network(mel[None]), target[None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.85 * before
    assert float(spectrum_loss(target[None], target[None])) == 0


def test_spectrum_depends_on_its_context_alone() -> None:
    torch.manual_seed(0)
    vocoder = SpectrumVocoder(SpectrumNet(SpectrumConfig.preset("tiny", dilations=(1, 2, 4), kernel=5)))
    torch.nn.init.normal_(vocoder.network.leave.weight, 0, 0.2)
    mel = torch.rand(80, 120) * 2 - 1
    whole = vocoder.magnitude(mel)
    for sizes in ([40, 40, 40], [5] * 24, [1, 119]):
        pieces = in_pieces(vocoder.magnitude, mel.split(sizes, dim=1), context=vocoder.config.context)
        torch.testing.assert_close(torch.cat(list(pieces), -1), whole, atol=1e-6, rtol=1e-4)


def test_spectrum_trains_and_speaks(store: Path, clip: Path, multitask_dir: Path, tmp_path: Path) -> None:
    command = ["train", "recipe=spectrum_demo", "model=spectrum_tiny", f"data.data={store}", "trainer.max_steps=2"]
    outcome = run_command(app, [*command, f"checkpoint_dir={tmp_path / 'run'}", "trainer.progress=false"])
    assert outcome.code == 0, outcome.err
    made, out = tmp_path / "run" / "model", tmp_path / "out.wav"
    speak = ["speak", clip, "--model", multitask_dir, "--reference", clip, "--vocoder", made, "--out", out]
    outcome = run_command(app, [*speak, "--device", "cpu"])
    assert outcome.code == 0, outcome.err
    assert len(read_audio(out).samples) == 640 * probe(clip).frames
