"""The packages together, through their command lines and Python surface: one store for all, and what one makes used by
another. All networks are tiny and hardly trained: it is the joints that are tested."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from viseme.avsr import AVSR
from viseme.avsr.cli import app as avsr
from viseme.core.checkpoint import load_model_dir
from viseme.core.cli import App
from viseme.core.cli.viseme import app as viseme
from viseme.core.data import Manifest
from viseme.core.media import probe, read_audio, read_clip, write_video
from viseme.core.metrics import read_evaluation
from viseme.core.metrics.recogniser import load_recogniser
from viseme.core.testing.commands import run_command
from viseme.core.types import Audio, Video
from viseme.lip2speech.cli import app as lip2speech
from viseme.raven.cli import app as raven
from viseme.wav2lip.cli import app as wav2lip
from viseme.wav2lip.estimator import SURE, expert

QUIET = ("trainer.progress=false", "trainer.max_epochs=1")


def run(app: App, *words: object) -> str:
    outcome = run_command(app, words)
    assert outcome.code == 0, outcome.err
    return outcome.out


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("espeakng_loader", reason="the embedded corpus speaks with espeak-ng (viseme-core[synthetic])")
    root = tmp_path_factory.mktemp("together") / "corpus"
    run(viseme, "corpus", root, "--clips", 5, "--seed", 7, "--size", 128, "--workers", 1)
    return root


@pytest.fixture(scope="module")
def store(corpus: Path) -> Path:
    """Prepared once, for all packages."""
    root = corpus.parent / "store"
    packages = "avsr,raven,lip2speech,wav2lip"
    run(viseme, "prepare", corpus / "manifest.csv", root, "--for", packages, "--workers", 1)
    return root


@pytest.fixture(scope="module")
def talking(corpus: Path) -> Path:
    manifest = Manifest.read(corpus / "manifest.csv")
    return manifest.file(manifest.filter(split="test")[0])


@pytest.fixture(scope="module")
def encoder(store: Path) -> Path:
    """Of lips, pre-trained without a word of text."""
    exp = store.parent / "exp"
    run(raven, "pretrain", "recipe=tiny_pretrain", f"data.root_dir={store}", f"exp_dir={exp}", QUIET[0])
    return exp / "tiny_pretrain" / "video"


@pytest.fixture(scope="module")
def recogniser(store: Path, encoder: Path) -> Path:
    """Reads lips, sound or both; its lip front-end began as the encoder's."""
    exp = store.parent / "exp"
    options = [f"data.root_dir={store}", f"exp_dir={exp}", f"transfer_frontend={encoder}", "average=1", *QUIET]
    run(avsr, "train", "recipe=tiny", *options, "optim.lr=1e-9")
    return exp / "tiny" / "model"


@pytest.fixture(scope="module")
def speaker(store: Path, encoder: Path) -> Path:
    """Speaks from lips; its visual front began as the encoder's."""
    out = store.parent / "speaker"
    options = ["recipe=multitask_demo", "model=multitask_tiny", "model.widths=[4,8,8,16]", f"data.data={store}"]
    options += [f"checkpoint_dir={out}", f"visual_front_checkpoint={encoder}", "optim.lr=1e-9", *QUIET]
    run(lip2speech, "train", *options)
    return out / "model"


@pytest.fixture(scope="module")
def syncer(store: Path) -> dict[str, Path]:
    """Expert and generator, trained on the same store."""
    exp = store.parent / "wav2lip"
    options = ["recipe=tiny", f"data.root_dir={store / 'face'}", f"exp_dir={exp}"]
    run(wav2lip, "train-sync", *options, "sync_trainer.progress=false", "sync_trainer.max_epochs=1")
    run(wav2lip, "train", *options, *QUIET)
    return {name: exp / "tiny" / name / "model" for name in ("expert", "generator")}


def test_one_store_has_what_each_package_trains_on(store: Path) -> None:
    manifest = Manifest.read(store / "manifest.csv")
    assert len(manifest) == 5
    for row in manifest:
        assert probe(manifest.file(row)).width == probe(store / row.extra["mouth68_path"]).width == 96
        assert (store / row.extra["lips_path"]).is_file()
        assert len(list((store / row.extra["face_path"]).glob("*.jpg"))) >= 0.9 * (row.frames or 0)
    assert not (store / "failures.csv").exists() or len((store / "failures.csv").read_text().splitlines()) == 1


def test_ravens_encoder_starts_avsr(encoder: Path, recogniser: Path) -> None:
    mine, theirs = load_model_dir(recogniser).state, load_model_dir(encoder).state
    weights = [key for key in theirs if key.startswith("frontend.") and key.endswith(("conv1.weight", "conv2.weight"))]
    assert len(weights) == 16
    for key in weights:
        torch.testing.assert_close(mine[f"video.{key}"], theirs[key], atol=1e-5, rtol=0)


def test_ravens_encoder_starts_lip2speech(encoder: Path, speaker: Path) -> None:
    mine, theirs = load_model_dir(speaker).state, load_model_dir(encoder).state
    weights = [key for key in theirs if key.startswith("frontend.trunk.") and key.endswith("conv1.weight")]
    assert len(weights) == 8
    for key in weights:
        ours = "visual_front.resnet.resnet." + key.removeprefix("frontend.trunk.")
        torch.testing.assert_close(mine[ours], theirs[key], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        mine["visual_front.frontend.0.weight"], theirs["frontend.frontend3D.0.weight"], atol=1e-5, rtol=0
    )


