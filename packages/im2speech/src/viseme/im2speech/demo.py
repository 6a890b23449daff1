"""The page of spoken descriptions: a picture in, a voice out. A tab of `viseme demo`, or `im2speech demo` alone."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from viseme.core.demo import Choice, Page, Site
from viseme.core.errors import ConfigError, MediaError
from viseme.im2speech.images import read_image
from viseme.im2speech.pipeline import Im2Speech
from viseme.im2speech.report import spectrogram

__all__ = ["page"]

MOST_BEAMS = 8


def page(site: Site) -> Page | None:
    """The tab, or None where no captioner with a voice is among the models."""
    models = [model for model in site.models if model.config.get("part") == "captioner" and model.config.get("vocoder")]
    if not models:
        return None
    return Page("Describe a picture", lambda: _build(site, Choice(models)))


def _build(site: Site, choice: Choice) -> None:
    import gradio as gr

    choice.introduce("A picture is described aloud, without text in between.")
    with gr.Row():
        with gr.Column():
            picture = gr.Image(label="Picture", type="filepath", sources=["upload", "webcam", "clipboard"])
            model = choice.dropdown()
            beam = gr.Slider(1, MOST_BEAMS, value=1, step=1, label="Hypotheses (beam)")
            start = gr.Button("Describe", variant="primary")
        with gr.Column():
            sound = gr.Audio(label="Description", interactive=False)
            shown = gr.Image(label="Its spectrogram", interactive=False, height=160)
            report = gr.Textbox(label="Speech units", interactive=False, lines=4)
    start.click(
        site.guarded(lambda *values: _describe(site, choice, *values)),
        [picture, model, beam],
        [sound, shown, report],
        api_name="im2speech_describe",
    )


def _describe(
    site: Site, choice: Choice, picture: str | None, name: str, beam: float
) -> tuple[tuple[int, np.ndarray] | None, Any, str]:
    """The sound, its spectrogram, and what is to be said about it."""
    chosen = choice.named(name)
    if not 1 <= beam <= MOST_BEAMS:
        raise ConfigError("not among the choices", expected=f"a beam of 1 to {MOST_BEAMS}", got=beam)
    if not picture:
        raise MediaError("no picture yet: choose one first")
    pipeline = _pipeline(chosen.path, site.device)
    search = dataclasses.replace(pipeline.search, beam=int(beam))
    said = pipeline.describe_batch([read_image(picture)], ["picture"], search=search)[0]
    lines = [f"{len(said.units)} units, confidence {said.confidence:.2f}", str(said), *said.notes]
    if said.audio is None or not len(said.audio.samples):
        return None, None, "\n".join(lines)
    samples = said.audio.samples
    seen = spectrogram(samples)[..., ::-1] if said.audio.duration_s > 0.1 else None
    return (said.audio.rate, (samples.clip(-1, 1) * 32767).astype(np.int16)), seen, "\n".join(lines)


@lru_cache(maxsize=2)
def _pipeline(path: Path, device: str) -> Im2Speech:
    return Im2Speech.from_pretrained(path, device=device)
