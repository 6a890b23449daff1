"""A picture in, speech out: the only inference path. The command line and the evaluation come here.

picture --Pillow--> pixels --> captioner --> speech units --vocoder--> 16 kHz sound
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from viseme.core.checkpoint import ModelDir, load_model_dir, save_model_dir
from viseme.core.device import resolve_device
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.layers.hifigan import UnitVocoder, UnitVocoderConfig
from viseme.core.types import Audio
from viseme.im2speech.data import pixels_for
from viseme.im2speech.decoding import Generation, GenerationConfig, generate
from viseme.im2speech.images import read_image
from viseme.im2speech.model import TIED, Captioner, CaptionerConfig
from viseme.im2speech.tokens import deduplicate

__all__ = ["Im2Speech", "Synthesis"]


@dataclass(frozen=True, eq=False)
class Synthesis:
    """What was said of a picture.

    Attributes:
        name: of the picture.
        units: spoken, without repeats.
        audio: sound at 16 kHz; None where only units were asked for.
        score: mean log-probability of a unit.
        notes: what a user should know about it.
    """

    name: str
    units: tuple[int, ...]
    audio: Audio | None
    score: float
    notes: tuple[str, ...] = ()

    @property
    def confidence(self) -> float:
        """Geometric mean of the units' probabilities."""
        return math.exp(min(0.0, self.score))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the sound."""
        return {
            "name": self.name,
            "units": list(self.units),
            "duration_s": None if self.audio is None else round(self.audio.duration_s, 3),
            "score": self.score,
            "confidence": self.confidence,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return " ".join(map(str, self.units))


class Im2Speech:
    """A captioner and its voice, ready to use.

    Args:
        captioner: the network; put in evaluation mode and on `device`.
        vocoder: makes sound of units; without one there are only units.
        search: how captions are looked for unless told otherwise.
        device: `auto`, `cpu`, `cuda`, ...
        domain: a warning that every result carries, where the model knows only some pictures.
        sha256: of the weights' file, where they came from one.

    Raises:
        ConfigError: captioner and vocoder of different units.
    """

    def __init__(
        self,
        captioner: Captioner,
        vocoder: UnitVocoder | None = None,
        *,
        search: GenerationConfig | None = None,
        device: str | torch.device = "auto",
        domain: str = "",
        sha256: str = "",
    ) -> None:
        config = captioner.config
        if vocoder is not None and vocoder.config.units != config.units:
            raise ConfigError("captioner and vocoder differ in units", expected=config.units, got=vocoder.config.units)
        self.device = resolve_device(device)
        self.captioner = captioner.eval().to(self.device)
        self.vocoder = None if vocoder is None else vocoder.eval().to(self.device)
        if self.vocoder is not None and self.device.type == "cpu" and not self.vocoder.normalised:
            self.vocoder.lay_out()
        self.search = search or GenerationConfig(max_tokens=min(512, config.max_tokens))
        self.domain, self.sha256 = domain, sha256
        self._prepare = pixels_for(config.image, config.image_size)

    # ------------------------------------------------------------------------------------------------ directories

    @classmethod
    def from_pretrained(cls, directory: str | Path, *, device: str | torch.device = "auto") -> Im2Speech:
        """Load a model directory (made by `im2speech train` or `im2speech convert`).

        Raises:
            CheckpointError: not a model directory, a missing or altered file, or not a captioner of this package.
        """
        from viseme.im2speech.units import check_part

        folder = load_model_dir(directory)
        check_part(folder, "captioner")
        return cls._from_dir(folder, device)

    @classmethod
    def _from_dir(cls, folder: ModelDir, device: str | torch.device) -> Im2Speech:
        config = folder.config
        try:
            captioner = Captioner(CaptionerConfig.from_dict(config["model"]))
            vocoder = None
            if config.get("vocoder") is not None:
                vocoder = UnitVocoder(UnitVocoderConfig.from_dict(config["vocoder"]))
            search = GenerationConfig(**config.get("search", {}))
        except (KeyError, TypeError, ConfigError) as error:
            raise CheckpointError("the configuration does not fit this version", path=folder.path, got=error) from error
        parts: dict[str, torch.nn.Module] = {"captioner": captioner}
        parts |= {} if vocoder is None else {"vocoder": vocoder}
        expected = {f"{part}.{key}" for part, module in parts.items() for key in module.state_dict()}
        expected.discard(f"captioner.{TIED}")
        if odd := sorted(expected ^ set(folder.state)):
            raise CheckpointError(
                f"{len(odd)} weights are missing or unknown", path=folder.path, got=", ".join(odd[:5])
            )
        for part, module in parts.items():
            prefix = part + "."
            state = {key.removeprefix(prefix): value for key, value in folder.state.items() if key.startswith(prefix)}
            if part == "captioner":
                state[TIED] = state["model.output.weight"]
            try:
                module.load_state_dict(state)
            except RuntimeError as error:
                line = " ".join(str(error).split())[:300]
                raise CheckpointError("weights of another shape", path=folder.path, got=line) from error
        with folder.file("model.safetensors").open("rb") as weights:
            sha256 = hashlib.file_digest(weights, "sha256").hexdigest()
        domain = config.get("domain", "")
        return cls(captioner, vocoder, search=search, device=device, domain=domain, sha256=sha256)

    def save(self, directory: str | Path, *, card: str = "") -> Path:
        """Write a model directory that `from_pretrained` reads."""
        config = {
            "package": "im2speech",
            "part": "captioner",
            "model": self.captioner.config.to_dict(),
            "vocoder": None if self.vocoder is None else plain(dataclasses.asdict(self.vocoder.config)),
            "search": dataclasses.asdict(self.search),
            "domain": self.domain,
        }
        state = {f"captioner.{k}": v for k, v in self.captioner.state_dict().items() if k != TIED}
        if self.vocoder is not None:
            state |= {f"vocoder.{key}": value for key, value in self.vocoder.state_dict().items()}
        return save_model_dir(directory, config, state, card=card)

    # --------------------------------------------------------------------------------------------------- pictures

    def describe(
        self, image: str | Path | IO[bytes] | np.ndarray, *, search: GenerationConfig | None = None, sound: bool = True
    ) -> Synthesis:
        """Describe a picture aloud.

        Args:
            image: a file, a stream, or (H, W, 3) uint8 RGB.
            search: how to look for the caption.
            sound: make sound of the units.

        Raises:
            MediaError: not a readable picture.
            ConfigError: sound asked of a model without a vocoder.
        """
        name = Path(image).name if isinstance(image, str | Path) else str(getattr(image, "name", "picture"))
        pixels = image if isinstance(image, np.ndarray) else read_image(image)
        return self.describe_batch([pixels], [name], search=search, sound=sound)[0]

    def describe_batch(
        self,
        images: Sequence[np.ndarray],
        names: Sequence[str],
        *,
        search: GenerationConfig | None = None,
        sound: bool = True,
    ) -> list[Synthesis]:
        """Describe several pictures (H, W, 3) together: one pass of the image encoder and one search for all."""
        if sound and self.vocoder is None:
            raise ConfigError("this model has no vocoder", hint="Ask for units (--units), or convert with --vocoder.")
        if not images:
            return []
        with torch.inference_mode():
            pixels = torch.stack([self._prepare(image) for image in images]).to(self.device)
            found = generate(self.captioner.model, self.captioner.encode(pixels), search or self.search)
            return [self._say(one, name, sound) for one, name in zip(found, names, strict=True)]

    def _say(self, found: Generation, name: str, sound: bool) -> Synthesis:
        tokens = self.captioner.config.tokens
        units = deduplicate(tokens.parse(found.tokens))
        notes = [self.domain] if self.domain else []
        if not units:
            notes.append("nothing was said: the caption ended at once")
        elif tokens.eos not in found.tokens[1:]:
            notes.append(f"cut at {len(found.tokens)} tokens: the caption did not end")
        audio = self.speak(units) if sound else None
        return Synthesis(name, tuple(units), audio, found.score, tuple(notes))

    def speak(self, units: Sequence[int], *, durations: bool = True) -> Audio:
        """The sound of units, one after the other.

        Args:
            durations: predict how long each lasts (for units without repeats); else each lasts 20 ms.

        Raises:
            ConfigError: no vocoder, or a unit that it does not know.
        """
        if self.vocoder is None:
            raise ConfigError("this model has no vocoder")
        known = self.vocoder.config.units
        if wrong := [unit for unit in units if unit >= known]:
            raise ConfigError("no such unit", expected=f"below {known}", got=wrong[0])
        with torch.inference_mode():
            units_U = torch.tensor(list(units), dtype=torch.long, device=self.device)
            samples = self.vocoder.speak(units_U, durations=durations and self.vocoder.config.duration)
        return Audio(samples.float().cpu().numpy(), self.vocoder.config.rate)


def plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
