"""The demo page: its function over HTTP, and the page itself in headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from viseme.core.demo import Site, find_models, serve
from viseme.core.media import probe
from viseme.core.testing.browser import CHROMIUM, Browser
from viseme.im2speech.demo import page

pytestmark = pytest.mark.heavy
pytest.importorskip("gradio", reason="the page needs Gradio (viseme-im2speech[demo])")


@pytest.fixture
def address(model_dir: Path) -> Iterator[str]:
    found: list[str] = []
    stop = serve(find_models([model_dir.parent]), ready=found.append, wait=False)
    yield found[0]
    stop()


def test_no_voice_no_tab(model_dir: Path, voice_dir: Path) -> None:
    assert page(Site(tuple(find_models([voice_dir])))) is None
    tab = page(Site(tuple(find_models([model_dir]))))
    assert tab is not None and tab.title == "Describe a picture"


def test_over_http(address: str, scenes: Path, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False, download_files=str(tmp_path))
    picture = handle_file(str(next((scenes / "test").glob("*.png"))))
    sound, _, report = client.predict(picture, "tiny/model", 2, api_name="/im2speech_describe")
    assert "units, confidence" in report
    assert "nothing was said" in report or probe(sound).rate == 16000
    with pytest.raises(AppError, match="no picture yet"):
        client.predict(None, "tiny/model", 1, api_name="/im2speech_describe")
    with pytest.raises(AppError, match="not in the list of choices"):
        client.predict(picture, "../model", 1, api_name="/im2speech_describe")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH; test_over_http covers the page's function")
def test_in_a_browser(address: str, scenes: Path, tmp_path: Path) -> None:
    """What a visitor does: choose a picture, press the button, see and hear the description."""
    with Browser(address) as tab:
        tab.wait("document.querySelectorAll('input[type=file]').length >= 1")
        tab.upload("input[type=file]", [next((scenes / "test").glob("*.png"))])
        tab.wait("[...document.querySelectorAll('img')].some(i => i.naturalWidth > 20)")
        tab.evaluate("[...document.querySelectorAll('button')].find(b => b.innerText == 'Describe').click()")
        tab.wait("[...document.querySelectorAll('textarea')].some(t => t.value.includes('units, confidence'))")
        tab.check_seen(tmp_path, "im2speech")
