"""The choice among a page's models: what a visitor is told of them, how one is picked, and which was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from viseme.core.demo.site import Model
from viseme.core.errors import ConfigError

__all__ = ["Choice"]


@dataclass(frozen=True)
class Choice:
    """The models of one page, the first of them chosen until the visitor says otherwise."""

    models: Sequence[Model]

    def introduce(self, text: str) -> None:
        """Write what the page does, and below it what each model was trained on (`domain` of its config)."""
        import gradio as gr

        gr.Markdown(text)
        for domain in dict.fromkeys(str(model.config.get("domain") or "") for model in self.models):
            if domain:
                gr.Markdown(f"**{domain}**")

    def dropdown(self) -> Any:
        """The component that gives a model's name; not shown where there is only one."""
        import gradio as gr

        names = [model.name for model in self.models]
        return gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1)

    def named(self, name: str) -> Model:
        """The model of a name that the component gave.

        Raises:
            ConfigError: there is none: the request did not come from the page.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise ConfigError("not among the choices", expected=" or ".join(m.name for m in self.models), got=name)
