"""Command lines: exit codes, one line for each error, overrides that are checked."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from viseme.core.cli import App, Counter, arg, compose, config_keys, config_options, emit, resolve_device, track
from viseme.core.device import resolve_device as resolve
from viseme.core.errors import ConfigError, MediaError
from viseme.core.testing.commands import check_user_error, run_command

FILES = {
    "config.yaml": "defaults: [{model: small}, {trainer: base}, _self_, {recipe: null}]\n"
    "data:\n  root: ???\n  split: [1]\n",
    "model/small.yaml": "dim: 8\n",
    "model/big.yaml": "dim: 80\n",
    "trainer/quick.yaml": "defaults: [base]\nmax_epochs: 2\n",
    "recipe/demo.yaml": "# @package _global_\ndefaults: [{override /model: big}]\ntrainer: {max_epochs: 3}\n",
    "recipe/torn.yaml": "trainer: {max_epochs: 3\n",
    "recipe/typo.yaml": "# @package _global_\ntrainer: {max_epoch: 3}\n",
}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """A package `toy_tasks` with a configuration, and a script with every way to end."""
    for name, text in FILES.items():
        path = tmp_path / "toy_tasks" / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "toy_tasks" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    app = App("toy", "a toy", package="toy_tasks", extras={"no_such_module": "nothing"})

    @app.verb("fail", "end in some way", arg("how"), device=True, out=True, json=True)
    def fail(args: argparse.Namespace) -> int | None:
        errors = {
            "media": MediaError("not a media file", path="a b.mp4", hint="Give\nanother."),
            "bug": TypeError("what\nnow"),
            "interrupt": KeyboardInterrupt(),
            "disk": OSError(errno.ENOSPC, "No space left on device"),
            "permission": PermissionError(errno.EACCES, "Permission denied", "x.txt"),
            "oserror": OSError("something of the system"),
            "memory": torch.OutOfMemoryError("CUDA out of memory"),
        }
        if args.how in errors:
            raise errors[args.how]
        return int(args.how)

    @app.config_verb("train", "train")
    def train(cfg: DictConfig) -> None:
        print(cfg.model.dim, cfg.trainer.max_epochs, cfg.data.root)

    yield app
    sys.modules.pop("toy_tasks", None)


@pytest.mark.parametrize(
    ("how", "code", "line"),
    [
        ("0", 0, ""),
        ("3", 3, ""),
        ("media", 2, "toy: a b.mp4: not a media file. Give another.\n"),
        ("bug", 1, "toy: internal error: TypeError: what now (--debug shows the traceback)\n"),
        ("interrupt", 130, "toy: interrupted\n"),
        ("disk", 2, "toy: No space left on device\n"),
        ("permission", 2, "toy: x.txt: Permission denied\n"),
        ("oserror", 1, "toy: internal error: OSError: something of the system (--debug shows the traceback)\n"),
    ],
)
def test_exit_codes(app: App, how: str, code: int, line: str) -> None:
    outcome = run_command(app, ["fail", how])
    assert (outcome.code, outcome.err) == (code, line)


def test_out_of_memory_gives_advice(app: App) -> None:
    assert "--device cpu" in check_user_error(app, ["fail", "memory"])


def test_debug_shows_the_traceback(app: App) -> None:
    outcome = run_command(app, ["fail", "bug", "--debug"])
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert outcome.err.endswith("TypeError: what now (--debug shows the traceback)\n")


def test_wrong_command_lines(app: App) -> None:
    check_user_error(app, [], "VERB")
    check_user_error(app, ["fly"], "'fly'", "fail", "train")
    check_user_error(app, ["fail"], "how")
    check_user_error(app, ["fail", "0", "--devise", "cpu"], "--devise")
    assert run_command(app, ["--version"]).out.startswith("toy ")


def test_overrides(app: App) -> None:
    assert run_command(app, ["train", "data.root=/x"]).out == "8 75 /x\n"
    assert run_command(app, ["train", "data.root=/x", "recipe=demo"]).out == "80 3 /x\n"
    assert run_command(app, ["train", "data.root=/x", "recipe=demo", "trainer.max_epochs=9"]).out == "80 9 /x\n"
    assert run_command(app, ["train", "data.root=/a b/ü", "trainer=quick", "+new.key=1"]).out == "8 2 /a b/ü\n"


@pytest.mark.parametrize(
    ("overrides", "mentions"),
    [
        ([], ["no value for data.root", "data.root=..."]),
        (["data.rot=x"], ["'data.rot'", "data.root"]),
        (["data.root=x", "trainer.max_epoch=3"], ["'trainer.max_epoch'", "trainer.max_epochs"]),
        (["data.root=x", "trainer.max_epochs=many"], ["many", "Integer"]),
        (["data.root=x", "max_epochs=3"], ["'max_epochs'", "trainer.max_epochs"]),
        (["data.root=x", "recipe=dmo"], ["recipe 'dmo'", "Did you mean demo"]),
        (["data.root=x", "modle=big"], ["'modle'", "model"]),
        (["data.root=x", "recipe=demo", "model.dmi=3"], ["'model.dmi'", "model.dim"]),
        (["data.root"], ["data.root", "EQUAL"]),
        (["data.root=a,b"], ["data.root=a,b", "quote the value"]),
        (["data.root=x", "recipe=typo"], ["max_epoch"]),
        (["data.root=x", "recipe=torn"], ["torn.yaml", "line 2"]),
    ],
)
def test_wrong_overrides(app: App, overrides: list[str], mentions: list[str]) -> None:
    check_user_error(app, ["train", *overrides], *mentions)


@pytest.mark.parametrize("path", ["/a b/ü", "run/epoch=3.ckpt", "it's", "C:\\data", "(1)", "50%", "x: y", "~/x"])
def test_paths_need_no_quotes(app: App, path: str) -> None:
    outcome = run_command(app, ["train", f"data.root={path}"])
    assert outcome.out == f"8 75 {path}\n", outcome.err


def test_print_config_and_help(app: App) -> None:
    shown = run_command(app, ["train", "recipe=demo", "--print-config"])
    assert shown.code == 0
    assert "dim: 80" in shown.out
    assert "root: ???" in shown.out
    assert config_options("toy_tasks")["recipe"] == ["demo", "torn", "typo"]
    keys = config_keys("toy_tasks")
    assert {"data.root", "data.split", "model.dim", "trainer.max_epochs"} <= set(keys)
    assert "trainer" not in keys
    with pytest.raises(ConfigError, match="conf"):
        compose("json")


def test_help_names_the_groups(app: App) -> None:
    outcome = run_command(app, ["train", "--help"])
    assert outcome.code == 0
    assert "recipe=demo|torn|typo" in outcome.out
    assert "model=big|small" in outcome.out


def test_surface(app: App) -> None:
    assert app.surface()["fail"] == ["--debug", "--device", "--json", "--out", "how"]
    assert app.surface()["train"] == ["--debug", "--print-config", "overrides"]


def test_doctor(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [json.loads(line) for line in run_command(app, ["doctor", "--json"]).out.splitlines()]
    status = {finding["what"]: finding["status"] for finding in found}
    assert status["torch"] == status["codecs"] == "ok"
    assert status["no_such_module"] == "absent"
    from viseme.core.cli import doctor

    monkeypatch.setattr(doctor, "REQUIRED", ("no_such_requirement",))
    check_user_error(app, ["doctor"], "broken here: no_such_requirement")


class Result:
    def __str__(self) -> str:
        return "grüße"

    def to_dict(self) -> dict:
        return {"text": "grüße", "path": Path("a")}


def test_emit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    emit([Result(), "plain"])
    emit([Result()], out="-", as_json=True)
    assert capsys.readouterr().out == 'grüße\nplain\n{"text": "grüße", "path": "a"}\n'
    emit([Result(), Result()], out=str(tmp_path / "new" / "out.txt"))
    assert (tmp_path / "new" / "out.txt").read_text(encoding="utf-8") == "grüße\ngrüße\n"

    def broken() -> Iterator[str]:
        yield "half"
        raise MediaError("no")

    with pytest.raises(MediaError):
        emit(broken(), out=str(tmp_path / "half.txt"))
    assert not (tmp_path / "half.txt").exists()


def test_progress_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter(range(3)), "counting", total=3, unit="things", every_s=0)) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("counting: 1/3 things in ")
    assert lines[-1].startswith("counting: 3/3 things in ")
    with Counter("making", every_s=0) as counter:
        counter.update(1, 2)
    assert capsys.readouterr().err.startswith("making: 1/2 clips in ")


def test_devices() -> None:
    assert resolve is resolve_device
    assert resolve("cpu") == torch.device("cpu")
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert resolve().type == expected
    assert resolve(torch.device("cpu")).type == "cpu"
    for name in ("gpu", "tpu:0", "meta", "cpu:x"):
        with pytest.raises(ConfigError, match="no such device"):
            resolve(name)
    with pytest.raises(ConfigError, match="--device auto"):
        resolve("cuda:99")


def test_a_closed_pipe_is_no_error() -> None:
    code = (
        "from viseme.core.cli import App\n"
        "app = App('toy', 'x')\n"
        "@app.verb('say', 'x')\n"
        "def say(args):\n"
        "    for n in range(100000): print(n)\n"
        "import sys; sys.exit(app.main(['say']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def test_ctrl_c(tmp_path: Path) -> None:
    code = (
        "import signal, time\n"
        # What starts the tests may ignore it (nohup, a background job), and that is inherited.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from viseme.core.cli import App\n"
        "app = App('toy', 'x')\n"
        "@app.verb('wait', 'x')\n"
        "def wait(args):\n"
        "    print('ready', flush=True); time.sleep(60)\n"
        "import sys; sys.exit(app.main(['wait']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    process.stdout.close()
