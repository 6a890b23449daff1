"""The demo app: one page in the browser, with a tab for every installed package that has a model to show.

A package takes part by having a module `viseme.<package>.demo` with one function; nothing is registered anywhere:

    def page(site: Site) -> Page | None:
        models = [model for model in site.models if model.config.get("kind") == "recogniser"]
        if not models:
            return None  # nothing to show: no tab

        def build() -> None:  # runs inside the open tab
            import gradio as gr

            video = gr.Video(label="A face that speaks", sources=["upload", "webcam"])
            words = gr.Textbox(label="Words")
            gr.Button("Transcribe").click(site.guarded(run), [video], [words], api_name="avsr_transcribe")

        def run(video: str | None) -> str:
            return recogniser().transcribe(site.checked(video)).text

        @functools.cache
        def recogniser() -> AVSR:  # loaded when first asked for, once
            return AVSR.from_pretrained(models[0].path, device=site.device)

        return Page("Transcribe", build)

`site.models` are that package's model directories alone (`config.yaml` says `package: NAME`), newest first. `guarded`
shows a VisemeError as one line instead of a traceback; `checked` refuses uploads that are too long or too large;
`new_file(".mp4")` names a file that is deleted after a while, and with the app. `Choice` lets the visitor pick among
several models. Endpoints have an `api_name`
(`<package>_<verb>`), by which tests call them. Gradio is imported inside functions only.
"""

from __future__ import annotations

from viseme.core.demo.app import build_app, pages, serve
from viseme.core.demo.choice import Choice
from viseme.core.demo.site import Limits, Model, Page, Site, find_models

__all__ = ["Choice", "Limits", "Model", "Page", "Site", "build_app", "find_models", "pages", "serve"]
