"""The smoke test of an installed package: `python -m viseme.core.testing.smoke viseme.avsr avsr`.

Run where only the wheel and what it depends on is installed: it finds files that were left out of the wheel and
dependencies that were not declared. No pytest, no network.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

__all__ = ["smoke"]


def smoke(module: str, prog: str) -> list[str]:
    """Import the package, call every verb's help, compose every recipe, and run the package's own `smoke.smoke()`.

    Returns:
        What was tried.

    Raises:
        AssertionError: what does not work.
    """
    tried = []
    importlib.import_module(module)
    if module == "viseme.core":
        tried += _core()
    script = shutil.which(prog, path=str(Path(sys.executable).parent))
    assert script is not None, f"the console script {prog} is not installed"
    version = importlib.metadata.version(module.replace(".", "-"))
    said = _run([script, "--version"]).strip()
    assert said == f"{prog} {version}", f"{prog} --version says {said!r}, the distribution is {version}"
    app = importlib.import_module(f"{module}.cli.viseme" if module == "viseme.core" else f"{module}.cli").app
    for verb in app.verbs:
        _run([script, verb, "--help"])
    _run([script, "doctor"])
    tried.append(f"{prog}: {', '.join(app.verbs)}")
    if any(verb.takes_config for verb in app.verbs.values()):
        from viseme.core.cli.config import compose, config_options

        recipes = config_options(module).get("recipe", [])
        for recipe in recipes:
            compose(module, [f"recipe={recipe}"], missing_ok=True)
        tried.append(f"recipes: {', '.join(recipes)}")
    if module != "viseme.core" and importlib.util.find_spec(f"{module}.smoke") is not None:
        importlib.import_module(f"{module}.smoke").smoke()
        tried.append(f"{module}.smoke")
    return tried


def _core() -> list[str]:
    """The rooms with files or binaries of their own: media, faces, model directories."""
    import torch

    from viseme.core.checkpoint import load_model_dir, save_model_dir
    from viseme.core.faces import FaceMesh, YuNet
    from viseme.core.media import read_clip, write_video
    from viseme.core.types import Audio, Video

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = np.random.default_rng(0).integers(0, 255, (25, 64, 64, 3), dtype=np.uint8)
        write_video(folder / "clip.mp4", Video(frames, 25.0), Audio(np.zeros(16000, np.float32), 16000))
        clip = read_clip(folder / "clip.mp4")
        assert clip.video is not None and len(clip.video.frames) == 25
        YuNet(), FaceMesh()
        save_model_dir(folder / "model", {"dim": 1}, {"weight": torch.ones(1)})
        assert load_model_dir(folder / "model").config == {"dim": 1}
    return ["media, faces, model directories"]


def _run(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, f"{' '.join(command)} failed: {run.stdout}{run.stderr}"
    return run.stdout


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m viseme.core.testing.smoke MODULE SCRIPT")
    for line in smoke(*sys.argv[1:3]):
        print(f"ok  {line}")
