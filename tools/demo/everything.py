"""All five packages, small, on the embedded corpora: each trained, measured, and heard or seen in one report.

One store serves four of them. Every stage is a command that a user could type, in a process of its own with one thread
(the networks are too small to share their operations out among threads), so that as many packages are at work as there
are cores. Results stay: a demo that was stopped goes on after the last whole stage. A stage that fails ends its
package, is named in the report and at the end, and holds up no other package.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.demo.folder import DemoFolder, say
from tools.demo.gallery import TITLES, write_gallery

from viseme.core.cli import compose
from viseme.core.data import Manifest
from viseme.core.errors import DataError

__all__ = ["Everything"]

SAMPLES = 4
"""Clips of each package in the report."""
PICTURES = 5
"""Rendered scenes for each talking clip: they cost little, and a captioner wants many."""


@dataclass(frozen=True)
class Stage:
    """A step: passed over where `result` is there.

    Attributes:
        name: `package: what`.
        result: file that it leaves.
        work: does it; writes what is said into the file it is given.
    """

    name: str
    result: Path
    work: Callable[[Path], object]


class StageError(Exception):
    """A command of a stage failed; its words are in the log."""


@dataclass
class Everything:
    """One run of the demo of all packages.

    Attributes:
        out: folder for everything.
        clips: talking clips; there are five times as many pictures.
        seed: of corpora and training.
        minutes: of each network's training (two and a half times that for avsr); nine times as long together, and
            half as much again for everything else, on as many cores as there are.
        workers: packages at work at a time.
    """

    out: Path
    clips: int = 1000
    seed: int = 0
    minutes: float = 4.0
    workers: int = min(2, os.cpu_count() or 1)

    def run(self) -> None:
        """All stages, then the report.

        Raises:
            DataError: a package failed; the report shows the others.
        """
        self.out = self.out.absolute()
        self.out.mkdir(parents=True, exist_ok=True)
        settings = {"clips": self.clips, "seed": self.seed, "minutes": self.minutes}
        self._folder = DemoFolder(self.out / "demo_all.json", settings)
        self._ended = {name: threading.Event() for name in TITLES}
        started = time.monotonic()
        failed: dict[str, str] = {}
        if said := self._chain(self._data()):
            raise DataError("the demo stops: there is nothing to train on", path=self.out, got=said)
        # So that two at a time end together, and avsr, through which lip2speech is heard, before that one is measured.
        chains = {
            "im2speech": self._im2speech,
            "wav2lip": self._wav2lip,
            "raven": self._raven,
            "avsr": self._avsr,
            "lip2speech": self._lip2speech,
        }

        def work(package: str) -> None:
            try:
                if said := self._chain(chains[package]()):
                    failed[package] = said
            except Exception as error:  # of ours, not of a command: the other packages go on all the same
                failed[package] = f"{type(error).__name__}: {error}"
            finally:
                self._ended[package].set()

        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(work, chains))
        self._folder.took("all, on the clock", time.monotonic() - started)
        page = write_gallery(self.out, self._folder.seconds, failed)
        say(f"{self._folder.seconds['all, on the clock']:.0f} s; look at {page}, or try them: viseme demo {self.out}")
        if failed:
            reasons = "; ".join(f"{name}: {said}" for name, said in failed.items())
            raise DataError(f"{len(failed)} of {len(chains)} packages failed", path=self.out / "logs", got=reasons)

    def _chain(self, stages: list[Stage]) -> str:
        """Stages one after another; why they ended early, or nothing."""
        for stage in stages:
            if stage.result.exists():
                say(f"{stage.name}: already there ({stage.result})")
                continue
            say(f"{stage.name} ...")
            log = made(self.out / "logs") / f"{stage.name.replace(': ', '_').replace(' ', '_')}.log"
            log.unlink(missing_ok=True)
            start = time.monotonic()
            try:
                stage.work(log)
            except StageError as error:
                say(f"{stage.name}: FAILED; {error}")
                return f"{stage.name}: {error}"
            if not stage.result.exists():
                say(f"{stage.name}: FAILED; it left no {stage.result}")
                return f"{stage.name}: left no {stage.result}"
            self._folder.took(stage.name, time.monotonic() - start)
            say(f"{stage.name}: {self._folder.seconds[stage.name]:.0f} s")
        return ""

    def _training(self, share: float = 1.0, group: str = "trainer") -> list[str]:
        """Overrides of every training."""
        return [f"{group}.seed={self.seed}", f"{group}.max_minutes={share * self.minutes:g}", f"{group}.progress=false"]

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
                "viseme", "scenes", self.scenes, "--clips", PICTURES * self.clips, *seed,
            ),
        ]  # fmt: skip

    def _avsr(self) -> list[Stage]:
        run = self.out / "avsr"
        model = run / "model"
        options = ["recipe=demo", f"data.root_dir={self.store}", f"exp_dir={self.out}", "exp_name=avsr"]

        return [
            self._stage("avsr: train", model / "checksums.json", "avsr", "train", *options, *self._training(2.5)),
            self._evaluation("avsr", model),
            self._transcription("avsr", model, "--modality", "video"),
        ]  # fmt: skip

    def _raven(self) -> list[Stage]:
        pretrained = self.out / "raven_pretrain"
        run = self.out / "raven"
        common = [f"data.root_dir={self.store}", f"exp_dir={self.out}"]
        start = f"pretrained_model_path={pretrained / 'video'}"
        return [
            self._stage(
                "raven: pretrain", pretrained / "video" / "checksums.json",
                "raven", "pretrain", "recipe=small_pretrain", *common, "exp_name=raven_pretrain", *self._training(0.8),
            ),
            self._stage(
                "raven: fine-tune", run / "model" / "checksums.json",
                "raven", "train", "recipe=small_vsr", *common, "exp_name=raven", start, *self._training(0.7),
            ),
            self._evaluation("raven", run / "model"),
            self._transcription("raven", run / "model"),
        ]  # fmt: skip

    def _lip2speech(self) -> list[Stage]:
        run = self.out / "lip2speech"
        model = run / "model"
        options = ["recipe=multitask_demo", f"data.data={self.store}", f"checkpoint_dir={run}"]

        def evaluate(log: Path) -> None:
            self._ended["avsr"].wait()  # it is heard through avsr's recogniser, where there is one
            hearing = self.out / "avsr" / "model"
            hear = [f"evaluate.recogniser=avsr:{hearing}"] if (hearing / "checksums.json").exists() else []
            self._evaluation("lip2speech", model, "evaluate.voice=model", *hear).work(log)

        def speak(log: Path) -> None:
            folder = made(run / "said")
            for number, clip in enumerate(self.test_clips()):
                sound, video = folder / f"{number}.wav", folder / f"{number}.mp4"
                command(log, "lip2speech", "speak", clip, "--model", model, "--out", sound, "--video", video)
            (folder / "done").touch()

        return [
            self._stage(
                "lip2speech: train", model / "checksums.json", "lip2speech", "train", *options, *self._training()
            ),
            Stage("lip2speech: speak", run / "said" / "done", speak),
            Stage("lip2speech: evaluate", run / "evaluation" / "results.html", evaluate),
        ]

    def _wav2lip(self) -> list[Stage]:
        run = self.out / "wav2lip"
        generator = run / "generator" / "model"
        common = [f"data.root_dir={self.store / 'face'}", f"exp_dir={self.out}", "exp_name=wav2lip"]

        def sync(log: Path) -> None:
            folder, clips = made(run / "said"), self.test_clips()
            for number, (face, voice) in enumerate(zip(clips, [*clips[1:], clips[0]], strict=True)):
                out = folder / f"{number}.mp4"
                voiced = ["--face", face, "--audio", voice, "--model", generator, "--out", out]
                command(log, "wav2lip", "sync", *voiced, "--label")
            (folder / "done").touch()

        return [
            self._stage(
                "wav2lip: sync expert", run / "expert" / "model" / "checksums.json",
                "wav2lip", "train-sync", "recipe=demo", *common, *self._training(0.8, "sync_trainer"),
            ),
            self._stage(
                "wav2lip: generator", generator / "checksums.json",
                "wav2lip", "train", "recipe=demo", *common, *self._training(),
            ),
            self._evaluation("wav2lip", generator, "evaluate.limit=20"),
            Stage("wav2lip: sync", run / "said" / "done", sync),
        ]  # fmt: skip

    def _im2speech(self) -> list[Stage]:
        run, scenes = self.out / "im2speech", self.scenes
        common = [f"data.root_dir={scenes}", f"exp_dir={self.out}"]
        units, voice = self.out / "im2speech_units" / "model", self.out / "im2speech_voice" / "model"

        # A warm-up that ends long before the training of a small corpus does.
        recipe = compose("viseme.im2speech", ["recipe=demo"], missing_ok=True)
        clips = len(Manifest.read(scenes / "manifest.csv").filter(split="train"))
        steps = math.ceil(clips / recipe.data.batch_size) * recipe.trainer.max_epochs
        warmup = f"optim.warmup_steps={max(1, min(recipe.optim.warmup_steps, steps // 10))}"

        def describe(log: Path) -> None:
            folder = made(run / "said")
            manifest = Manifest.read(scenes / "manifest.csv")
            test = list(manifest.filter(split="test"))
            pictures = []
            for number, row in enumerate(test[:: max(1, len(test) // SAMPLES)][:SAMPLES]):
                picture = manifest.file(row)
                pictures.append(folder / f"{number}{picture.suffix}")
                pictures[-1].write_bytes(picture.read_bytes())
            command(log, "im2speech", "describe", *pictures, "--model", run / "model", "--out", folder)
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
                warmup, *self._training(),
            ),
            self._evaluation("im2speech", run / "model", f"evaluate.units={units}", "evaluate.limit=60", data=scenes),
            Stage("im2speech: describe", run / "said" / "done", describe),
        ]  # fmt: skip

    def _transcription(self, package: str, model: Path, *options: str) -> Stage:
        out = self.out / package / "said" / "words.jsonl"

        def transcribe(log: Path) -> None:
            made(out.parent)
            words = ["transcribe", *self.test_clips(), "--model", model, *options, "--json", "--out", out]
            command(log, package, *words)

        return Stage(f"{package}: transcribe", out, transcribe)

    def _evaluation(self, package: str, model: Path, *keys: str, data: Path | None = None) -> Stage:
        out = self.out / package / "evaluation"
        words = ["evaluate", model, "--data", data or self.store, "--out", out, *(["--set", *keys] if keys else [])]
        return self._stage(f"{package}: evaluate", out / "results.html", "viseme", *words)

    @staticmethod
    def _stage(name: str, result: Path, prog: str, *words: object) -> Stage:
        return Stage(name, result, lambda log: command(log, prog, *words))


def command(log: Path, prog: str, *words: object) -> None:
    """Run one of our commands in a process of one thread; what it says goes into the log.

    Raises:
        StageError: it failed; with its last line and the command to try by hand.
    """
    module = "viseme.core.cli.viseme" if prog == "viseme" else f"viseme.{prog}.cli"
    line = [str(word) for word in words]
    with log.open("a", encoding="utf-8") as output:
        done = subprocess.run(
            [sys.executable, "-m", module, *line],
            stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
        )  # fmt: skip
    if done.returncode:
        said = [text for text in log.read_text(encoding="utf-8", errors="replace").splitlines() if text.strip()]
        raise StageError(f"{said[-1].strip() if said else 'no word'} ({log}; by hand: {prog} {' '.join(line)})")


def made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
