"""The demo app over HTTP on loopback, with the page of a package made up for the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from viseme.core.checkpoint import save_model_dir
from viseme.core.cli.viseme import app as console
from viseme.core.demo import Limits, Site, find_models, serve
from viseme.core.errors import ConfigError, MediaError
from viseme.core.testing.clips import sweep, write_sound
from viseme.core.testing.commands import check_user_error

pytest.importorskip("gradio", reason="the app needs Gradio (viseme-core[demo]); without it test_without_gradio holds")

PAGE = '''
"""Lengths of recordings."""
import time
import numpy as np
from viseme.core.demo import Page
from viseme.core.media import read_audio, write_audio

RUNNING, MOST, PAUSE_S = 0, 0, 0.0

def page(site):
    if not site.models:
        return None

    def measure(path):
        global RUNNING, MOST
        RUNNING += 1; MOST = max(MOST, RUNNING)
        try:
            sound = read_audio(site.checked(path, what="a sound"))
            time.sleep(PAUSE_S)
            out = site.new_file(".wav")
            write_audio(out, sound)
            return f"{len(sound.samples) / sound.rate:.1f} s", str(out), MOST
        finally:
            RUNNING -= 1

    def build():
        import gradio as gr
        sound, shown = gr.Audio(type="filepath"), [gr.Textbox(), gr.Audio(), gr.Number()]
        gr.Button("Measure").click(site.guarded(measure), [sound], shown, api_name="made_up_measure")

    return Page(site.models[0].config["title"], build)
'''


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `viseme.made_up` with a page, and folder with one model of it and a few things that are none."""
    module = tmp_path / "path" / "viseme" / "made_up"
    module.mkdir(parents=True)
    (module / "__init__.py").touch()
    (module / "demo.py").write_text(PAGE)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    runs = tmp_path / "runs"
    save_model_dir(runs / "one" / "model", {"package": "made_up", "title": "Measure"}, {"x": torch.ones(1)})
    for name, text in (("no_yaml", "a: [1"), ("no_package", "a: 1"), ("a_list", "[1]")):
        (runs / name).mkdir()
        (runs / name / "config.yaml").write_text(text)
        (runs / name / "model.safetensors").touch()
    return runs


@pytest.fixture
def address(made_up: Path) -> Iterator[str]:
    found: list[str] = []
    stop = serve(find_models([made_up]), limits=Limits(seconds=2, waiting=8), ready=found.append, wait=False)
    yield found[0]
    stop()


def test_models_are_found_and_others_passed_over(made_up: Path) -> None:
    (model,) = find_models([made_up, made_up / "one"])
    assert (model.package, model.name, model.config["title"]) == ("made_up", "one/model", "Measure")


