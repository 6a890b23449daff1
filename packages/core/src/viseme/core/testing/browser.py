"""A page in headless Chromium, driven over its DevTools protocol: what a visitor sees and does, without a driver to
install. Chromium is found on the PATH; tests that need it skip where it is not."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from viseme.core.files import scratch_folder

__all__ = ["CHROMIUM", "Browser"]

CHROMIUM = next(
    (name for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if shutil.which(name)), None
)
"""The browser's command, or None."""

_PORT_FILE = "DevToolsActivePort"


class Browser:
    """One page.

        with Browser("http://127.0.0.1:7860") as page:
            page.wait("document.querySelector('button')")
            page.upload("input[type=file]", [path])
            page.evaluate("document.querySelector('button').click()")

    Args:
        address: of the page.
        size: of the window in pixels.
        patience_s: after which waiting is given up.
    """

    def __init__(self, address: str, *, size: tuple[int, int] = (1280, 900), patience_s: float = 60.0) -> None:
        self.address, self.size, self.patience_s = address, size, patience_s
        self._numbers = itertools.count(1)

    def __enter__(self) -> Browser:
        assert CHROMIUM is not None, "no Chromium on the PATH"
        self._folder = scratch_folder("browser")
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--remote-debugging-port=0", f"--user-data-dir={self._folder}", "--no-first-run", "--mute-audio"]
        command += [f"--window-size={self.size[0]},{self.size[1]}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._loop = asyncio.new_event_loop()
        try:
            self._loop.run_until_complete(self._connect())
            self.call("Page.enable")
            self.call("Page.navigate", url=self.address)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """One command of the protocol."""
        return self._loop.run_until_complete(asyncio.wait_for(self._call(method, values), self.patience_s))

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page.

        Raises:
            RuntimeError: the script fails.
        """
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails'].get('exception', answer['exceptionDetails'])}")
        return answer["result"].get("value")

    def wait(self, script: str) -> Any:
        """Until an expression is true of the page; returns its value.

        Raises:
            TimeoutError: it does not become true.
        """
        end = time.monotonic() + self.patience_s
        while time.monotonic() < end:
            if value := self.evaluate(f"(() => {{ try {{ return {script} }} catch (e) {{ return null }} }})()"):
                return value
            time.sleep(0.1)
        raise TimeoutError(f"not within {self.patience_s:g} s: {script}; the page says: {self.text()[:500]}")

    def text(self) -> str:
        """All that can be read on the page."""
        return str(self.evaluate("document.body.innerText"))

    def upload(self, selector: str, files: Sequence[str | Path]) -> None:
        """Choose files in the input element that a CSS selector names."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(Path(file).absolute()) for file in files])

    def screenshot(self, path: str | Path) -> Path:
        """The visible page as PNG."""
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
        return Path(path)

    def check_seen(self, folder: Path, name: str) -> None:
        """Something is to be seen on the page; its picture is kept in the folder that VISEME_SCREENSHOTS names, for
        people to look at, or else in `folder`."""
        shot = self.screenshot(Path(os.environ.get("VISEME_SCREENSHOTS") or folder) / f"{name}.png")
        assert shot.stat().st_size > 10_000, f"{shot} is nearly empty"

    # ------------------------------------------------------------------------------------------------- protocol

    async def _connect(self) -> None:
        import aiohttp  # comes with Lightning

        port_file, end = self._folder / _PORT_FILE, time.monotonic() + self.patience_s
        while not (port_file.exists() and port_file.read_text().strip()):
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(f"{CHROMIUM} does not start")
            await asyncio.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            page = next(target for target in await answer.json(content_type=None) if target["type"] == "page")
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

    async def _call(self, method: str, values: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": values})
        while True:
            answer = json.loads((await self._socket.receive()).data)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _close(self) -> None:
        session = getattr(self, "_session", None)
        if session is not None:
            self._loop.run_until_complete(session.close())
        self._loop.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
