"""A pickle is a program. In every place that a weight can come from (converters, starts and resumes of trainings, model
directories, recognisers, experts, vocoders, units, landmarks, the features of FID), a file that would run one is
refused by name and runs nothing."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from tests.integration.hostile import LAYOUTS, Evil, hostile_weights

from viseme.avsr import AVSR
from viseme.avsr import train as avsr_train
from viseme.avsr.convert import convert_file as convert_avsr
from viseme.avsr.language_model import load_language_model
from viseme.core.checkpoint import average_states, load_model_dir, read_object, read_published, save_model_dir
from viseme.core.errors import VisemeError
from viseme.core.faces.landmark_files import read_landmarks
from viseme.core.metrics.recogniser import load_recogniser
from viseme.core.prepare.sync import load_estimator
from viseme.core.training import TrainerConfig, build_trainer, fit
from viseme.im2speech import Im2Speech
from viseme.im2speech import initial as im2speech_initial
from viseme.im2speech import train as im2speech_train
from viseme.im2speech.published import read_kmeans, read_tokenizer, read_unit_file
from viseme.im2speech.units import UnitExtractor
from viseme.lip2speech import Lip2Speech
from viseme.lip2speech import train as lip2speech_train
from viseme.lip2speech.scoring import load_sync_scorer
from viseme.lip2speech.vocoder import load_vocoder
from viseme.raven import RAVEn
from viseme.raven.train import encoder_weights
from viseme.wav2lip import Wav2Lip
from viseme.wav2lip.estimator import expert
from viseme.wav2lip.published import read_checkpoint
from viseme.wav2lip.weights import load_network

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """Where a weight comes in; `read` is given the hostile file, or a model directory whose weights it is."""

    name: str
    read: Callable[[Path], object]
    directory: bool = False


def keys(**values: object) -> Any:
    """A configuration in which nothing else is set."""

    class Unset(SimpleNamespace):
        def __getattr__(self, name: str) -> None:
            return None

        def __getitem__(self, name: str) -> object:
            return getattr(self, name)

    return Unset(**values)


class Line(LightningModule):
    """The least that can be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.line(batch).mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def resume(evil: Path, *, named: bool) -> None:
    run = evil.parent / "run"
    run.mkdir(exist_ok=True)
    if not named:
        shutil.copy(evil, run / "last.ckpt")
    trainer = build_trainer(TrainerConfig(accelerator="cpu", max_epochs=1, progress=False), run)
    fit(trainer, Line(), torch.utils.data.DataLoader(torch.ones(2, 1)), resume=evil if named else "auto")


CODES: Any = SimpleNamespace(config=SimpleNamespace(image="codes"), codebook=torch.zeros(1, 1), tokenizer=None)


def captioner(**values: Path) -> None:
    im2speech_initial.initialise(CODES, keys(**values))


PLACES = [
    Place("core: published file", read_published),
    Place("core: any checkpoint", read_object),
    Place("core: TorchScript asked for", lambda p: read_published(p, torchscript=True)),
    Place("core: averaging", lambda p: average_states([p, p])),
    Place("core: resume, by name", lambda p: resume(p, named=True)),
    Place("core: resume, of the run", lambda p: resume(p, named=False)),
    Place("core: landmarks", read_landmarks),
    Place("core: model directory", load_model_dir, directory=True),
    Place("core: recogniser of results", lambda p: load_recogniser(f"avsr:{p}"), directory=True),
    Place("avsr: convert", lambda p: convert_avsr(p, p.parent / "out")),
    Place("avsr: start", lambda p: avsr_train._initialise(None, keys(pretrained_model_path=p))),  # type: ignore[arg-type]
    Place("avsr: front-end", lambda p: avsr_train._initialise(None, keys(transfer_frontend=str(p)))),  # type: ignore[arg-type]
    Place("avsr: encoder", lambda p: avsr_train._initialise(None, keys(transfer_encoder=str(p)))),  # type: ignore[arg-type]
    Place("avsr: model", AVSR.from_pretrained, directory=True),
    Place("avsr: language model", load_language_model, directory=True),
    Place("raven: encoder file", lambda p: encoder_weights(p, "video")),
    Place("raven: encoder", lambda p: encoder_weights(p, "video"), directory=True),
    Place("raven: model", RAVEn.from_pretrained, directory=True),
    Place("lip2speech: start", lambda p: lip2speech_train._initialise(None, keys(checkpoint=p))),
    Place("lip2speech: front", lambda p: lip2speech_train._initialise(None, keys(visual_front_checkpoint=p))),
    Place("lip2speech: supervision", lip2speech_train.read_recogniser),
    Place("lip2speech: SyncNet", load_sync_scorer),
    Place("lip2speech: vocoder", load_vocoder, directory=True),
    Place("lip2speech: model", Lip2Speech.from_pretrained, directory=True),
    Place("im2speech: start", lambda p: captioner(pretrained_model_path=p)),
    Place("im2speech: GIT", lambda p: captioner(pretrained_git=p)),
    Place("im2speech: ViT of codes", lambda p: captioner(pretrained_token_vit=p)),
    Place("im2speech: tokenizer", lambda p: captioner(tokenizer_path=p)),
    Place("im2speech: tokenizer to convert", read_tokenizer),
    Place("im2speech: codebook", lambda p: captioner(codebook_path=p)),
    Place("im2speech: HuBERT", im2speech_train.load_hubert),
    Place("im2speech: k-means", read_kmeans),
    Place("im2speech: units", read_unit_file),
    Place("im2speech: unit extractor", UnitExtractor.load, directory=True),
    Place("im2speech: vocoder", im2speech_train.load_vocoder, directory=True),
    Place("im2speech: model", Im2Speech.from_pretrained, directory=True),
    Place("wav2lip: published file", read_checkpoint),
    Place("wav2lip: generator", lambda p: load_network(p, "generator")),
    Place("wav2lip: network", lambda p: load_network(p, "expert"), directory=True),
    Place("wav2lip: sync model of prepare", lambda p: load_estimator(f"viseme.wav2lip.estimator:expert={p}")),
    Place("wav2lip: expert", expert, directory=True),
    Place("wav2lip: model", Wav2Lip.from_pretrained),
]