def test_avsr_hears_lip2speech_and_the_expert_judges_it(
    talking: Path, speaker: Path, recogniser: Path, syncer: dict[str, Path], tmp_path: Path
) -> None:
    sound, video = tmp_path / "spoken.wav", tmp_path / "spoken.mp4"
    run(lip2speech, "speak", talking, "--model", speaker, "--out", sound, "--video", video, "--device", "cpu")
    (heard,) = load_recogniser(f"avsr:{recogniser}")([read_audio(sound).samples])
    assert isinstance(heard, str)
    found = AVSR.from_pretrained(recogniser, device="cpu").transcribe(video)
    assert found.modality == "audiovisual"
    assert found.duration_s == pytest.approx(probe(talking).duration_s, abs=0.1)
    score = expert(syncer["expert"])(read_clip(video))
    assert np.isfinite([score.lse_d, score.lse_c]).all() and 0 <= score.lse_d <= 2**0.5
    assert not score.sure, "an expert after one epoch cannot be"


def test_avsr_transcribes_what_wav2lip_made(
    talking: Path, recogniser: Path, syncer: dict[str, Path], tmp_path: Path
) -> None:
    synced, out = tmp_path / "synced.mp4", tmp_path / "words.txt"
    run(
        wav2lip, "sync", "--face", talking, "--audio", talking, "--model", syncer["generator"], "--out", synced,
        "--device", "cpu",
    )  # fmt: skip
    run(avsr, "transcribe", synced, "--model", recogniser, "--modality", "video", "--device", "cpu", "--out", out)
    assert len(out.read_text().splitlines()) == 1


def test_lip2speech_evaluates_through_avsr(store: Path, speaker: Path, recogniser: Path, tmp_path: Path) -> None:
    options = ["recipe=multitask_demo", f"data.data={store}", f"evaluate.model={speaker}", "evaluate.workers=1"]
    options += [f"evaluate.recogniser=avsr:{recogniser}", f"evaluate.out={tmp_path}", "data.test_split=trainval"]
    run(lip2speech, "evaluate", *options, "evaluate.limit=2")
    assert (tmp_path / "results.json").is_file()


def test_one_harness_measures_them_all(
    store: Path, recogniser: Path, speaker: Path, syncer: dict[str, Path], tmp_path: Path
) -> None:
    cases: list[tuple[Path, str, list[str]]] = [
        (recogniser, "test", ["evaluate.greedy=true"]),
        (speaker, "test", ["evaluate.workers=1"]),
        (syncer["generator"], "train", ["evaluate.limit=2"]),
    ]
    for model, split, more in cases:
        out = tmp_path / model.parent.name
        options = ["--data", store, "--out", out, "--split", split, "--device", "cpu"]
        run(viseme, "evaluate", model, *options, "--set", *more)
        found = read_evaluation(out)
        assert found.synthetic and found.rows and found.clips
        assert len(found.provenance["model_sha256"]) == len(found.provenance["data_sha256"]) == 64
        assert "SYNTHETIC" in (out / "results.html").read_text(encoding="utf-8")
    same = run(viseme, "compare", tmp_path / "tiny", tmp_path / "tiny")
    assert "could be chance" in same and "modality audiovisual" in same


class TestOffsets:
    """Preparation with a sync model of wav2lip: what is sure is mended, everything else is left and noted."""

    @pytest.fixture
    def shifted(self, talking: Path, tmp_path: Path) -> Path:
        """The clip with its sound four frames late."""
        clip = read_clip(talking)
        assert clip.video is not None and clip.audio is not None
        late = np.concatenate((np.zeros(4 * 640, np.float32), clip.audio.samples))[: len(clip.audio.samples)]
        path = tmp_path / "late" / "clip.mp4"
        path.parent.mkdir()
        write_video(path, Video(clip.video.frames, 25.0), Audio(late, 16000))
        return path.parent

    def prepared(self, source: Path, out: Path, model: str) -> dict[str, str]:
        run(viseme, "prepare", source, out, "--workers", 1, "--sync", model)
        with (out / "manifest.csv").open(encoding="utf-8", newline="") as lines:
            (row,) = csv.DictReader(lines)
        return row

    def test_an_expert_that_knows_nothing_changes_nothing(
        self, shifted: Path, syncer: dict[str, Path], tmp_path: Path
    ) -> None:
        row = self.prepared(shifted, tmp_path / "store", f"viseme.wav2lip.estimator:expert={syncer['expert']}")
        assert row.get("av_sync", "") in ("", "unsure")
        assert float(row["av_confidence"]) < SURE

    def test_a_sure_one_mends(
        self, shifted: Path, talking: Path, syncer: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As above, with distances as a trained expert gives them: lips and sound four frames apart."""
        from viseme.wav2lip import estimator

        generator = torch.Generator().manual_seed(0)
        lips = torch.nn.functional.normalize(torch.randn(60, 16, generator=generator), dim=1)
        monkeypatch.setattr(estimator, "embed_windows", lambda *given: (lips, torch.roll(lips, 4, 0)))
        model = f"viseme.wav2lip.estimator:expert={syncer['expert']}"
        row = self.prepared(shifted, tmp_path / "store", model)
        assert (row["av_sync"], row["av_offset_frames"]) == ("corrected", "-4")
        mended = read_audio(tmp_path / "store" / row["audio"]).samples
        before = read_audio(talking).samples
        assert np.corrcoef(mended[:20000], before[:20000])[0, 1] > 0.95


def test_every_package_answers_the_same_verbs() -> None:
    from viseme.im2speech.cli import app as im2speech

    for app in (avsr, raven, lip2speech, im2speech, wav2lip):
        assert {"prepare", "train", "evaluate", "convert", "doctor"} <= set(app.verbs), app.prog
