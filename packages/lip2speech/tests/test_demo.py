"""The page of `viseme demo`, over HTTP on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from viseme.core.demo import Limits, Site, find_models, serve
from viseme.core.media import probe
from viseme.lip2speech.demo import page


def test_no_model_no_tab(tmp_path: Path) -> None:
    assert page(Site((), folder=tmp_path)) is None


def test_a_video_gets_a_voice(vca_dir: Path, clip: Path) -> None:
    pytest.importorskip("gradio", reason="the app needs Gradio (viseme-core[demo])")
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    found: list[str] = []
    models = find_models([vca_dir])
    stop = serve(models, limits=Limits(seconds=20), ready=found.append, wait=False)
    try:
        client = Client(found[0], verbose=False)
        video = handle_file(str(clip))
        film, sound, mel, notes = client.predict(video, None, models[0].name, api_name="/lip2speech_speak")
        assert probe(film).has_audio and probe(film).has_video
        assert probe(sound).duration_s == pytest.approx(probe(clip).duration_s, abs=0.1)
        assert Path(mel).stat().st_size > 1000
        assert "AI-generated" in notes
        with pytest.raises(AppError, match="no file yet"):
            client.predict(None, None, models[0].name, api_name="/lip2speech_speak")
        crops, heard, attention, seen = client.predict(handle_file(str(clip)), None, api_name="/look_inside")
        assert Path(crops).stat().st_size > 10_000 and Path(heard).stat().st_size > 1000
        assert attention is None and "frames at 25 a second" in seen
    finally:
        stop()
