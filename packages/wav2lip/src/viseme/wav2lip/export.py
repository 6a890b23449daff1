"""The generator for other runtimes: ONNX, or torch.export; written only if it says what the original says."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from viseme.core.errors import CheckpointError, ConfigError, DependencyError
from viseme.core.files import atomic_path
from viseme.wav2lip.fast import fused
from viseme.wav2lip.models import Wav2LipGenerator
from viseme.wav2lip.weights import load_network

__all__ = ["export_generator"]

TOLERANCE = 1e-4


def export_generator(model: str | Path, file: str | Path) -> float:
    """Write a generator (mel (B,1,80,16), faces (B,6,S,S) -> (B,3,S,S), any B); returns the largest difference seen.

    Raises:
        ConfigError: neither .onnx nor .pt2.
        DependencyError: ONNX is not installed.
        CheckpointError: not a generator, or the exported one differs by more than 1e-4.
    """
    out = Path(file)
    loaded = load_network(model, "generator")
    assert isinstance(loaded.model, Wav2LipGenerator)
    generator = fused(loaded.model)
    size = generator.config.image_size
    draw = torch.Generator().manual_seed(0)
    mel = torch.rand(2, 1, 80, 16, generator=draw) * 8 - 4
    faces = torch.rand(2, 6, size, size, generator=draw)
    with torch.no_grad():
        expected = generator(mel, faces).numpy()
    with atomic_path(out) as temporary:
        if out.suffix == ".onnx":
            made = _onnx(generator, (mel, faces), temporary)
        elif out.suffix == ".pt2":
            made = _pt2(generator, (mel, faces), temporary)
        else:
            raise ConfigError("unknown format", expected=".onnx or .pt2", got=out.suffix or "none")
        error = float(np.abs(made - expected).max())
        if error > TOLERANCE:
            raise CheckpointError("the exported generator differs from the original", expected=TOLERANCE, got=error)
    return error


def _onnx(generator: Wav2LipGenerator, inputs: tuple[torch.Tensor, torch.Tensor], path: Path) -> np.ndarray:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "export to ONNX needs onnx and onnxscript", hint="pip install viseme-wav2lip[export]"
        ) from error
    import onnxruntime

    batch = torch.export.Dim("batch", min=1, max=4096)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            generator, inputs, str(path), input_names=["mel", "faces"], output_names=["generated"], dynamo=True,
            dynamic_shapes=({0: batch}, {0: batch}), external_data=False, verbose=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    made: np.ndarray = session.run(None, {"mel": inputs[0].numpy(), "faces": inputs[1].numpy()})[0]
    return made


def _pt2(generator: Wav2LipGenerator, inputs: tuple[torch.Tensor, torch.Tensor], path: Path) -> np.ndarray:
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(generator, inputs, dynamic_shapes=({0: batch}, {0: batch}))
    torch.export.save(program, path)
    with torch.no_grad():
        made: np.ndarray = torch.export.load(path).module()(*inputs).numpy()
    return made
