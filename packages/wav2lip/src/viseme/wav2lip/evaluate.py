"""How good is a generator: sync, likeness and pictures over held-out clips, beside real clips and shifted sound.

Each clip of the list is driven by its own sound and by that of the next clip (sound it never had). Rows:

    real, own sound           what sync scores real speech gets here
    real, other sound         and what none at all gets
    generated, own sound      also compared with the real pictures
    generated, other sound    lips must follow the sound that drives them ...
    ..., scored on its own    ... and not the one that the face once spoke

Scores by our expert are not comparable with published LSE; those need SyncNet v2's weights.
T frames, S pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from viseme.core.checkpoint import read_published
from viseme.core.cli.config import typed
from viseme.core.device import resolve_device
from viseme.core.errors import DataError, VisemeError
from viseme.core.faces import Face, FaceMesh, landmarks68, mouth_openness
from viseme.core.layers.syncnet import SyncNetV2
from viseme.core.media import read_audio
from viseme.core.metrics import collect_provenance, write_evaluation
from viseme.core.metrics.frechet import InceptionFeatures, frechet_distance
from viseme.core.metrics.sync import SyncNetScorer
from viseme.wav2lip.data import CropClip, DataConfig, read_clips
from viseme.wav2lip.fast import fused
from viseme.wav2lip.geometry import batched, face_inputs, resize_crop
from viseme.wav2lip.metrics import correlation
from viseme.wav2lip.models import SyncExpert, Wav2LipGenerator
from viseme.wav2lip.scoring import embed_windows, score_clip
from viseme.wav2lip.synthesis import generate_faces
from viseme.wav2lip.train import expert_directory, generator_directory
from viseme.wav2lip.weights import load_network
from viseme.wav2lip.windows import MelWindows, mel_start

__all__ = ["EvaluateResult", "evaluate_list", "mouth_curve", "table"]

ROWS = (
    "real, own sound",
    "real, other sound",
    "generated, own sound",
    "generated, other sound",
    "generated, other sound, scored on its own",
)


@dataclass(frozen=True)
class EvaluateResult:
    """Mean figures of each row, figures of each clip, and what could not be scored."""

    rows: list[dict[str, Any]]
    clips: list[dict[str, Any]]
    failures: dict[str, str]
    synthetic: bool


@dataclass(eq=False)
class _Clip:
    """A clip made ready: consecutive crops at the network's size, its sound, the mouths' opening."""

    id: str
    faces: np.ndarray
    mel: np.ndarray
    opening: np.ndarray
    samples: np.ndarray


@dataclass(eq=False)
class _Row:
    """What is collected for one row."""

    figures: list[dict[str, float]] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    inception: list[np.ndarray] = field(default_factory=list)


def evaluate_list(cfg: DictConfig) -> EvaluateResult:
    """Score the experiment's generator (or `evaluate.generator`) over `data.test_list`; writes results.json and
    clips.csv into `evaluate.out`, by default beside the model.

    Raises:
        CheckpointError, DataError: no generator, no expert, no clip that can be scored.
    """
    data: DataConfig = typed(DataConfig, cfg.data)
    options = cfg.evaluate
    device = resolve_device(options.device)
    generator_path = Path(options.generator) if options.generator else generator_directory(cfg)
    expert_path = Path(options.expert or cfg.expert or expert_directory(cfg))
    loaded = load_network(generator_path, "generator")
    judge = load_network(expert_path, "expert").model
    assert isinstance(loaded.model, Wav2LipGenerator) and isinstance(judge, SyncExpert)
    generator = fused(loaded.model).to(device)
    offset = int(loaded.settings.get("audio_offset_frames", 0))
    rest = loaded.settings.get("reference") == "rest"
    scorer = _syncnet(options.syncnet, device)
    inception = None
    if options.inception is not None:
        inception = InceptionFeatures(read_published(options.inception), device=device)

    found, failures = read_clips(data, data.test_list, "generator")
    clips: list[_Clip] = []
    for listed in found[: options.limit]:
        try:
            clips.append(_ready(listed, generator.config.image_size))
        except VisemeError as error:
            failures[listed.id] = str(error)
    if len(clips) < 2:
        raise DataError("two clips or more are needed: each is driven by another's sound", path=data.test_list)

    rows, per_clip = {name: _Row() for name in ROWS}, []
    for number, clip in enumerate(clips):
        other = clips[(number + 1) % len(clips)]
        own_faces = _generate(generator, clip, clip.mel, offset, data.fps, device, rest=rest)
        other_faces = _generate(generator, clip, other.mel, offset, data.fps, device, rest=rest)
        cases: dict[str, tuple[np.ndarray, _Clip]] = {
            ROWS[0]: (clip.faces, clip),
            ROWS[1]: (clip.faces, other),
            ROWS[2]: (own_faces, clip),
            ROWS[3]: (other_faces, other),
            ROWS[4]: (other_faces, clip),
        }
        for name, (faces, sound) in cases.items():
            figures = _score(judge, scorer, faces, sound, data.fps, rows[name])
            if inception is not None and name in (ROWS[0], ROWS[2], ROWS[3]):
                rows[name].inception.append(inception(faces[..., ::-1]))
            if name == ROWS[2]:
                figures |= _likeness(own_faces, clip.faces)
            rows[name].figures.append(figures)
            per_clip.append({"id": clip.id, "row": name, "sound": sound.id, **figures})
    made = [_summary(name, row, rows[ROWS[0]]) for name, row in rows.items()]
    result = EvaluateResult(made, per_clip, failures, bool(cfg.card.synthetic or loaded.settings.get("synthetic")))
    _write(
        cfg, result, Path(options.out) if options.out else generator_path.parent / "evaluation", loaded.sha256, clips
    )
    return result


def _syncnet(path: str | None, device: torch.device) -> SyncNetScorer | None:
    if path is None:
        return None
    model = load_network(path, "syncnet_v2").model
    assert isinstance(model, SyncNetV2)
    return SyncNetScorer(model, device=device)


def _ready(clip: CropClip, size: int) -> _Clip:
    first = clip.frames[0]
    length = next((k for k, frame in enumerate(clip.frames) if frame != first + k), len(clip.frames))
    crops = [clip.crop(k) for k in range(length)]
    faces = np.stack([resize_crop(crop, size) for crop in crops])
    samples = read_audio(clip.folder / "audio.wav").samples[first * 640 :]
    return _Clip(clip.id, faces, clip.mel[:, mel_start(first) :], mouth_curve(crops), samples)


def mouths(faces_bgr: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Of each face crop, by FaceMesh on the crop, enlarged: how far the mouth is open (T,), and its 20 landmarks
    (T, 20, 2) in pixels of a crop of 96."""
    mesh, curve, points = FaceMesh(), [], []
    for face in faces_bgr:
        large = resize_crop(face, 192)[..., ::-1]
        frame = np.ascontiguousarray(np.pad(large, ((48, 48), (48, 48), (0, 0)), mode="edge"))
        places = np.array([(0.32, 0.38), (0.68, 0.38), (0.5, 0.58), (0.35, 0.78), (0.65, 0.78)], np.float32)
        found = Face(np.array([48, 48, 240, 240], np.float32), 1.0, 48 + 192 * places)
        landmarks = mesh(frame, found)[0]
        curve.append(mouth_openness(landmarks))
        points.append((landmarks68(landmarks)[48:68, :2] - 48) / 2)
    return np.array(curve), np.array(points).reshape(-1, 20, 2)


