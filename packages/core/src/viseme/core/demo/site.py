"""What the demo app gives each package's page: its models, limits, and files that do not outlive the app."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from viseme.core.errors import MediaError, VisemeError
from viseme.core.media import probe

__all__ = ["Limits", "Model", "Page", "Site", "find_models"]

Result = TypeVar("Result")

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for.

    Attributes:
        seconds: length of an upload.
        megabytes: size of an upload.
        waiting: requests that may queue; more are turned away.
        keep_s: seconds after which uploads and results are deleted.
    """

    seconds: float = 60.0
    megabytes: int = 100
    waiting: int = 8
    keep_s: int = 1800


@dataclass(frozen=True)
class Model:
    """A model directory that was found: its `config.yaml` has been read, its weights have not."""

    path: Path
    config: dict

    @property
    def package(self) -> str:
        """The task package that it belongs to; exports count as their package's."""
        return str(self.config.get("package", "")).partition("-")[0]

    @property
    def name(self) -> str:
        """What a reader tells it by: the run's name and its own."""
        return "/".join(self.path.parts[-2:])


@dataclass(frozen=True)
class Page:
    """A tab: its title, and what fills it when called inside the open `gr.Tab`."""

    title: str
    build: Callable[[], None]


@dataclass(frozen=True)
class Site:
    """What a package's `page` is given.

    Attributes:
        models: model directories of that package, newest first.
        device: to load them on.
        limits: of each request.
        folder: temporary; deleted with the app.
    """

    models: tuple[Model, ...]
    device: str = "cpu"
    limits: Limits = field(default_factory=Limits)
    folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))

    def new_file(self, suffix: str) -> Path:
        """A name for a result; the file is deleted when it is old, and with the app."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / f"result{suffix}"

    def checked(self, path: str | Path | None, *, what: str = "a file") -> Path:
        """An upload that is within the limits.

        Raises:
            MediaError: nothing was uploaded, or it is unreadable, too large or too long.
        """
        if not path:
            raise MediaError(f"no file yet: choose or record {what} first")
        path = Path(path)
        megabytes = path.stat().st_size / 1e6
        if megabytes > self.limits.megabytes:
            raise MediaError(
                "the file is too large", expected=f"at most {self.limits.megabytes} MB", got=f"{megabytes:.0f}"
            )
        seconds = probe(path).duration_s
        if seconds > self.limits.seconds:
            raise MediaError(
                "the recording is too long", expected=f"at most {self.limits.seconds:g} s", got=f"{seconds:.1f}"
            )
        return path

    def guarded(self, run: Callable[..., Result]) -> Callable[..., Result]:
        """`run`, with a VisemeError shown to the visitor as one line, without the server's paths."""

        @functools.wraps(run)
        def call(*values: Any) -> Result:
            import gradio

            try:
                return run(*values)
            except VisemeError as error:
                said = " ".join(str(error).split()).replace(str(error.path), "") if error.path else str(error)
                raise gradio.Error(said.strip(": "), print_exception=False) from error

        return call


def find_models(folders: Iterable[str | Path]) -> list[Model]:
    """The model directories in or below some folders, newest first.

    Folders that only look like one (no `package` in a readable `config.yaml`) are passed over.
    """
    found: dict[Path, Model] = {}
    for folder in folders:
        for config in Path(folder).rglob(CONFIG):
            if not (config.parent / WEIGHTS).is_file():
                continue
            try:
                content = yaml.safe_load(config.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError):  # somebody else's file
                continue
            if isinstance(content, dict) and isinstance(content.get("package"), str):
                found[config.parent.resolve()] = Model(config.parent, content)
    return sorted(found.values(), key=lambda model: (model.path / CONFIG).stat().st_mtime, reverse=True)
