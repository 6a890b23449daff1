"""Exported recognisers run through onnxruntime, behind the same pipeline.

C clips, N hypotheses per clip, R rows of one clip, T frames, D channels, V units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viseme.avsr.model import AVSRConfig, Modality
from viseme.core.checkpoint import ModelDir
from viseme.core.errors import CheckpointError, DependencyError
from viseme.core.layers.frontends import SAMPLES_PER_FRAME

__all__ = ["OnnxDecoder", "OnnxModel"]


class _Session:
    """One graph."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise DependencyError("exported models need onnxruntime", hint="pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class
            raise CheckpointError(
                "not a readable ONNX graph", path=path, got=" ".join(str(error).split())[:200]
            ) from error

    def __call__(self, **inputs: Tensor) -> list[Tensor]:
        arrays = {name: value.detach().cpu().numpy() for name, value in inputs.items()}
        return [torch.from_numpy(np.asarray(value)) for value in self._session.run(None, arrays)]


@dataclass
class _ClipState:
    """Of one clip: keys and values of its hypotheses' tokens, and of its frames."""

    past: Tensor
    cross: Tensor


@dataclass
class OnnxState:
    """What a search keeps of its clips."""

    clips: list[_ClipState]

    def select(self, parents_CN: Tensor, clips_C: Tensor | None = None) -> None:
        """Hypothesis (c, n) becomes what `parents_CN[c, n]` of clip `clips_C[c]` was (of clip c when None)."""
        chosen = range(len(parents_CN)) if clips_C is None else clips_C.tolist()
        self.clips = [
            _ClipState(self.clips[clip].past[:, :, parents_N], self.clips[clip].cross)
            for clip, parents_N in zip(chosen, parents_CN, strict=True)
        ]


class OnnxDecoder:
    """The exported decoder as a full scorer of `viseme.core.decoding`."""

    def __init__(self, folder: Path, config: AVSRConfig) -> None:
        self.vocabulary, self.config = config.vocabulary, config
        self._memory, self._step = _Session(folder / "decoder_memory.onnx"), _Session(folder / "decoder_step.onnx")

    def init_state(self, memory_CTD: Tensor, lengths_C: Tensor | None = None) -> OnnxState:
        config, clips = self.config, []
        lengths = [memory_CTD.shape[1]] * len(memory_CTD) if lengths_C is None else lengths_C.tolist()
        heads, channels = config.decoder_heads, config.decoder_dim // config.decoder_heads
        for memory_TD, length in zip(memory_CTD, lengths, strict=True):
            (cross,) = self._memory(memory=memory_TD[None, :length])
            clips.append(_ClipState(torch.zeros(config.decoder_blocks, 2, 1, heads, 0, channels), cross))
        return OnnxState(clips)

    def step(self, tokens_CN: Tensor, state: OnnxState) -> Tensor:
        scores = []
        for tokens_N, clip in zip(tokens_CN, state.clips, strict=True):
            logp_NV, clip.past = self._step(tokens=tokens_N, past=clip.past, cross=clip.cross)
            scores.append(logp_NV)
        return torch.stack(scores)


class OnnxModel:
    """What the pipeline asks of a model, answered by exported graphs.

    Raises:
        CheckpointError: an export in another format, or a graph that is missing or damaged.
    """

    def __init__(self, folder: ModelDir) -> None:
        config: Mapping[str, Any] = folder.config
        if config.get("format") != "onnx":
            raise CheckpointError(
                "only ONNX exports can be run here",
                path=folder.path,
                got=config.get("format"),
                hint="torch.export.load reads .pt2 files.",
            )
        self.config = AVSRConfig.from_dict(config["model"])
        graphs = sorted(folder.path.glob("encoder_*.onnx"))
        self._encoders = {path.stem.removeprefix("encoder_"): _Session(path) for path in graphs}
        self.decoder = OnnxDecoder(folder.path, self.config)

    def eval(self) -> OnnxModel:
        return self

    def to(self, device: torch.device | str) -> OnnxModel:
        """Exported graphs run on the CPU; other devices are refused."""
        if torch.device(device).type != "cpu":
            raise CheckpointError("exported models run on the CPU", got=str(device), hint="--device cpu")
        return self

    def encode_with_ctc(self, video: Tensor | None = None, audio: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encoder output and CTC log-posteriors of one clip; see `AVSRModel.encode_with_ctc`."""
        both = video is not None and audio is not None
        modality: Modality = "audiovisual" if both else "video" if video is not None else "audio"
        if modality not in self._encoders:
            raise CheckpointError(f"there is no exported encoder for {modality}", expected=" or ".join(self._encoders))
        inputs = {}
        if video is not None:
            inputs["video"] = video
        if audio is not None:
            inputs["audio"] = audio[:, : audio.shape[1] // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
        memory, logp = self._encoders[modality](**inputs)
        return memory, logp
