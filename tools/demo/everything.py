"""All five packages, small, on the embedded corpora: each trained, measured, and heard or seen in one report.

One store serves four of them. Every stage is a command that a user could type; its result stays, and a demo that was
stopped goes on after the last whole stage.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.demo.gallery import write_gallery

from viseme.core.cli import App
from viseme.core.data import Manifest
from viseme.core.errors import DataError
from viseme.core.files import write_text_atomic

__all__ = ["Everything"]

SAMPLES = 4
"""Clips of each package in the report."""


@dataclass(frozen=True)
class Stage:
    """A step: passed over where `result` is there."""

    name: str
    result: Path
    work: Callable[[], object]


@dataclass
class Everything:
    """One run of the demo of all packages.

    Attributes:
        out: folder for everything.
        clips: talking clips; there are as many pictures and half again.
        seed: of corpora and training.
        minutes: the longest that each network is trained; the whole takes about six times as long.
    """

    out: Path
    clips: int = 1500
    seed: int = 0
    minutes: float = 3.0

    def run(self) -> None:
        """All stages in order, then the report."""
        self.out = self.out.absolute()
        self.out.mkdir(parents=True, exist_ok=True)
        self._claim()
        for stage in self.stages():
            if stage.result.exists():
                say(f"{stage.name}: already there ({stage.result})")
                continue
            say(f"{stage.name} ...")
            start = time.monotonic()
            stage.work()
            if not stage.result.exists():
                raise DataError(f"the stage {stage.name!r} left no result", path=stage.result)
            self.seconds[stage.name] = round(time.monotonic() - start, 1)
            self._remember()
            say(f"{stage.name}: {self.seconds[stage.name]:.0f} s")
        page = write_gallery(self.out, self.seconds)
        say(f"total {sum(self.seconds.values()):.0f} s; look at {page}, or try them: viseme demo {self.out}")

    def stages(self) -> list[Stage]:
        """Everything that is done, in order."""
        return [*self._data(), *self._avsr(), *self._raven(), *self._lip2speech(), *self._wav2lip(), *self._im2speech()]

    # ------------------------------------------------------------------------------------------------- bookkeeping

    def _claim(self) -> None:
        """Refuse to mix two demos in one folder; take up the times of the stages done before."""
        self._settings = {"clips": self.clips, "seed": self.seed, "minutes": self.minutes}
        self._path = self.out / "demo_all.json"
        self.seconds: dict[str, float] = {}
        if self._path.exists():
            found = json.loads(self._path.read_text(encoding="utf-8"))
            if {name: found.get(name) for name in self._settings} != self._settings:
                hint = "Choose another --out."
                raise DataError("another demo is there", path=self.out, expected=self._settings, got=found, hint=hint)
            self.seconds = found["seconds"]
        self._remember()

    def _remember(self) -> None:
        write_text_atomic(self._path, json.dumps({**self._settings, "seconds": self.seconds}, indent=2) + "\n")

    def _training(self, share: float = 1.0, group: str = "trainer") -> list[str]:
        """Overrides of every training."""
        return [f"{group}.seed={self.seed}", f"{group}.max_minutes={share * self.minutes:g}"]

    # ------------------------------------------------------------------------------------------------------ stages

    @property
    def store(self) -> Path:
        return self.out / "store"

    @property
    def scenes(self) -> Path:
        return self.out / "scenes"

    def test_clips(self) -> list[Path]:
        """Raw videos that nothing was trained on."""
        manifest = Manifest.read(self.out / "corpus" / "manifest.csv")
        test = manifest.filter(split="test")
        return [manifest.file(row) for row in list(test)[:: max(1, len(test) // SAMPLES)][:SAMPLES]]

    def _data(self) -> list[Stage]:
        corpus, seed = self.out / "corpus", ("--seed", self.seed)
        return [
            self._stage("corpus", corpus / "manifest.csv", "viseme", "corpus", corpus, "--clips", self.clips, *seed),
            self._stage(
                "prepare for four packages", self.store / "manifest.csv",
                "viseme", "prepare", corpus / "manifest.csv", self.store, "--for", "avsr,raven,lip2speech,wav2lip",
            ),
            self._stage(
                "scenes", self.scenes / "manifest.csv",
                "viseme", "scenes", self.scenes, "--clips", self.clips * 3 // 2, *seed,
            ),
        ]  # fmt: skip

    def _avsr(self) -> list[Stage]:
        run = self.out / "avsr"
        model = run / "model"
        options = ["recipe=demo", f"data.root_dir={self.store}", f"exp_dir={self.out}", "exp_name=avsr"]

        def transcribe() -> None:
            out = made(run / "said") / "words.jsonl"
            lips = ["--model", model, "--modality", "video"]
            command("avsr", "transcribe", *self.test_clips(), *lips, "--json", "--out", out)

        return [
            self._stage("avsr: train", model / "checksums.json", "avsr", "train", *options, *self._training(1.5)),
            self._evaluation("avsr", model),
            Stage("avsr: transcribe", run / "said" / "words.jsonl", transcribe),
        ]  # fmt: skip

    def _raven(self) -> list[Stage]:
        pretrained = self.out / "raven_pretrain"
        run = self.out / "raven"
        common = [f"data.root_dir={self.store}", f"exp_dir={self.out}"]
        start = f"pretrained_model_path={pretrained / 'video'}"
        return [
            self._stage(
                "raven: pretrain", pretrained / "video" / "checksums.json",
                "raven", "pretrain", "recipe=small_pretrain", *common, "exp_name=raven_pretrain", *self._training(),
            ),
            self._stage(
                "raven: fine-tune", run / "model" / "checksums.json",
                "raven", "train", "recipe=small_vsr", *common, "exp_name=raven", start, *self._training(0.5),
            ),
            self._evaluation("raven", run / "model"),
        ]  # fmt: skip

    def _lip2speech(self) -> list[Stage]:
        run = self.out / "lip2speech"
        model = run / "model"
        options = ["recipe=multitask_demo", f"data.data={self.store}", f"checkpoint_dir={run}"]
        hear = [f"evaluate.recogniser=avsr:{self.out / 'avsr' / 'model'}", "evaluate.voice=model"]

        def speak() -> None:
            folder = made(run / "said")
            for number, clip in enumerate(self.test_clips()):
                sound, video = folder / f"{number}.wav", folder / f"{number}.mp4"
                command("lip2speech", "speak", clip, "--model", model, "--out", sound, "--video", video)
            (folder / "done").touch()

        return [
            self._stage(
                "lip2speech: train", model / "checksums.json", "lip2speech", "train", *options, *self._training()
            ),
            self._evaluation("lip2speech", model, *hear),
            Stage("lip2speech: speak", run / "said" / "done", speak),
        ]

    def _wav2lip(self) -> list[Stage]:
        run = self.out / "wav2lip"
        generator = run / "generator" / "model"
        common = [f"data.root_dir={self.store / 'face'}", f"exp_dir={self.out}", "exp_name=wav2lip"]

        def sync() -> None:
            folder, clips = made(run / "said"), self.test_clips()
            for number, (face, voice) in enumerate(zip(clips, [*clips[1:], clips[0]], strict=True)):
                out = folder / f"{number}.mp4"
                command(
                    "wav2lip", "sync", "--face", face, "--audio", voice, "--model", generator, "--out", out, "--label"
                )
            (folder / "done").touch()

        return [
            self._stage(
                "wav2lip: sync expert", run / "expert" / "model" / "checksums.json",
                "wav2lip", "train-sync", "recipe=quick", *common, *self._training(group="sync_trainer"),
            ),
            self._stage(
                "wav2lip: generator", generator / "checksums.json",
                "wav2lip", "train", "recipe=quick", *common, *self._training(),
            ),
            self._evaluation("wav2lip", generator, "evaluate.limit=20"),
            Stage("wav2lip: sync", run / "said" / "done", sync),
        ]  # fmt: skip

    def _im2speech(self) -> list[Stage]:
        run, scenes = self.out / "im2speech", self.scenes
        common = [f"data.root_dir={scenes}", f"exp_dir={self.out}"]
        units, voice = self.out / "im2speech_units" / "model", self.out / "im2speech_voice" / "model"

        def describe() -> None:
            folder = made(run / "said")
            manifest = Manifest.read(scenes / "manifest.csv")
            test = list(manifest.filter(split="test"))
            for number, row in enumerate(test[:: max(1, len(test) // SAMPLES)][:SAMPLES]):
                picture = manifest.file(row)
                (folder / f"{number}{picture.suffix}").write_bytes(picture.read_bytes())
                command("im2speech", "describe", picture, "--model", run / "model", "--out", folder / f"{number}.wav")
            (folder / "done").touch()

        return [
            self._stage(
                "im2speech: units", units / "checksums.json",
                "im2speech", "train", "recipe=demo_units", *common, "exp_name=im2speech_units",
            ),
            self._stage(
                "im2speech: units of the corpus", scenes / "units.txt",
                "im2speech", "units", scenes / "manifest.csv", "--model", units, "--out", scenes / "units.txt",
            ),
            self._stage(
                "im2speech: voice", voice / "checksums.json",
                "im2speech", "train", "recipe=demo_vocoder", *common, "exp_name=im2speech_voice", *self._training(),
            ),
            self._stage(
                "im2speech: captioner", run / "model" / "checksums.json",
                "im2speech", "train", "recipe=demo", *common, "exp_name=im2speech", f"vocoder_path={voice}",
                *self._training(),
            ),
            self._evaluation("im2speech", run / "model", f"evaluate.units={units}", "evaluate.limit=60", data=scenes),
            Stage("im2speech: describe", run / "said" / "done", describe),
        ]  # fmt: skip

    def _evaluation(self, package: str, model: Path, *keys: str, data: Path | None = None) -> Stage:
        out = self.out / package / "evaluation"
        words = ["evaluate", model, "--data", data or self.store, "--out", out, *(["--set", *keys] if keys else [])]
        return self._stage(f"{package}: evaluate", out / "results.html", "viseme", *words)

    @staticmethod
    def _stage(name: str, result: Path, prog: str, *words: object) -> Stage:
        return Stage(name, result, lambda: command(prog, *words))


def command(prog: str, *words: object) -> None:
    """Run one of our commands in this process.

    Raises:
        DataError: it failed; it has said why.
    """
    app: App = importlib.import_module("viseme.core.cli.viseme" if prog == "viseme" else f"viseme.{prog}.cli").app
    line = [str(word) for word in words]
    if app.main(line):
        raise DataError(f"the demo stops: {prog} {line[0]} failed", hint=f"By hand: {prog} {' '.join(line)}")


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)
