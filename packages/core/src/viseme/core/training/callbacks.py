"""What watches a training run: the alarm when it does not learn, the guard against NaN, its history, its progress."""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from viseme.core.errors import DataError

__all__ = ["History", "NonFiniteGuard", "NotLearning", "PlainProgress", "Throughput"]


class NotLearning(Callback):
    """Stops a run that plainly does not learn, and says what usually is the matter.

    The mean of the last `window` values of a logged metric is looked at once, `after_steps` optimiser steps in.

    Args:
        monitor: name of the logged training metric.
        after_steps: optimiser steps after which the run must show something.
        window: steps averaged at the start, and before the look.
        share_of_start: the metric must have fallen below this share of its mean over the first `window` steps.
        at_most, at_least: absolute thresholds, instead of the share.
        stop: raise; otherwise only warn.
        advice: what to try, added to the message.
    """

    def __init__(
        self,
        monitor: str = "loss",
        *,
        after_steps: int = 2000,
        window: int = 50,
        share_of_start: float = 0.9,
        at_most: float | None = None,
        at_least: float | None = None,
        stop: bool = True,
        advice: str = "Try a smaller learning rate, a longer warm-up, shorter clips first, or pre-trained weights.",
    ) -> None:
        self.monitor, self.after_steps, self.window = monitor, after_steps, window
        self.share_of_start, self.at_most, self.at_least = share_of_start, at_most, at_least
        self.stop, self.advice = stop, advice
        self._first: list[float] = []
        self._recent: deque[float] = deque(maxlen=window)
        self._looked = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._looked or (value := _logged(trainer, self.monitor, outputs)) is None:
            return
        if len(self._first) < self.window:
            self._first.append(value)
        self._recent.append(value)
        if trainer.global_step < self.after_steps or len(self._recent) < self.window:
            return
        self._looked = True
        if problem := self.judge():
            text = f"after {trainer.global_step} steps the model does not learn: {problem}"
            if self.stop:
                raise DataError(text, hint=self.advice)
            print(f"warning: {text}. {self.advice}", file=sys.stderr)

    def judge(self) -> str | None:
        """What is wrong with the metric so far, or None."""
        start, now = _mean(self._first), _mean(self._recent)
        what = f"{self.monitor} is {now:.4g}"
        if self.at_most is not None:
            return None if now <= self.at_most else f"{what}, expected at most {self.at_most:g}"
        if self.at_least is not None:
            return None if now >= self.at_least else f"{what}, expected at least {self.at_least:g}"
        limit = start * self.share_of_start
        return None if now <= limit else f"{what} and began at {start:.4g}, expected below {limit:.4g}"

    def state_dict(self) -> dict[str, Any]:
        return {"first": list(self._first), "recent": list(self._recent), "looked": self._looked}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._first = list(state_dict["first"])
        self._recent = deque(state_dict["recent"], maxlen=self.window)
        self._looked = state_dict["looked"]


