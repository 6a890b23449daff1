"""The demo of all packages, without its trainings: what fails is named, holds up nobody, and alone is done again."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.demo import everything
from tools.demo.everything import Everything, Stage, StageError

from viseme.core.errors import DataError


class Toy(Everything):
    """Stages that write a file; raven's second is a command that fails, wav2lip's a defect of ours."""

    broken = True

    def stage(self, name: str) -> Stage:
        result = self.out / f"{name.replace(': ', '_')}.txt"

        def work(log: Path) -> None:
            if name == "raven: fine-tune" and self.broken:
                raise StageError("loss is not finite")
            if name == "wav2lip: expert" and self.broken:
                raise ValueError("a defect")
            if name == "lip2speech: evaluate":
                assert self._ended["avsr"].wait(10), "it is heard through avsr's recogniser"
            self.done.append(name)
            result.touch()

        return Stage(name, result, work)

    def stages(self, *names: str) -> list[Stage]:
        return [self.stage(name) for name in names]

    def _data(self) -> list[Stage]:
        return self.stages("corpus")

    def _avsr(self) -> list[Stage]:
        return self.stages("avsr: train", "avsr: evaluate")

    def _raven(self) -> list[Stage]:
        return self.stages("raven: pretrain", "raven: fine-tune", "raven: evaluate")

    def _lip2speech(self) -> list[Stage]:
        return self.stages("lip2speech: train", "lip2speech: evaluate")

    def _wav2lip(self) -> list[Stage]:
        return self.stages("wav2lip: expert", "wav2lip: sync")

    def _im2speech(self) -> list[Stage]:
        return self.stages("im2speech: describe")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_package_that_fails_is_named_and_holds_up_no_other(tmp_path: Path, workers: int) -> None:
    demo = Toy(tmp_path, workers=workers)
    demo.done = []
    with pytest.raises(DataError, match="2 of 5 packages failed") as said:
        demo.run()
    assert "raven: fine-tune: loss is not finite" in str(said.value) and "ValueError: a defect" in str(said.value)
    whole = {"corpus", "avsr: train", "avsr: evaluate", "raven: pretrain", "lip2speech: train", "lip2speech: evaluate"}
    assert set(demo.done) == {*whole, "im2speech: describe"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("FAILED.") == 2 and "loss is not finite" in page and "SYNTHETIC" in page

    again = Toy(tmp_path, workers=workers)
    again.done, again.broken = [], False
    again.run()
    assert set(again.done) == {"raven: fine-tune", "raven: evaluate", "wav2lip: expert", "wav2lip: sync"}
    assert "FAILED" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    with pytest.raises(DataError, match="another demo is there"):
        Toy(tmp_path, clips=5).run()


def test_a_command_that_fails_leaves_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no_such_verb.*by hand: viseme no_such_verb"):
        everything.command(tmp_path / "stage.log", "viseme", "no_such_verb")
    assert "no_such_verb" in (tmp_path / "stage.log").read_text(encoding="utf-8")