def model_directory(folder: Path, evil: Path) -> Path:
    """A model directory whose weights are the hostile file, with a checksum that is right."""
    save_model_dir(folder, {"package": "avsr", "kind": "encoder", "part": "units"}, {"x": torch.ones(1)})
    content = evil.read_bytes()
    (folder / "model.safetensors").write_bytes(content)
    listing = json.loads((folder / "checksums.json").read_text())
    entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert listing["files"]["model.safetensors"].keys() == entry.keys()
    listing["files"]["model.safetensors"] = entry
    (folder / "checksums.json").write_text(json.dumps(listing))
    return folder


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_refused_by_name_and_not_run(place: Place, tmp_path: Path) -> None:
    for layout in LAYOUTS:
        work = tmp_path / layout
        work.mkdir()
        evil, flag = hostile_weights(work, layout)
        given = model_directory(work / "model", evil) if place.directory else evil
        with pytest.raises(VisemeError) as said:
            place.read(given)
        assert not flag.exists(), f"{layout}: it was run"
        assert str(work) in str(said.value), f"{layout}: refused before it was read: {said.value}"


def test_arrays_of_objects_are_pickles_too(tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    hostile = np.array([Evil(flag)], dtype=object)
    np.save(tmp_path / "centres.npy", hostile, allow_pickle=True)
    np.savez(tmp_path / "clip.npz", landmarks=hostile)
    for read, name in ((read_kmeans, "centres.npy"), (read_landmarks, "centres.npy"), (read_landmarks, "clip.npz")):
        with pytest.raises(VisemeError):
            read(tmp_path / name)
        assert not flag.exists()
    with pytest.raises(Exception):  # noqa: B017 - hostile indeed
        np.load(tmp_path / "centres.npy", allow_pickle=True)[0].flag  # noqa: B018
    assert flag.exists()


# ------------------------------------------------------------------------------------------------------------- the rest

DANGEROUS = {
    "torch.jit.load": "reading.py",
    "pickle.load": "",
    "pickle.loads": "",
    "joblib.load": "",
    "yaml.load": "",
    "yaml.unsafe_load": "",
    "shutil.unpack_archive": "",
    "os.system": "",
    "os.popen": "",
}
ATTRIBUTES = {"extractall", "extract"}


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_there_is_no_other_way_in() -> None:
    """What runs, or unpacks to where a file says, is called in one reader alone, which all of the above use."""
    found = []
    for path in sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("tools/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name, given = _dotted(node.func), {k.arg: k.value for k in node.keywords}
            wrong = (
                (name in DANGEROUS and path.name != DANGEROUS[name])
                or (isinstance(node.func, ast.Attribute) and node.func.attr in ATTRIBUTES)
                or (name in ("eval", "exec"))
                or any(
                    isinstance(given.get(key), ast.Constant) and given[key].value is bad
                    for key, bad in (("allow_pickle", True), ("weights_only", False), ("shell", True))
                )
                or (name == "torch.load" and not getattr(given.get("weights_only"), "value", False))
                or (name in ("np.load", "numpy.load") and isinstance(given.get("allow_pickle"), ast.Constant)
                    and given["allow_pickle"].value is not False)
            )  # fmt: skip
            if wrong:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")
    assert not found, "\n".join(found)
