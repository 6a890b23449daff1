"""Model directories of networks that are no pipeline of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from viseme.core.checkpoint import save_model_dir
from viseme.lip2speech.models import ContentConfig, ContentRecogniser

__all__ = ["save_recogniser"]


def save_recogniser(
    model: ContentRecogniser, config: ContentConfig, tokenizer: Any, directory: str | Path, *, card: str = ""
) -> Path:
    """Write the recogniser of the content supervision; `tokenizer` may be None for a published one."""
    writers = [tokenizer.save] if tokenizer is not None else []
    content = {"package": "lip2speech", "model": config.to_dict()}
    return save_model_dir(directory, content, model.state_dict(), writers=writers, card=card)
