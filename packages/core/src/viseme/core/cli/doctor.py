"""`doctor`: what is installed on this machine, and what of it works. Looks, changes nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass

__all__ = ["Finding", "doctor", "examine"]

REQUIRED = ("torch", "lightning", "numpy", "scipy", "av", "cv2", "soundfile", "safetensors", "hydra")
OPTIONAL = {
    "sentencepiece": "sub-word text units",
    "espeakng_loader": "voices of the embedded corpus (viseme-core[synthetic])",
    "jiwer": "an independent check of error rates (viseme-core[metrics])",
    "pystoi": "STOI and ESTOI (viseme-core[metrics])",
    "pesq": "PESQ (viseme-core[metrics])",
    "triton": "fused loss kernels (viseme-core[kernels])",
    "onnx": "export (viseme-core[export])",
    "gradio": "the demo app (viseme-core[demo])",
    "ray": "preparing on a cluster (viseme-core[cluster])",
}
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "hydra": "hydra-core", "espeakng_loader": "espeakng-loader"}


@dataclass(frozen=True)
class Finding:
    """One line of the report: `status` is `ok`, `absent` (optional and not there) or `broken`."""

    what: str
    status: str
    detail: str


def examine(extras: Mapping[str, str] | None = None) -> list[Finding]:
    """Look at the interpreter, the packages, the devices, the codecs and the disk."""
    findings = [
        Finding("python", "ok" if sys.version_info >= (3, 11) else "broken", platform.python_version()),
        Finding("platform", "ok", f"{platform.platform()}, {os.cpu_count()} cores"),
        Finding("viseme packages", "ok", ", ".join(_viseme_packages()) or "none"),
    ]
    findings += [_module(name, None) for name in REQUIRED]
    findings += [_module(name, use) for name, use in {**OPTIONAL, **(extras or {})}.items()]
    findings += [_devices(), _codecs(), _disk()]
    return findings


def doctor(prog: str, extras: Mapping[str, str] | None = None, *, as_json: bool = False) -> int:
    """Print the report; 0 where nothing is broken, else 2."""
    findings = examine(extras)
    if as_json:
        for finding in findings:
            print(json.dumps(asdict(finding)))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            print(f"{finding.status:<6}  {finding.what:<{width}}  {finding.detail}")
    broken = [finding.what for finding in findings if finding.status == "broken"]
    if broken:
        print(f"{prog}: broken here: {', '.join(broken)}", file=sys.stderr)
    return 2 if broken else 0


def _module(name: str, use: str | None) -> Finding:
    """A module: required ones must be there and import; optional ones are only looked for (imports can be slow)."""
    if importlib.util.find_spec(name) is None:
        return Finding(name, "broken" if use is None else "absent", f"not installed{'; for ' + use if use else ''}")
    if use is None:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken binary wheel can fail in any way; the report says how
            return Finding(name, "broken", f"does not import: {type(error).__name__}: {error}")
    try:
        version = importlib.metadata.version(DISTRIBUTIONS.get(name, name))
    except importlib.metadata.PackageNotFoundError:
        version = "version unknown"
    return Finding(name, "ok", version)


def _viseme_packages() -> list[str]:
    names = {dist.metadata["Name"]: dist.version for dist in importlib.metadata.distributions()}
    return [f"{name} {version}" for name, version in sorted(names.items()) if name and name.startswith("viseme-")]


def _devices() -> Finding:
    try:
        import torch
    except Exception as error:
        return Finding("devices", "broken", f"torch does not import: {error}")
    found = [f"cpu ({torch.get_num_threads()} threads)"]
    if torch.cuda.is_available():
        found += [f"cuda:{n} ({torch.cuda.get_device_name(n)})" for n in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return Finding("devices", "ok", ", ".join(found))


def _codecs() -> Finding:
    """The codecs that reading and writing clips needs, by FFmpeg's names."""
    needed = {("h264", "r"), ("libx264", "w"), ("aac", "r"), ("aac", "w"), ("pcm_s16le", "r"), ("flac", "r")}
    try:
        import av

        lacking = sorted(name for name, mode in needed if not _has_codec(av, name, mode))
    except Exception as error:
        return Finding("codecs", "broken", f"PyAV does not import: {error}")
    if lacking:
        return Finding("codecs", "broken", f"PyAV lacks {', '.join(lacking)}")
    return Finding("codecs", "ok", "h264, aac, flac, pcm (inside PyAV; no ffmpeg binary needed)")


def _has_codec(av: object, name: str, mode: str) -> bool:
    try:
        av.Codec(name, mode)  # type: ignore[attr-defined]
    except ValueError:  # av.codec.codec.UnknownCodecError: it is not in this build of FFmpeg
        return False
    return True


def _disk() -> Finding:
    usage = shutil.disk_usage(os.curdir)
    return Finding("disk here", "ok", f"{usage.free / 2**30:.1f} GiB free")
