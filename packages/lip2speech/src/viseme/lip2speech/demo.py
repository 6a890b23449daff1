"""The page of speech from lips: a silent video in, its voice out. A tab of `viseme demo`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from viseme.core.demo import Choice, Page, Site
from viseme.core.errors import MediaError
from viseme.core.media import mux
from viseme.lip2speech.pipeline import Lip2Speech

__all__ = ["page"]

CONSENT = "Only faces and voices of people who agreed to it."


def page(site: Site) -> Page | None:
    """The tab, or None where no model that speaks is among the models."""
    models = [model for model in site.models if "input" in model.config]  # vocoders and recognisers have none
    if not models:
        return None
    return Page("Speak from lips", lambda: _build(site, Choice(models)))


def _build(site: Site, choice: Choice) -> None:
    import gradio as gr

    choice.introduce(f"What a silent face says, as sound. {CONSENT}")
    with gr.Row():
        with gr.Column():
            title = "A face that speaks (its sound is not listened to)"
            video = gr.Video(label=title, sources=["upload", "webcam"], height=320)
            voice = gr.Audio(label="A voice to speak with, optional", type="filepath", sources=["upload", "microphone"])
            model = choice.dropdown()
            start = gr.Button("Speak", variant="primary")
        with gr.Column():
            spoken = gr.Video(label="With its new voice", interactive=False, height=320, buttons=["download"])
            sound = gr.Audio(label="Sound alone", interactive=False, buttons=["download"])
            mel = gr.Image(label="Mel spectrogram", interactive=False, buttons=["download", "fullscreen"])
            notes = gr.Textbox(label="Notes", interactive=False, lines=3)
    start.click(
        site.guarded(lambda *values: _speak(site, choice, *values)),
        [video, voice, model],
        [spoken, sound, mel, notes],
        api_name="lip2speech_speak",
    )


def _speak(
    site: Site, choice: Choice, video: str | None, voice: str | None, name: str
) -> tuple[str | None, str, str, str]:
    """Files of the video with its voice, of the sound and of the mel, and what is to be said about them."""
    chosen = choice.named(name)
    source = site.checked(video, what="a video")
    reference = site.checked(voice) if voice else None
    made = _speaker(chosen.path, site.device).speak(source, reference=reference)
    sound, picture, film = site.new_file(".wav"), site.new_file(".png"), site.new_file(".mp4")
    made.save(sound)
    made.save_picture(picture)
    lines = [f"{made.audio.duration_s:.1f} s, voice: {made.voice}; AI-generated speech", *made.notes]
    try:
        mux(source, made.audio, film)
    except MediaError as error:  # a webcam's codec that mp4 cannot hold: the sound is there all the same
        lines.append(f"sound alone: {error.what}")
    return str(film) if film.is_file() else None, str(sound), str(picture), "\n".join(lines)


@lru_cache(maxsize=2)
def _speaker(path: Path, device: str) -> Lip2Speech:
    return Lip2Speech.from_pretrained(path, device=device)
