"""The page of the recogniser: a face or a voice in, its words with their times out, and what of the face was read.

A tab of `viseme demo` and of `avsr demo`.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from viseme.avsr.pipeline import AVSR
from viseme.avsr.recording import FPS, Asked, Recording, RecordingReader
from viseme.avsr.transcript import Transcript, join
from viseme.core.demo import Choice, Page, Site
from viseme.core.errors import ConfigError
from viseme.core.media import write_video
from viseme.core.types import Audio, Video

__all__ = ["page"]

CONSENT = "Only of people who agreed to be read."
MODALITIES: dict[str, Asked] = {"all there is": "auto", "lips": "video", "sound": "audio", "both": "audiovisual"}
SHOWN = 288
"""Side of the mouth crops as they are shown, in pixels."""


def page(site: Site) -> Page | None:
    """The tab, or None where no recogniser is among the models."""
    models = [model for model in site.models if "search" in model.config]  # language models have none
    return Page("Transcribe", lambda: _build(site, Choice(models))) if models else None


def _build(site: Site, choice: Choice) -> None:
    import gradio as gr

    choice.introduce(f"What a face says, read from its lips, from its sound, or from both. {CONSENT}")
    with gr.Row():
        with gr.Column():
            video = gr.Video(label="A face that speaks", sources=["upload", "webcam"], height=360)
            sound = gr.Audio(label="Or sound alone", type="filepath", sources=["upload", "microphone"])
            modality = gr.Radio(list(MODALITIES), value="all there is", label="Read from")
            fast = gr.Checkbox(label="Fast (best CTC path instead of beam search)")
            model = choice.dropdown()
            start = gr.Button("Transcribe", variant="primary")
        with gr.Column():
            text = gr.Textbox(label="Words", interactive=False, lines=2)
            crops = gr.Video(
                label="What was read of the face", interactive=False, autoplay=True, loop=True, height=SHOWN
            )
            words = gr.Dataframe(
                headers=["word", "from s", "to s", "confidence"],
                label="Word times",
                interactive=False,
                type="array",
                max_height=SHOWN,
            )
            notes = gr.Textbox(label="Notes", interactive=False, lines=3)
    start.click(
        site.guarded(lambda *values: _transcribe(site, choice, *values)),
        [video, sound, modality, fast, model],
        [text, words, crops, notes],
        api_name="avsr_transcribe",
    )


def _transcribe(
    site: Site, choice: Choice, video: str | None, sound: str | None, modality: str, fast: bool, name: str
) -> tuple[str, list[list[str]], str | None, str]:
    """Words, word times, a video of the mouth crops where lips were read, and what is to be said about them."""
    chosen = choice.named(name)
    if modality not in MODALITIES:
        raise ConfigError("not among the choices", expected=" or ".join(MODALITIES), got=modality)
    source = site.checked(video or sound, what="a video or a sound")
    recogniser = _recogniser(chosen.path, site.device)
    recordings = list(RecordingReader(recogniser.model.config, recogniser.inputs).parts(source, MODALITIES[modality]))
    search = dataclasses.replace(recogniser.search, greedy=fast or recogniser.search.greedy)
    seconds = sum(recording.frames for recording in recordings) / FPS
    found = join(recogniser.recognise(recordings, search=search), name="", duration_s=seconds)
    rows = [[word.text, f"{word.start_s:.2f}", f"{word.end_s:.2f}", f"{word.confidence:.2f}"] for word in found.words]
    return found.text, rows, _film(site, recordings), _notes(found)


def _film(site: Site, recordings: list[Recording]) -> str | None:
    """The mouth crops as the network gets them, in the size of a thumb, with the sound where that was read too."""
    read = [recording for recording in recordings if recording.crops is not None]
    if not read:
        return None
    crops = np.concatenate([recording.crops for recording in read if recording.crops is not None])
    large = [cv2.resize(crop, (SHOWN, SHOWN), interpolation=cv2.INTER_CUBIC) for crop in crops]
    heard = [recording.samples for recording in read if recording.samples is not None]
    film = site.new_file(".mp4")
    write_video(film, Video(np.stack(large), FPS), Audio(np.concatenate(heard), 16000) if heard else None)
    return str(film)


def _notes(found: Transcript) -> str:
    read = {"video": "lips", "audio": "sound", "audiovisual": "lips and sound"}[found.modality]
    return "\n".join([f"{found.duration_s:.1f} s of {read}, confidence {found.confidence:.2f}", *found.notes])


@lru_cache(maxsize=2)
def _recogniser(path: Path, device: str) -> AVSR:
    return AVSR.from_pretrained(path, device=device)
