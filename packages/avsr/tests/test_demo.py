"""The demo page: its function over HTTP, and the page itself in headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from viseme.avsr.demo import page
from viseme.core.data import Manifest
from viseme.core.demo import Limits, Site, find_models, serve
from viseme.core.media import probe
from viseme.core.testing.browser import CHROMIUM, Browser
from viseme.core.testing.clips import sweep, write_sound

pytestmark = pytest.mark.heavy
pytest.importorskip("gradio", reason="the page needs Gradio (viseme-avsr[demo])")


@pytest.fixture
def address(model_dir: Path) -> Iterator[str]:
    found: list[str] = []
    stop = serve(find_models([model_dir.parent]), limits=Limits(seconds=10), ready=found.append, wait=False)
    yield found[0]
    stop()


@pytest.fixture
def clip(embedded_corpus: Path) -> Path:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    return manifest.file(manifest[0])


def test_no_recogniser_no_tab(model_dir: Path) -> None:
    assert page(Site(())) is None
    tab = page(Site(tuple(find_models([model_dir]))))
    assert tab is not None and tab.title == "Transcribe"


def test_over_http(address: str, clip: Path, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False, download_files=str(tmp_path))

    def ask(video: Path | None, sound: Path | None, modality: str = "all there is", model: str = "tiny/model") -> tuple:
        files = [None if path is None else handle_file(str(path)) for path in (video, sound)]
        return client.predict(*files, modality, True, model, api_name="/avsr_transcribe")

    text, words, crops, notes = ask(clip, None)
    assert len(words["data"] if isinstance(words, dict) else words) == len(text.split())
    assert notes.startswith(f"{probe(clip).duration_s:.1f} s of lips and sound")
    shown = probe(crops["video"] if isinstance(crops, dict) else crops)
    assert (shown.width, shown.height, shown.has_audio) == (288, 288, True)
    sound = write_sound(tmp_path / "a.wav", sound=sweep(16000, 1.0), rate=16000)
    _, _, crops, notes = ask(None, sound)
    assert crops is None and notes.startswith("1.0 s of sound")
    long = write_sound(tmp_path / "long.wav", sound=sweep(16000, 11.0), rate=16000)
    for asked, said in (
        ((None, None), "no file yet"),
        ((None, long), "too long"),
        ((None, sound, "lips"), "no video"),
        ((None, sound, "sound", "../model"), "choices"),
    ):
        with pytest.raises(AppError, match=said):
            ask(*asked)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH; test_over_http covers the page's function")
def test_in_a_browser(address: str, clip: Path, tmp_path: Path) -> None:
    """What a visitor does: choose a video, press the button, read the words and see the mouth."""
    with Browser(address) as tab:
        tab.wait("document.querySelectorAll('input[type=file]').length >= 1")
        tab.upload("input[type=file]", [clip])
        tab.wait("document.querySelectorAll('video').length >= 1")
        tab.evaluate("[...document.querySelectorAll('button')].findLast(b => b.innerText == 'Transcribe').click()")
        tab.wait("[...document.querySelectorAll('textarea')].some(t => t.value.includes('of lips and sound'))")
        tab.wait("[...document.querySelectorAll('video')].some(v => v.videoWidth == 288)")
        tab.check_seen(tmp_path, "avsr")
