"""Reading while watching: units come out a fraction of a second after they were said.

    crops, samples --front-end streams--> features --chunked conformer streams--> frames --CTC--> units

For models trained with `model.chunk`. What comes out is exactly what the model reads from the whole recording with
greedy CTC (streamed equals offline), however the input arrives. H, W pixels, T frames at hand, S samples, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from viseme.avsr.model import AVSRModel, Branch, Modality
from viseme.avsr.pipeline import AVSR
from viseme.avsr.recording import FPS
from viseme.core.data.transforms import video_eval
from viseme.core.errors import ConfigError
from viseme.core.layers.frontends import AudioFrontend, VisualFrontend
from viseme.core.layers.streaming import AudioStream, EncoderStream, VisualStream

__all__ = ["LiveSession", "LiveUnit"]


@dataclass(frozen=True)
class LiveUnit:
    """One unit as it comes.

    Attributes:
        token: its id.
        text: what it adds to the text so far.
        time_s: when it was said: the time of its frame.
        known_s: how much of the recording had arrived when it came out.
        probability: posterior of the unit in its frame.
    """

    token: int
    text: str
    time_s: float
    known_s: float
    probability: float


class _BranchStream:
    """Front-end, projection and conformer of one modality, run while frames come."""

    def __init__(self, branch: Branch) -> None:
        self.branch = branch
        self.frontend: VisualStream | AudioStream
        if isinstance(branch.frontend, VisualFrontend):
            self.frontend = VisualStream(branch.frontend)
        else:
            assert isinstance(branch.frontend, AudioFrontend)
            self.frontend = AudioStream(branch.frontend, branch.cumulative)
        self.encoder = EncoderStream(branch.encoder)

    def push(self, x: Tensor, last: bool) -> Tensor:
        """New input (1, T, 1, H, W) or (1, S, 1) -> encoded frames (1, T', D)."""
        return self.encoder.push(self.branch.proj_encoder(self.frontend.push(x, last=last)), last=last)


class LiveSession:
    """One recording that is being read while it is made.

    Args:
        recogniser: its model must have been trained with chunks.
        modality: what will be pushed; by default what the model was made for.

    Attributes:
        text: what was read so far.
        tokens: its units.

    Raises:
        ConfigError: a model without chunks, or one that does not read this modality.
    """

    def __init__(self, recogniser: AVSR, modality: Modality | None = None) -> None:
        self.recogniser, model = recogniser, recogniser.model
        self.modality = modality or model.config.modality
        if not isinstance(model, AVSRModel) or not model.config.chunk:
            raise ConfigError(
                "this model reads whole recordings only",
                expected="a model trained with model.chunk",
                hint="avsr train recipe=live makes one; avsr transcribe reads recordings with any model.",
            )
        if self.modality not in recogniser.modalities:
            raise ConfigError(f"this model does not read {self.modality}", expected=" or ".join(recogniser.modalities))
        names = ("video", "audio") if self.modality == "audiovisual" else (self.modality,)
        both = model.config.modality == "audiovisual"
        self._streams = {name: _BranchStream(getattr(model, name) if both else model) for name in names}
        self._encoded: dict[str, list[Tensor]] = {name: [] for name in names}
        self._frames = 0  # read so far
        self._arrived_s = 0.0
        self._newest: int = model.config.blank
        self.tokens: list[int] = []
        self.text = ""

    @property
    def delay_frames(self) -> int:
        """Frames that must have arrived after one before it is read, at most: the rest of its chunk, and what the
        front-ends look ahead."""
        ahead = 2 if "video" in self._streams else 1
        return self.recogniser.model.config.chunk - 1 + ahead

    @torch.inference_mode()
    def push(
        self, crops: np.ndarray | None = None, samples: np.ndarray | None = None, *, last: bool = False
    ) -> list[LiveUnit]:
        """Take what has arrived and return the units that it settles.

        Args:
            crops: (T, 96, 96[, 3]) uint8 mouth crops at 25 fps, where the session reads video; None: no new ones.
            samples: (S,) at 16 kHz, where it reads audio; None: no new ones.
            last: nothing comes after this.
        """
        pushed = {"video": self._video(crops), "audio": self._audio(samples)}
        if "video" in self._streams and crops is not None:
            self._arrived_s += len(crops) / FPS
        elif "video" not in self._streams and samples is not None:
            self._arrived_s += len(samples) / 16000
        for name, stream in self._streams.items():
            self._encoded[name].append(stream.push(pushed[name], last))
        memory_BTD = self._fused()
        return self._units(self.recogniser.model.ctc(memory_BTD)[0]) if memory_BTD.shape[1] else []

    def _video(self, crops: np.ndarray | None) -> Tensor:
        inputs, device = self.recogniser.inputs, self.recogniser.device
        if crops is None or not len(crops):
            return torch.zeros(1, 0, 1, inputs.crop_size, inputs.crop_size, device=device)
        return video_eval(inputs.scale(crops), crop=inputs.crop_size)[None].to(device)

    def _audio(self, samples: np.ndarray | None) -> Tensor:
        x = np.zeros(0, np.float32) if samples is None else np.asarray(samples, np.float32)
        return torch.from_numpy(x)[None, :, None].to(self.recogniser.device)

    def _fused(self) -> Tensor:
        """Frames that every branch has encoded, as the CTC head reads them: (1, T', D)."""
        arrived = {name: torch.cat(pieces, dim=1) for name, pieces in self._encoded.items()}
        ready = min(piece.shape[1] for piece in arrived.values())
        self._encoded = {name: [piece[:, ready:]] for name, piece in arrived.items()}
        arrived = {name: piece[:, :ready] for name, piece in arrived.items()}
        model = self.recogniser.model
        if model.config.modality != "audiovisual":
            return arrived[self.modality]
        some = next(iter(arrived.values()))
        video = arrived.get("video", model.absent_video.expand_as(some) if "video" not in arrived else some)
        audio = arrived.get("audio", model.absent_audio.expand_as(some) if "audio" not in arrived else some)
        fused: Tensor = model.fusion(video, audio) if ready else some
        return fused

    def _units(self, logp_TV: Tensor) -> list[LiveUnit]:
        """New units of the best path, repetitions collapsed across calls."""
        found = []
        peak_T, best_T = logp_TV.max(-1)
        for logp, token in zip(peak_T.tolist(), best_T.tolist(), strict=True):
            if token != self._newest and token != self.recogniser.tokenizer.blank:
                self.tokens.append(token)
                text = self.recogniser.tokenizer.decode(self.tokens)
                added, self.text = text[len(self.text) :], text
                time_s = self._frames / FPS
                found.append(LiveUnit(token, added, time_s, round(self._arrived_s, 3), float(np.exp(logp))))
            self._newest = token
            self._frames += 1
        return found
