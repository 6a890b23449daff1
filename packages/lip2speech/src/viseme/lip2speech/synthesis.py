"""What the pipeline gives: speech, the mel that it was made of, and what there is to say about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from viseme.core.files import write_bytes_atomic
from viseme.core.media import write_audio
from viseme.core.types import Audio

__all__ = ["Synthesis", "mel_picture"]


@dataclass(frozen=True, eq=False)
class Synthesis:
    """Speech made from lips.

    Attributes:
        audio: 16 kHz.
        mel: (80, S) normalised log mel, 100 columns a second.
        spectrogram: (F, S) linear spectrogram of a GAN, else None.
        voice: whose voice: `model` (it has one), `reference` (the user's), or `own` (the clip's sound).
        notes: what a listener should know.
        name: of the clip.
    """

    audio: Audio
    mel: np.ndarray
    spectrogram: np.ndarray | None = None
    voice: str = "model"
    notes: tuple[str, ...] = ()
    name: str = ""

    def save(self, path: str | Path) -> None:
        """Write the sound (.wav or .flac)."""
        write_audio(path, self.audio)

    def save_mel(self, path: str | Path) -> None:
        """Write `mel` (1, 80, S) and, where there is one, `spec` (1, F, S), as the published tests do."""
        import io

        content = io.BytesIO()
        arrays = {"mel": self.mel[None]} | ({} if self.spectrogram is None else {"spec": self.spectrogram[None]})
        np.savez(content, **arrays)
        write_bytes_atomic(path, content.getvalue())

    def save_picture(self, path: str | Path) -> None:
        """Write a picture of the mel (.png)."""
        _, content = cv2.imencode(".png", mel_picture(self.mel))
        write_bytes_atomic(path, content.tobytes())

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            "name": self.name,
            "duration_s": round(self.audio.duration_s, 3),
            "rate": self.audio.rate,
            "voice": self.voice,
            "notes": list(self.notes),
        }


def mel_picture(mel: np.ndarray, *, height: int = 320) -> np.ndarray:
    """A mel (80, S) as a picture (H, W, 3), low bands at the bottom."""
    shade = np.clip((mel[::-1] + 1) / 2 * 255, 0, 255).astype(np.uint8)
    scaled = cv2.resize(shade, (max(2, mel.shape[1] * 2), height), interpolation=cv2.INTER_NEAREST)
    return cv2.applyColorMap(scaled, cv2.COLORMAP_MAGMA)
