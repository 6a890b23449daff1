"""The demo's stages. Each leaves its result in the output folder and is passed over when that is there already."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.demo.folder import DemoFolder, say
from tools.demo.report import write_report

from viseme.avsr.evaluate import Condition, evaluate, sweep, table, write
from viseme.avsr.pipeline import AVSR
from viseme.core.cli import track
from viseme.core.cli.progress import Counter
from viseme.core.data import Manifest
from viseme.core.errors import DataError
from viseme.core.files import write_text_atomic
from viseme.core.metrics import collect_provenance
from viseme.core.prepare import prepare
from viseme.core.synthetic import SYNTHETIC_NOTE, make_corpus
from viseme.core.training import History

__all__ = ["Demo"]

NOISES = ("babble", "white")
SNR_DB = 0.0
BATCH_FRAMES = 480
"""Of all processes together."""
AIMS = {"audiovisual": 0.05, "video": 0.30}
"""Word error rates that the demo is built to reach, clean."""


@dataclass
class Demo:
    """One run of the demo.

    Attributes:
        out: folder for everything.
        clips: size of the corpus.
        seed: of corpus, training and noise.
        overrides: of the recipe.
    """

    out: Path
    clips: int = 1500
    seed: int = 0
    overrides: tuple[str, ...] = ()

    def run(self) -> None:
        """All stages in order."""
        self.out.mkdir(parents=True, exist_ok=True)
        settings = {"clips": self.clips, "seed": self.seed, "overrides": list(self.overrides)}
        self._folder = DemoFolder(self.out / "demo.json", settings)
        self._stage("corpus", self.corpus / "manifest.csv", self._make_corpus)
        self._stage("prepare", self.store / "manifest.csv", self._prepare)
        self._stage("train", self.model / "checksums.json", self._train)
        self._stage("evaluate", self.out / "results.json", self._evaluate)
        self._stage("transcribe", self.out / "transcript.json", self._transcribe)
        self._report()

    @property
    def seconds(self) -> dict[str, float]:
        """What each stage took."""
        return self._folder.seconds

    @property
    def corpus(self) -> Path:
        return self.out / "corpus"

    @property
    def store(self) -> Path:
        return self.out / "store"

    @property
    def model(self) -> Path:
        return self.out / "model"

    # ---------------------------------------------------------------------------------------------- bookkeeping

    def _stage(self, name: str, result: Path, work: Callable[[], None]) -> None:
        if result.exists():
            say(f"{name}: already there ({result})")
            return
        say(f"{name} ...")
        start = time.monotonic()
        work()
        self._folder.took(name, time.monotonic() - start)
        say(f"{name}: {self.seconds[name]:.0f} s")

    # --------------------------------------------------------------------------------------------------- stages

    def _make_corpus(self) -> None:
        with Counter("rendering", unit="clips") as count:
            make_corpus(self.corpus, self.clips, self.seed, on_clip=count.update)

    def _prepare(self) -> None:
        report = prepare(self.corpus / "manifest.csv", self.store, progress=track)
        if report.failures:
            say(f"{len(report.failures)} clips could not be prepared: {report.failures_file}")

    def _train(self) -> None:
        """In two processes of one thread: a small network's operations are too short to share out among threads."""
        processes = min(2, os.cpu_count() or 1)
        command = [
            *(sys.executable, "-m", "viseme.avsr.cli", "train"),
            "recipe=demo",
            f"data.root_dir={self.store}",
            f"data.max_frames={BATCH_FRAMES // processes}",
            f"exp_dir={self.out.parent}",
            f"exp_name={self.out.name}",
            f"trainer.seed={self.seed}",
            f"trainer.devices={processes}",
            *self.overrides,
        ]
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode:
            raise DataError("training failed", path=self.out, got=f"exit code {done.returncode}", hint="See above.")

    def _evaluate(self) -> None:
        recogniser = AVSR.from_pretrained(self.model)
        clips = Manifest.read(self.store / "manifest.csv").filter(split="test")
        conditions: list[Condition] = sweep(recogniser.modalities, NOISES, [SNR_DB])
        result = evaluate(recogniser, clips, conditions, seed=self.seed)
        say(table(result.scores))
        config = {"clips": self.clips, "seed": self.seed, "aims": AIMS, "note": SYNTHETIC_NOTE}
        provenance = collect_provenance(
            synthetic=True,
            normaliser="none",
            data_sha256=clips.sha256(),
            model_sha256=recogniser.sha256,
            config={**config, "unreadable": result.failures, "seconds": self.seconds},
        )
        write(result, self.out, provenance)

    def _transcribe(self) -> None:
        """One raw video of the test split, through the whole path: detector, crop, network, search."""
        row = Manifest.read(self.corpus / "manifest.csv").filter(split="test")[0]
        found = AVSR.from_pretrained(self.model).transcribe(self.corpus / row.path)
        say(f"{row.path}: said {row.text!r}, read {found.text!r}")
        content = {**found.to_dict(), "clip": row.path, "reference": row.text}
        write_text_atomic(self.out / "transcript.json", json.dumps(content, indent=2) + "\n")

    def _report(self) -> None:
        with (self.out / "clips.csv").open(encoding="utf-8", newline="") as lines:
            clips = list(csv.DictReader(lines))
        path = write_report(
            self.out / "report.html",
            results=json.loads((self.out / "results.json").read_text(encoding="utf-8")),
            clips=clips,
            history=History.read(self.out / "history.jsonl"),
            transcript=json.loads((self.out / "transcript.json").read_text(encoding="utf-8")),
            seconds=self.seconds,
        )
        say(f"total {sum(self.seconds.values()):.0f} s; look at {path}")
