"""The page of lip sync: a face and a voice in, a video out. A tab of `viseme demo`, or `wav2lip demo` alone."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from viseme.core.demo import Choice, Page, Site
from viseme.core.errors import ConfigError
from viseme.wav2lip.options import SyncOptions
from viseme.wav2lip.pipeline import Wav2Lip

__all__ = ["page"]

_SYNTHETIC = "**This model was trained on rendered faces (SYNTHETIC). It shows that things work, not how well.**"
_CONSENT = (
    "Only faces of people who agreed to it. Results carry tags that say that they are generated; the label writes it "
    "into the picture."
)
LOOPS = ("pingpong", "loop", "hold", "stop")


def page(site: Site) -> Page | None:
    """The tab, or None where no generator is among the models."""
    models = [model for model in site.models if model.config.get("kind") == "generator"]
    if not models:
        return None
    return Page("Lip sync", lambda: _build(site, Choice(models)))


def _build(site: Site, choice: Choice) -> None:
    import gradio as gr

    choice.introduce(f"The lips of a face follow a voice. {_CONSENT}")
    if any((model.config.get("settings") or {}).get("synthetic") for model in choice.models):
        gr.Markdown(_SYNTHETIC)
    with gr.Row():
        with gr.Column():
            face = gr.File(label="Face: a video or a picture", file_types=["video", "image"], type="filepath")
            audio = gr.Audio(label="Voice", type="filepath", sources=["upload", "microphone"])
            model = choice.dropdown()
            with gr.Accordion("More", open=False):
                speaker = gr.Number(value=1, precision=0, minimum=1, label="Which face, most prominent first")
                loop = gr.Dropdown(list(LOOPS), value=LOOPS[0], label="A video shorter than the voice ...")
                label = gr.Checkbox(value=True, label="Write `AI-generated` into the picture")
            start = gr.Button("Sync", variant="primary")
        with gr.Column():
            video = gr.Video(label="Result", interactive=False)
            report = gr.Textbox(label="Report", interactive=False, lines=4)
    start.click(
        site.guarded(lambda *values: _sync(site, choice, *values)),
        [face, audio, model, speaker, loop, label],
        [video, report],
        api_name="wav2lip_sync",
    )


def _sync(
    site: Site,
    choice: Choice,
    face: str | None,
    audio: str | None,
    name: str,
    speaker: int,
    loop: str,
    label: bool,
) -> tuple[str, str]:
    """The result's file, and what is to be said about it."""
    chosen = choice.named(name)
    if loop not in LOOPS:
        raise ConfigError("not among the choices", expected=" or ".join(LOOPS), got=loop)
    source, sound = site.checked(face, what="a face"), site.checked(audio, what="a voice")
    number = int(speaker or 1)
    options = SyncOptions(face=number if number > 1 else None, loop=loop, label=bool(label))  # type: ignore[arg-type]
    made = _syncer(chosen.path, site.device).sync(source, sound, site.new_file(".mp4"), options)
    lines = [f"{made.synced} of {made.frames} frames synced in {made.seconds['total']:.1f} s", *made.notes]
    return str(made.path), "\n".join(lines)


@lru_cache(maxsize=2)
def _syncer(path: Path, device: str) -> Wav2Lip:
    return Wav2Lip.from_pretrained(path, device=device)