class NonFiniteGuard(Callback):
    """Stops at a loss that is NaN or infinite, before checkpoints are overwritten with ruined weights.

    Args:
        every: how often the flag is read back from an accelerator, where each look is a synchronisation.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self._bad: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if not isinstance(loss, Tensor):
            return
        bad = ~torch.isfinite(loss.detach()).all()
        self._bad = bad if self._bad is None else self._bad | bad
        if (loss.device.type == "cpu" or batch_idx % self.every == 0 or trainer.is_last_batch) and bool(self._bad):
            raise DataError(
                f"the loss is not finite at step {trainer.global_step} (epoch {trainer.current_epoch})",
                hint="Lower the learning rate, clip gradients harder, or train in 32 bit; "
                "a clip with broken sound or labels can do this too.",
            )


class History(Callback):
    """Writes the scalars of a run to a JSON-lines file, a line every few steps and one after each validation.

    A resumed run drops the lines after its checkpoint and goes on, so the file reads as one run.

    Args:
        path: the file.
        every_steps: optimiser steps between lines.
    """

    def __init__(self, path: str | Path, every_steps: int = 10) -> None:
        self.path, self.every_steps = Path(path), every_steps
        self._start = time.monotonic()
        self._before_s = 0.0
        self._written = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.monotonic()
        if not trainer.is_global_zero:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.read(self.path) if trainer.global_step and self.path.exists() else []
        kept = [line for line in lines if line["step"] <= trainer.global_step]
        self._before_s = kept[-1]["elapsed_s"] if kept else 0.0
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step != self._written and step % self.every_steps == 0:
            self._written = step
            self._write(trainer, "train", outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._write(trainer, "validation", None)

    def _write(self, trainer: Trainer, stage: str, outputs: Any) -> None:
        if not trainer.is_global_zero:
            return
        scalars = {name: _number(value) for name, value in trainer.callback_metrics.items()}
        if stage == "train" and isinstance(outputs, dict) and isinstance(outputs.get("loss"), Tensor):
            scalars.setdefault("loss", _number(outputs["loss"]))
        for number, optimizer in enumerate(trainer.optimizers):
            scalars["lr" if not number else f"lr_{number}"] = optimizer.param_groups[0]["lr"]
        elapsed = self._before_s + time.monotonic() - self._start
        head = {"stage": stage, "step": trainer.global_step, "epoch": trainer.current_epoch}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({**head, "elapsed_s": round(elapsed, 3), **scalars}) + "\n")

    @staticmethod
    def read(path: str | Path) -> list[dict]:
        """The lines of a history file; a last line cut short by a crash is left out."""
        lines = []
        for text in Path(path).read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
        return lines


class Throughput(Callback):
    """Logs how much was trained on per second, e.g. frames.

    Args:
        count: how much a batch holds.
        unit: of what.
        every_steps: optimiser steps between figures.
    """

    def __init__(self, count: Callable[[Any], int], unit: str = "frames", every_steps: int = 10) -> None:
        self.count, self.unit, self.every_steps = count, unit, every_steps
        self._done, self._since = 0, 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self._since:
            self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._done += self.count(batch)
        seconds = time.monotonic() - self._since
        if trainer.global_step and trainer.global_step % self.every_steps == 0 and seconds > 0:
            pl_module.log(f"{self.unit}_per_s", self._done / seconds)
            self._done, self._since = 0, time.monotonic()


class PlainProgress(Callback):
    """A line on standard error now and then, for log files; a terminal gets a bar instead.

    Args:
        every_s: seconds between lines.
        metrics: logged names to show.
    """

    def __init__(self, every_s: float = 10.0, metrics: tuple[str, ...] = ("loss",)) -> None:
        self.every_s, self.metrics = every_s, metrics
        self._start = self._last = 0.0
        self._from_step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = self._last = time.monotonic()
        self._from_step = trainer.fit_loop.total_batch_idx + 1
        batches = trainer.num_training_batches
        self._say(trainer, f"training from epoch {trainer.current_epoch}, {batches} batches an epoch")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now - self._last < self.every_s:
            return
        self._last = now
        rate = (trainer.fit_loop.total_batch_idx + 1 - self._from_step) / (now - self._start)
        values = [
            f"{name} {value:.4g}" for name in self.metrics if (value := _logged(trainer, name, outputs)) is not None
        ]
        place = f"epoch {trainer.current_epoch}, batch {batch_idx + 1}/{trainer.num_training_batches}"
        self._say(trainer, ", ".join([place, *values, f"{rate:.2f} batches/s", f"{now - self._start:.0f} s"]))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        values = {name: _number(value) for name, value in trainer.callback_metrics.items() if "val" in name}
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._say(trainer, f"epoch {trainer.current_epoch}: {shown or 'validated'}")

    def _say(self, trainer: Trainer, text: str) -> None:
        if trainer.is_global_zero:
            print(text, file=sys.stderr, flush=True)


def _logged(trainer: Trainer, name: str, outputs: Any) -> float | None:
    """A scalar of this step: as logged, or the loss that the step returned."""
    for key in (name, f"{name}_step", f"train_{name}", f"train/{name}"):
        if key in trainer.callback_metrics:
            return _number(trainer.callback_metrics[key])
    if name == "loss" and outputs is not None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        return _number(loss) if isinstance(loss, Tensor) else None
    return None


def _number(value: Any) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def _mean(values: Any) -> float:
    return math.fsum(values) / len(values) if len(values) else math.nan
