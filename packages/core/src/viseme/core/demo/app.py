"""The app itself: tabs put together, and the server that shows them, on this machine alone unless told otherwise."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import viseme
from viseme.core.demo.inside import inside_page
from viseme.core.demo.site import Limits, Model, Page, Site
from viseme.core.errors import ConfigError, DependencyError
from viseme.core.files import scratch_folder

__all__ = ["LOOPBACK", "build_app", "pages", "serve"]

LOOPBACK = "127.0.0.1"
TITLE = "viseme"
NOTE = (
    "Runs on this machine; nothing is sent anywhere. Uploads and results are deleted after {minutes:.0f} minutes. "
    "Read and re-voice only people who agreed to it; whatever is generated here says so in its tags."
)


def pages(site: Callable[[str], Site]) -> list[Page]:
    """The pages of the installed packages, in the order of their names; `site` gives what each is given."""
    found = []
    for module in sorted(pkgutil.iter_modules(viseme.__path__), key=lambda module: module.name):
        name = f"viseme.{module.name}.demo"
        if module.name != "core" and importlib.util.find_spec(name) is not None:
            page = importlib.import_module(name).page(site(module.name))
            if page is not None:
                found.append(page)
    return found


def build_app(
    models: Sequence[Model], *, device: str = "cpu", limits: Limits | None = None, folder: str | Path | None = None
) -> Any:
    """The app as a `gr.Blocks`, with a tab for each package that has a model among `models`.

    Args:
        models: of `find_models`.
        device: to load them on.
        limits: of each request.
        folder: for results; a temporary one by default.

    Raises:
        DependencyError: Gradio is not installed.
    """
    gradio = _gradio()
    limits = limits or Limits()
    folder = Path(folder) if folder else scratch_folder("demo")

    def site(package: str) -> Site:
        return Site(tuple(model for model in models if model.package == package), device, limits, folder)

    found = pages(site)
    inside = inside_page(Site(tuple(models), device, limits, folder))
    with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(limits.keep_s, limits.keep_s)) as app:
        gradio.Markdown(f"# {TITLE}\n{NOTE.format(minutes=limits.keep_s / 60)}")
        if not found:
            gradio.Markdown("No models were found. `make demo` trains some; then give `viseme demo` their folder.")
        for page in (*found, inside):
            with gradio.Tab(page.title):
                page.build()
    return app.queue(max_size=limits.waiting, default_concurrency_limit=1)


def serve(
    models: Sequence[Model],
    *,
    device: str = "cpu",
    limits: Limits | None = None,
    host: str = LOOPBACK,
    port: int | None = None,
    wait: bool = True,
    ready: Callable[[str], None] | None = None,
) -> Callable[[], None]:
    """Show the app at http://host:port until interrupted.

    Args:
        host: 127.0.0.1 is this machine alone.
        port: the first free one from 7860 by default.
        wait: come back only when interrupted.
        ready: told the address, once it answers.

    Returns:
        What stops the server and deletes every upload and result.

    Raises:
        DependencyError: Gradio is not installed.
        ConfigError: the port is taken.
    """
    limits = limits or Limits()
    folder = scratch_folder("demo")
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")  # read when a component is made and when a file comes

    def stop() -> None:
        app.close(verbose=False)
        os.environ.pop("GRADIO_TEMP_DIR", None)
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before
        shutil.rmtree(folder, ignore_errors=True)

    try:
        app = build_app(models, device=device, limits=limits, folder=folder)
        _, address, _ = app.launch(
            server_name=host,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=limits.megabytes * 1_000_000,
            allowed_paths=[str(folder)],
            ssr_mode=False,
        )
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError("the address cannot be used", got=f"{host}:{port or 'any'} ({error})") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not wait:
        if ready is not None:
            ready(address)
        return stop
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)  # how services are stopped: uploads are deleted then too
    try:
        if ready is not None:
            ready(address)
        app.block_thread()
    finally:
        stop()
    return stop


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _gradio() -> Any:
    try:
        return importlib.import_module("gradio")
    except ImportError as error:
        raise DependencyError("the demo app needs Gradio", hint="pip install 'viseme-core[demo]'") from error
