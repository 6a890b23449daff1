"""The demo page: its function over HTTP, and the page itself in headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from viseme.core.demo import Limits, Site, find_models, serve
from viseme.core.media import probe
from viseme.core.testing.browser import CHROMIUM, Browser
from viseme.core.testing.clips import write_sound
from viseme.wav2lip.demo import page
from viseme.wav2lip.pipeline import PROVENANCE

pytestmark = pytest.mark.heavy
pytest.importorskip("gradio", reason="the page needs Gradio (viseme-wav2lip[demo])")


@pytest.fixture
def address(model_dir: Path) -> Iterator[str]:
    found: list[str] = []
    limits = Limits(seconds=10, megabytes=20)
    stop = serve(find_models([model_dir.parent]), limits=limits, ready=found.append, wait=False)
    yield found[0]
    stop()


def test_no_generator_no_tab(run_dir: Path) -> None:
    assert page(Site(tuple(find_models([run_dir / "expert"])))) is None
    tab = page(Site(tuple(find_models([run_dir]))))
    assert tab is not None and tab.title == "Lip sync"


def test_over_http(address: str, talking: Path, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False, download_files=str(tmp_path))
    talk = handle_file(str(talking))
    name = "generator/model"
    made, report = client.predict(talk, talk, name, 1, "pingpong", True, api_name="/wav2lip_sync")
    path = made["video"] if isinstance(made, dict) else made
    info = probe(path)
    assert 0 <= info.frames - probe(talking).frames < 4 and PROVENANCE in info.tags["comment"]  # AAC rounds up
    assert "frames synced" in report and "SYNTHETIC" in report
    long = handle_file(str(write_sound(tmp_path / "long.wav", duration_s=11.0)))
    with pytest.raises(AppError, match="too long"):
        client.predict(talk, long, name, 1, "pingpong", True, api_name="/wav2lip_sync")
    with pytest.raises(AppError, match="choose or record a face"):
        client.predict(None, talk, name, 1, "pingpong", True, api_name="/wav2lip_sync")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH; test_over_http covers the page's function")
def test_in_a_browser(address: str, tmp_path: Path) -> None:
    """What a visitor sees, and is told who presses the button without a face."""
    with Browser(address, patience_s=120) as tab:
        tab.wait("document.body.innerText.includes('follow a voice')")
        tab.wait("document.querySelectorAll('input[type=file]').length >= 2")
        assert "SYNTHETIC" in tab.text() and "agreed" in tab.text()
        said = "document.body.innerText.includes('choose or record a face')"
        press = "[...document.querySelectorAll('button')].find(b => b.innerText == 'Sync').click()"
        tab.wait(f"({said}) || (({press}), false)")  # the page may not listen yet when it is first seen
        tab.check_seen(tmp_path, "wav2lip")