def mouth_curve(faces_bgr: Sequence[np.ndarray]) -> np.ndarray:
    """How far the mouth of each face crop is open, (T,)."""
    return mouths(faces_bgr)[0]


def _generate(
    generator: Wav2LipGenerator,
    clip: _Clip,
    mel: np.ndarray,
    offset: int,
    fps: float,
    device: torch.device,
    *,
    rest: bool,
) -> np.ndarray:
    """The clip's faces with lips for a spectrogram, uint8 BGR, as many as there is sound for. With `rest`, the face
    with the most closed mouth is the reference of all; else each its own."""
    count = min(len(clip.faces), int(mel.shape[1] / (80 / fps)))
    windows = MelWindows(mel, [mel_start(frame, fps) + round(offset * 80 / fps) for frame in range(count)])
    made = []
    for places in batched(count, 32):
        shown = [clip.faces[int(np.argmin(clip.opening))]] * len(places) if rest else None
        inputs = face_inputs(list(clip.faces[places.start : places.stop]), clip.faces.shape[1], shown)
        made.append(generate_faces(generator, inputs, windows[places], device))
    return np.concatenate(made).clip(0, 255).astype(np.uint8)


def _score(
    judge: SyncExpert, scorer: SyncNetScorer | None, faces: np.ndarray, sound: _Clip, fps: float, row: _Row
) -> dict[str, float]:
    """Sync of faces with a clip's sound, and how their mouths open as that clip's real ones do."""
    lips, audio = embed_windows(judge, faces, sound.mel, fps)
    row.features.append(lips.numpy())
    figures: dict[str, float] = {}
    if (score := score_clip(lips, audio)) is not None:
        at_zero = float((lips * audio).sum(1).mean())
        figures |= {"cosine": at_zero, "expert_d": score.lse_d, "expert_c": score.lse_c, "offset": score.offset}
    length = min(len(faces), len(sound.opening))
    figures["mouth_correlation"] = correlation(mouth_curve(list(faces[:length])), sound.opening[:length])
    if scorer is not None:
        published = scorer(np.ascontiguousarray(faces[..., ::-1]), sound.samples)
        figures |= {"lse_d": published.lse_d, "lse_c": published.lse_c, "lse_offset": published.offset}
    return figures


