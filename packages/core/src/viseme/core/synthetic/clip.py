"""One clip of the corpus: what clip number `index` of a seed says, who says it, how it looks and sounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from viseme.core.synthetic.face import load_face
from viseme.core.synthetic.grid import draw_sentence
from viseme.core.synthetic.render import perform, render
from viseme.core.synthetic.speakers import Speaker, speakers_of
from viseme.core.synthetic.speech import Phoneme, Word, synthesise
from viseme.core.synthetic.visemes import mouth_track
from viseme.core.types import Audio, Clip, Video

__all__ = ["FPS", "RATE", "ClipScript", "split_of_clip", "script_clip", "render_clip"]

FPS = 25
RATE = 16000
_SPLIT_PERIOD = 20  # of every 20 clips one is val (5 %) and two are test (10 %); three clips already have one of each


@dataclass(frozen=True, eq=False)
class ClipScript:
    """All that is decided about a clip before a picture is drawn.

    Attributes:
        words: the sentence, with times in the clip.
        audio: (frames * RATE / FPS,) samples at RATE.
        phonemes: with times in the clip.
    """

    index: int
    seed: int
    split: str
    speaker: Speaker
    words: tuple[Word, ...]
    audio: Audio
    phonemes: tuple[Phoneme, ...]
    frames: int

    @property
    def id(self) -> str:
        return f"{self.split}/{self.speaker.name}/{self.index:06d}"

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words).upper()


def split_of_clip(index: int) -> str:
    """The split of the `index`-th clip, whatever the size of the corpus."""
    place = index % _SPLIT_PERIOD
    return "val" if place == 1 else "test" if place in (2, 12) else "trainval"


def _rng(seed: int, index: int, part: int) -> np.random.Generator:
    return np.random.default_rng([seed, index, part])


def script_clip(seed: int, index: int) -> ClipScript:
    """Decide and speak clip `index` of the corpus of `seed`; it depends on nothing else.

    Raises:
        DependencyError: espeak-ng is not installed.
    """
    rng = _rng(seed, index, 0)
    split = split_of_clip(index)
    speakers = speakers_of(split)
    speaker = speakers[int(rng.integers(len(speakers)))]
    words = draw_sentence(split, rng)
    speech = synthesise(
        words,
        speaker.voice,
        words_per_minute=int(rng.integers(120, 171)),
        pitch=int(np.clip(speaker.pitch + rng.normal(0, 8), 5, 95)),
        pitch_range=int(rng.integers(30, 71)),
    )
    spoken = soxr.resample(speech.audio.samples, speech.audio.rate, RATE).astype(np.float32)
    before, after = (int(s * RATE) for s in rng.uniform(0.12, 0.28, 2))
    spoken = spoken * np.float32(rng.uniform(0.35, 0.9) / max(np.abs(spoken).max(), 1e-3))
    frames = -(-(before + len(spoken) + after) * FPS // RATE)
    samples = np.zeros(frames * RATE // FPS, np.float32)
    samples[before : before + len(spoken)] = spoken
    samples += rng.normal(0, 10 ** rng.uniform(-4.0, -3.0), len(samples)).astype(np.float32)  # a room is never silent
    shift = before / RATE
    return ClipScript(
        index=index,
        seed=seed,
        split=split,
        speaker=speaker,
        words=tuple(Word(w.text, w.start_s + shift, w.end_s + shift) for w in speech.words),
        audio=Audio(np.clip(samples, -1, 1), RATE),
        phonemes=tuple(Phoneme(p.symbol, p.start_s + shift, p.end_s + shift) for p in speech.phonemes),
        frames=frames,
    )


def render_clip(script: ClipScript, size_px: int = 160) -> Clip:
    """Draw a scripted clip: (T, size_px, size_px, 3) at FPS with its sound."""
    rng = _rng(script.seed, script.index, 1)
    track = mouth_track(script.phonemes, script.frames, FPS)
    performance = perform(script.frames, FPS, size_px, rng)
    frames = np.stack(list(render(load_face(script.speaker.identity, size_px), track, performance)))
    return Clip(Video(frames, FPS), script.audio, script.id)