def test_page_over_http(address: str, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    assert address.startswith("http://127.0.0.1:")
    client = Client(address, verbose=False)
    sound = write_sound(tmp_path / "a.wav", sound=sweep(16000, 1.5), rate=16000)

    def ask(path: Path) -> tuple:
        return client.predict(handle_file(str(path)), api_name="/made_up_measure")

    with ThreadPoolExecutor(4) as pool:  # several visitors at once: each is answered, one at a time
        answers = list(pool.map(ask, [sound] * 4))
    assert {answer[0] for answer in answers} == {"1.5 s"}
    assert max(answer[2] for answer in answers) == 1
    assert all(Path(answer[1]).stat().st_size > 16000 for answer in answers)

    with pytest.raises(AppError, match="too long; expected at most 2 s"):
        ask(write_sound(tmp_path / "long.wav", sound=sweep(16000, 3.0), rate=16000))
    (tmp_path / "no.wav").write_text("no sound at all")
    with pytest.raises(AppError) as said:
        ask(tmp_path / "no.wav")
    assert "/" not in str(said.value), "the server's paths are not the visitor's business"


def test_nothing_is_left_behind(made_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradio_client import Client, handle_file

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    found: list[str] = []
    stop = serve(find_models([made_up]), ready=found.append, wait=False)
    client = Client(found[0], verbose=False, download_files=str(tmp_path / "downloads"))
    sound = write_sound(tmp_path / "a.wav", sound=sweep(16000, 1.0), rate=16000)
    client.predict(handle_file(str(sound)), api_name="/made_up_measure")
    assert len(list(temporary.rglob("*.wav"))) >= 2  # the upload and the result
    stop()
    assert not [path for path in temporary.rglob("*") if path.is_file()]
    assert not list(temporary.glob("viseme*"))


@pytest.mark.heavy
def test_a_crowd_is_served_in_turn_or_turned_away(made_up: Path, tmp_path: Path) -> None:
    """Ten visitors at once where three may wait: nobody is forgotten, one request runs at a time, and the app still
    answers afterwards; an upload over the limit is refused while it comes in."""
    from gradio_client import Client, handle_file

    found: list[str] = []
    stop = serve(find_models([made_up]), limits=Limits(megabytes=1, waiting=3), ready=found.append, wait=False)
    try:
        import viseme.made_up.demo as page

        client = Client(found[0], verbose=False)
        sound = handle_file(str(write_sound(tmp_path / "a.wav", sound=sweep(16000, 1.0), rate=16000)))

        def ask(number: int) -> str:
            try:
                return client.predict(sound, api_name="/made_up_measure")[0]
            except Exception as error:  # the client has no class of its own for it
                return str(error)

        page.PAUSE_S = 0.4
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(ask, range(10)))
        served, turned_away = answers.count("1.0 s"), [said for said in answers if said != "1.0 s"]
        assert served >= 3 and turned_away and all("full" in said.lower() for said in turned_away), answers
        page.PAUSE_S = 0.0
        assert ask(0) == "1.0 s" and page.MOST == 1
        (tmp_path / "big.wav").write_bytes(bytes(2_000_000))
        with pytest.raises(Exception, match=r"413|[Tt]oo [Ll]arge|exceed"):
            client.predict(handle_file(str(tmp_path / "big.wav")), api_name="/made_up_measure")
        assert ask(0) == "1.0 s"
    finally:
        stop()


@pytest.mark.heavy
def test_stopped_or_killed_it_leaves_nothing_for_long(made_up: Path, tmp_path: Path) -> None:
    """A service manager's TERM deletes everything; after a KILL the next start does."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "viseme.core.cli.viseme", "demo", str(made_up), "--device", "cpu"]
    paths = os.pathsep.join([str(tmp_path / "path"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": paths}
    for end in (signal.SIGKILL, signal.SIGTERM):
        left = set(temporary.glob("viseme-*"))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
        try:
            assert process.stdout is not None and process.stdout.readline().startswith("open http://127.0.0.1:")
            (folder,) = temporary.glob("viseme-demo-*")
            assert folder not in left, "what the killed one left is gone"
        finally:
            process.send_signal(end)
            process.communicate()
        assert folder.exists() == (end == signal.SIGKILL)


def test_limits_of_an_upload(tmp_path: Path) -> None:
    site = Site((), limits=Limits(seconds=1, megabytes=1), folder=tmp_path)
    sound = write_sound(tmp_path / "a.wav", sound=sweep(16000, 0.5), rate=16000)
    assert site.checked(sound) == sound
    with pytest.raises(MediaError, match="choose or record a face"):
        site.checked(None, what="a face")
    (tmp_path / "big.wav").write_bytes(bytes(2_000_000))
    with pytest.raises(MediaError, match="too large; expected at most 1 MB"):
        site.checked(tmp_path / "big.wav")
    names = {site.new_file(".wav") for _ in range(3)}
    assert len(names) == 3 and all(name.suffix == ".wav" and name.parent.is_dir() for name in names)


def test_a_taken_port_is_the_users_matter(address: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        serve([], port=int(address.rstrip("/").rpartition(":")[2]), wait=False)


def test_without_gradio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    check_user_error(console, ["demo", tmp_path], "viseme-core[demo]")


def test_attention_that_is_shown_is_the_one_that_is_used() -> None:
    from viseme.core.demo.inside import attention_picture, cross_attention
    from viseme.core.layers.transformer import TransformerDecoder

    torch.manual_seed(0)
    decoder = TransformerDecoder(7, 8, 1, 16, 2).eval()  # one head: its weights are their own mean
    seen: dict[str, torch.Tensor] = {}
    attention = list(decoder.blocks())[-1].src_attn
    attention.linear_v.register_forward_hook(lambda module, given, made: seen.update(values_1TD=made))
    attention.linear_out.register_forward_pre_hook(lambda module, given: seen.update(context_1LD=given[0]))
    weights_LT = cross_attention(decoder, 6, (1, 2, 3), torch.randn(1, 5, 8))
    assert weights_LT.shape == (3, 5)
    torch.testing.assert_close(weights_LT.sum(1), torch.ones(3))
    torch.testing.assert_close(weights_LT @ seen["values_1TD"][0], seen["context_1LD"][0])
    assert attention_picture(weights_LT, ["A", "B", "ü"]).shape[2] == 3
