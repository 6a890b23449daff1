"""Is prepared data fit to train on? What to drop, and why.

An expert never learns from sound that is shifted against the picture, from silence, or from mouths that do not move.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from viseme.wav2lip.data import CropClip, DataConfig, read_clips
from viseme.wav2lip.geometry import resize_crop
from viseme.wav2lip.models import SyncExpert
from viseme.wav2lip.scoring import embed_clip, score_clip
from viseme.wav2lip.weights import load_network

__all__ = ["DataReport", "check_data"]

_FEW_CLIPS = 100
_SILENT_SHARE = 0.8  # of the columns
_STILL_LEVELS = 0.6  # mean change of the lower face between frames, in grey levels
_OFFSET = 1  # frames that picture and sound may lie apart


@dataclass(frozen=True)
class DataReport:
    """What `check_data` found.

    Attributes:
        clips, frames: fit to train on.
        drop: reason by id.
        offsets: how many clips have which offset in frames, where an expert looked.
        warnings: about the whole.
    """

    clips: int
    frames: int
    drop: dict[str, str]
    offsets: dict[int, int]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "clips": self.clips,
            "frames": self.frames,
            "drop": self.drop,
            "offsets": {str(k): v for k, v in sorted(self.offsets.items())},
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        lines = [f"drop {clip}: {reason}" for clip, reason in sorted(self.drop.items())]
        lines += [f"warning: {text}" for text in self.warnings]
        if self.offsets:
            lines.append("offsets in frames: " + ", ".join(f"{k:+d}: {v}" for k, v in sorted(self.offsets.items())))
        lines.append(f"{self.clips} clips with {self.frames} crops are fit to train on, {len(self.drop)} are not")
        return "\n".join(lines)


def check_data(root: str | Path, name: str = "train.txt", *, expert: str | Path | None = None) -> DataReport:
    """Look at every clip of a list.

    Raises:
        DataError: no such list, or no clip in it can be read.
    """
    config = DataConfig(root_dir=str(root))
    clips, drop = read_clips(config, name, "generator")
    judge = load_network(expert, "expert").model if expert is not None else None
    offsets: Counter[int] = Counter()
    good = []
    for clip in clips:
        reason = _fault(clip)
        if not reason and isinstance(judge, SyncExpert):
            score = score_clip(*embed_clip(judge, clip, config.fps))
            if score is not None:
                offsets[score.offset] += 1
                if abs(score.offset) > _OFFSET and score.lse_c > 0:
                    reason = f"picture and sound lie {score.offset:+d} frames apart"
        if reason:
            drop[clip.id] = reason
        else:
            good.append(clip)
    warnings = []
    if len(good) < _FEW_CLIPS:
        warnings.append(f"{len(good)} clips are few: an expert that knows {_FEW_CLIPS} or fewer learns them by heart")
    if good and len({clip.id.split("/")[0] for clip in good}) == 1:
        warnings.append("all clips lie in one folder: if that is one speaker, the networks will know no other")
    return DataReport(len(good), sum(len(clip.frames) for clip in good), drop, dict(offsets), tuple(warnings))


def _fault(clip: CropClip) -> str:
    silent = float((clip.mel.max(0) <= -3.0).mean())
    if silent > _SILENT_SHARE:
        return f"{silent:.0%} of its sound is silence"
    change = _mouth_change(clip)
    if change < _STILL_LEVELS:
        return f"its mouth does not move (mean change {change:.2f} grey levels)"
    return ""


def _mouth_change(clip: CropClip, size: int = 48, most: int = 60) -> float:
    """Mean change of the lower face from frame to frame, in grey levels."""
    mouths = [resize_crop(clip.crop(k), size)[size // 2 :].mean(-1) for k in range(min(most, len(clip.frames)))]
    steps = [
        float(np.abs(b - a).mean())
        for a, b, first, second in zip(mouths, mouths[1:], clip.frames, clip.frames[1:])
        if second == first + 1
    ]
    return float(np.mean(steps)) if steps else 0.0
