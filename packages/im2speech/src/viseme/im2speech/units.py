"""Speech as discrete units: features of 20 ms frames, and the nearest of k cluster centres.

Two front-ends: HuBERT Base's sixth layer with 200 clusters, as published (Hsu et al. 2021, Lakhotia et al. 2021), and
cepstra, which need no downloaded weights and are what HuBERT itself began with.

S samples at 16 kHz, T frames at 50 Hz, D feature dimension, K clusters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from viseme.core.checkpoint import ModelDir, load_model_dir, save_model_dir
from viseme.core.device import resolve_device
from viseme.core.errors import CheckpointError, ConfigError, DataError, MediaError
from viseme.core.layers.linear import adopt
from viseme.core.signal.mel import LogRange, MelSpec

__all__ = ["CepstralFeatures", "FrameFeatures", "HubertFeatures", "UnitExtractor", "fit_clusters", "nearest_centres"]

RATE, HOP = 16000, 320
CHUNK_SAMPLES = 1_600_000
"""Longer recordings are encoded in pieces of 100 s, as published."""


class FrameFeatures(Protocol):
    """Features (T, D) of samples (S,) at 16 kHz."""

    min_samples: int

    def __call__(self, samples_S: Tensor) -> Tensor: ...

    def config(self) -> dict[str, Any]: ...

    def state(self) -> dict[str, Tensor]: ...

    def to(self, device: torch.device) -> FrameFeatures: ...


class HubertFeatures:
    """A layer of HuBERT (counted from 1), of samples as they are: HuBERT Base was trained without normalisation.

    One recording at a time: the first convolution's group norm runs over time, so that padding would change results.

    Args:
        model: transformers' `HubertModel`; layers above `layer` are dropped.
        layer: whose output it is.
    """

    min_samples = 400

    def __init__(self, model: nn.Module, layer: int = 6) -> None:
        layers = model.encoder.layers
        if not 1 <= layer <= len(layers):
            raise ConfigError("no such layer", expected=f"1 .. {len(layers)}", got=layer)
        model.encoder.layers = nn.ModuleList(list(layers)[:layer])
        model.config.num_hidden_layers = layer
        self.model, self.layer = model.eval(), layer
        adopt(self.model)

    @torch.no_grad()
    def __call__(self, samples_S: Tensor) -> Tensor:
        pieces = [piece for piece in samples_S.split(CHUNK_SAMPLES) if len(piece) >= self.min_samples]
        return torch.cat([self.model(piece[None]).last_hidden_state[0] for piece in pieces])

    def config(self) -> dict[str, Any]:
        c = self.model.config
        sizes = {name: getattr(c, name) for name in ("hidden_size", "num_attention_heads", "intermediate_size")}
        return {"kind": "hubert", "layer": self.layer, **sizes}

    def state(self) -> dict[str, Tensor]:
        return self.model.state_dict()

    def to(self, device: torch.device) -> HubertFeatures:
        self.model.to(device)
        return self

    @classmethod
    def empty(cls, layer: int, **sizes: int) -> HubertFeatures:
        """Untrained, of a configuration's sizes."""
        from transformers import HubertConfig, HubertModel

        return cls(HubertModel(HubertConfig(num_hidden_layers=layer, apply_spec_augment=False, **sizes)), layer)


