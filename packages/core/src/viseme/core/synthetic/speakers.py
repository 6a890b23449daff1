"""The 24 speakers: each a generated face, a voice and a split. No two share a face or a voice."""

from __future__ import annotations

from dataclasses import dataclass

from viseme.core.synthetic.grid import SPLITS

__all__ = ["Speaker", "SPEAKERS", "speakers_of"]


@dataclass(frozen=True)
class Speaker:
    """Attributes:
    name: folder and `speaker` column, `s00`..`s23`.
    identity: number of the face.
    voice: espeak-ng accent+variant; neither combination nor variant returns in another speaker.
    pitch: espeak-ng pitch, 0..100, around which clips vary.
    """

    name: str
    identity: int
    voice: str
    pitch: int
    split: str


# Accent+variant of espeak-ng, chosen to suit the face. Its voices are parametric: nobody was recorded for them.
_VOICES = (
    ("en-us+m1", 45),
    ("en-gb-x-rp+m8", 35),
    ("en-us+f1", 55),
    ("en-gb-x-rp+m2", 50),
    ("en-us+m5", 50),
    ("en-us+m6", 45),
    ("en-gb-scotland+m4", 40),
    ("en-gb-x-rp+f3", 50),
    ("en-us+Alicia", 50),
    ("en-us-nyc+f4", 45),
    ("en-gb-x-rp+Andy", 55),
    ("en-gb-x-rp+belinda", 45),
    ("en-us+linda", 50),
    ("en-us+Gene", 40),
    ("en-us-nyc+john", 50),
    ("en-gb-scotland+Denis", 50),
    ("en-gb-x-rp+Annie", 50),
    ("en-us+paul", 55),
    ("en-us+f5", 50),
    ("en-gb-x-rp+m7", 50),
    ("en-us+edward", 45),
    ("en-us+m3", 50),
    ("en-gb-x-rp+f2", 50),
    ("en-us+adam", 50),
)
_FIRST_VAL, _FIRST_TEST = 18, 21

SPEAKERS = tuple(
    Speaker(f"s{k:02d}", k, voice, pitch, SPLITS[(k >= _FIRST_VAL) + (k >= _FIRST_TEST)])
    for k, (voice, pitch) in enumerate(_VOICES)
)


def speakers_of(split: str) -> tuple[Speaker, ...]:
    """The speakers of a split: 18 in trainval, 3 in val, 3 in test."""
    return tuple(speaker for speaker in SPEAKERS if speaker.split == split)