def _likeness(made: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """PSNR and SSIM of the lower halves; how far the mouths are from the real ones in opening, and their landmarks in
    pixels of a crop of 96 (LMD; Chen et al., "Lip Movements Generation at a Glance", ECCV 2018)."""
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    half = real.shape[1] // 2
    a, b = (
        torch.from_numpy(np.ascontiguousarray(faces[: len(made), half:])).permute(0, 3, 1, 2).float() / 255
        for faces in (made, real)
    )
    (ours, our_points), (theirs, their_points) = mouths(list(made)), mouths(list(real[: len(made)]))
    return {
        "psnr": float(peak_signal_noise_ratio(a, b, data_range=1.0)),
        "ssim": float(structural_similarity_index_measure(a, b, data_range=1.0)),  # type: ignore[arg-type]
        "mouth_distance": float(np.abs(ours - theirs).mean()),
        "lmd": float(np.linalg.norm(our_points - their_points, axis=-1).mean()),
    }


def _summary(name: str, row: _Row, real: _Row) -> dict[str, Any]:
    names = dict.fromkeys(key for figures in row.figures for key in figures)
    means: dict[str, Any] = {"row": name, "clips": len(row.figures)}
    for key in names:
        means[key] = float(np.mean([figures[key] for figures in row.figures if key in figures]))
    if name.startswith("generated"):
        # Frechet distance over the expert's lip embeddings: FID's formula, not Inception's features.
        means["expert_fd"] = frechet_distance(np.concatenate(row.features), np.concatenate(real.features))
    if name.startswith("generated") and row.inception:
        means["fid"] = frechet_distance(np.concatenate(row.inception), np.concatenate(real.inception))
    return means


def _write(cfg: DictConfig, result: EvaluateResult, out: Path, sha256: str, clips: list[_Clip]) -> None:
    digest = hashlib.sha256("\n".join(sorted(clip.id for clip in clips)).encode()).hexdigest()
    asked: Any = OmegaConf.to_container(cfg.evaluate)
    provenance = collect_provenance(
        synthetic=result.synthetic, normaliser="none", data_sha256=digest, model_sha256=sha256,
        config={name: value for name, value in asked.items() if name in ("limit",)},
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    write_evaluation(out, result.rows, result.clips, provenance)


def store_overrides(model: Path, store: Path, split: str) -> list[str]:
    """What makes `wav2lip evaluate` test a generator on a list of prepared crops, by the expert that was trained with
    it."""
    crops = store / "face" if (store / "face" / "filelists").is_dir() else store
    expert = model.parent.parent / "expert" / "model"
    keys = [f"data.root_dir={crops}", f"data.test_list={split}.txt", f"evaluate.generator={model}"]
    return ["data=cached", *keys, *([f"evaluate.expert={expert}"] if expert.is_dir() else [])]


def table(result: EvaluateResult) -> str:
    """The rows as text."""
    columns = ["cosine", "expert_d", "expert_c", "offset", "lse_d", "lse_c", "mouth_correlation", "psnr", "ssim",
               "mouth_distance", "lmd", "expert_fd", "fid"]  # fmt: skip
    shown = [name for name in columns if any(name in row for row in result.rows)]
    heads = {"mouth_correlation": "mouth r", "mouth_distance": "mouth d"}
    lines = (
        ["SYNTHETIC data: figures show that things work, not how good they are on people"] if result.synthetic else []
    )
    lines.append(f"{'':42}" + "".join(f"{heads.get(name, name):>10}" for name in shown))
    for row in result.rows:
        cells = [f"{row[name]:10.3f}" if name in row else f"{'':10}" for name in shown]
        lines.append(f"{row['row']:42}" + "".join(cells))
    return "\n".join(lines)