@dataclass(frozen=True)
class CepstralFeatures:
    """Mel cepstra with their slopes, mean and variance removed over the recording.

    Attributes:
        bands, cepstra: mel bands, and coefficients kept of their cosine transform.
        context: frames on either side that a slope is taken over.
    """

    bands: int = 40
    cepstra: int = 13
    context: int = 2
    min_samples: int = 640

    def __call__(self, samples_S: Tensor) -> Tensor:
        mel = MelSpec(RATE, 1024, HOP, 640, self.bands, 40.0, 7600.0, LogRange(), preemphasis=0.97)
        if len(samples_S) <= mel.n_fft // 2:
            samples_S = torch.nn.functional.pad(samples_S, (0, mel.n_fft // 2 + 1 - len(samples_S)))
        frames = max(1, len(samples_S) // HOP)
        log_TM = mel.compression(mel.mel_magnitude(samples_S))[:, :frames].T
        n = torch.arange(self.bands, device=samples_S.device)
        k = torch.arange(self.cepstra, device=samples_S.device)[:, None]
        cosine = torch.cos(math.pi / self.bands * (n + 0.5) * k) * math.sqrt(2 / self.bands)
        cepstra_TC = log_TM @ cosine.T
        steps = torch.arange(-self.context, self.context + 1, device=samples_S.device, dtype=cepstra_TC.dtype)
        padded = torch.cat(
            [cepstra_TC[:1].expand(self.context, -1), cepstra_TC, cepstra_TC[-1:].expand(self.context, -1)]
        )
        slope_TC = (padded.unfold(0, len(steps), 1) * steps).sum(-1) / (steps**2).sum()
        features_TD = torch.cat([cepstra_TC, slope_TC], dim=1)
        spread = features_TD.std(0, unbiased=False) if len(features_TD) > 1 else torch.ones_like(features_TD[0])
        return (features_TD - features_TD.mean(0)) / spread.clamp(min=1e-3)

    def config(self) -> dict[str, Any]:
        return {"kind": "cepstra", "bands": self.bands, "cepstra": self.cepstra, "context": self.context}

    def state(self) -> dict[str, Tensor]:
        return {}

    def to(self, device: torch.device) -> CepstralFeatures:
        return self


def nearest_centres(features_TD: Tensor, centres_KD: Tensor) -> Tensor:
    """Index of the nearest centre of each frame by Euclidean distance: (T,) int64."""
    distance_TK = (centres_KD**2).sum(1) - 2 * features_TD @ centres_KD.T
    return distance_TK.argmin(1)


def fit_clusters(
    features: Iterable[np.ndarray],
    clusters: int = 200,
    *,
    share: float = 0.1,
    iterations: int = 150,
    batch: int = 10_000,
    starts: int = 20,
    seed: int = 1369,
) -> np.ndarray:
    """k-means centres (K, D) of frames; defaults as published (GSLM).

    Args:
        features: (T, D) of each recording.
        share: of the frames that is used.

    Raises:
        DataError: fewer frames than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    draw = np.random.default_rng(seed)
    kept = [some[draw.random(len(some)) < share] if share < 1 else some for some in features]
    frames = np.concatenate(kept) if kept else np.zeros((0, 1))
    if len(frames) < clusters:
        raise DataError("too few frames to cluster", expected=f"at least {clusters}", got=len(frames))
    means = MiniBatchKMeans(
        clusters,
        init="k-means++",
        max_iter=iterations,
        batch_size=batch,
        tol=0.0,
        max_no_improvement=100,
        n_init=starts,
        reassignment_ratio=0.5,
        random_state=seed,
        compute_labels=False,
    ).fit(frames.astype(np.float32))
    return np.asarray(means.cluster_centers_, dtype=np.float32)


class UnitExtractor:
    """Recordings to units.

    Args:
        features: front-end.
        centres: (K, D).
        device: `auto`, `cpu`, `cuda`, ...
    """

    def __init__(self, features: FrameFeatures, centres: Tensor, *, device: str | torch.device = "cpu") -> None:
        self.device = resolve_device(device)
        self.features = features.to(self.device)
        self.centres = centres.to(self.device)

    @property
    def units(self) -> int:
        return len(self.centres)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """One unit each 20 ms: (T,) int64, with repeats.

        Raises:
            MediaError: too short for one frame.
        """
        if len(samples) < self.features.min_samples:
            raise MediaError(
                "too short for a speech unit",
                expected=f"at least {self.features.min_samples} samples at 16 kHz",
                got=len(samples),
            )
        samples_S = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)).to(self.device)
        with torch.no_grad():
            return nearest_centres(self.features(samples_S), self.centres).cpu().numpy()

    def save(self, directory: str | Path, *, card: str = "") -> Path:
        """Write a model directory that `load` reads."""
        state = {f"features.{key}": value for key, value in self.features.state().items()}
        config = {"package": "im2speech", "part": "units", "features": self.features.config()}
        return save_model_dir(directory, config, {**state, "centres": self.centres}, card=card)

    @classmethod
    def load(cls, directory: str | Path, *, device: str | torch.device = "auto") -> UnitExtractor:
        """Read a model directory of units.

        Raises:
            CheckpointError: not one.
        """
        folder = load_model_dir(directory)
        check_part(folder, "units")
        options: Mapping[str, Any] = dict(folder.config["features"])
        kind = options.pop("kind")  # type: ignore[attr-defined]
        if kind == "cepstra":
            return cls(CepstralFeatures(**options), folder.state["centres"], device=device)
        features = HubertFeatures.empty(**options)
        own = {k.removeprefix("features."): v for k, v in folder.state.items() if k.startswith("features.")}
        features.model.load_state_dict(own)
        return cls(features, folder.state["centres"], device=device)


def check_part(folder: ModelDir, part: str) -> None:
    """Refuse a model directory that is not this part of this package's."""
    config = folder.config
    if config.get("package") != "im2speech" or config.get("part") != part:
        got = f"{config.get('package')}: {config.get('part')}"
        raise CheckpointError(f"not a model directory of im2speech's {part}", path=folder.path, got=got)
