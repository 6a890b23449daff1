"""The sentence grammar of the GRID corpus: six words, 64,000 sentences, dealt to three splits that share none.

Source: Cooke, Barker, Cunningham and Shao, "An audio-visual corpus for speech perception and automatic speech
recognition", JASA 120(5), 2006, table I (W is left out of the letters because its name has three syllables).
"""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["GRAMMAR", "SENTENCES", "SPLITS", "sentence", "split_of_sentence", "draw_sentence"]

GRAMMAR: tuple[tuple[str, ...], ...] = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple("ABCDEFGHIJKLMNOPQRSTUVXYZ"),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)
"""Command, colour, preposition, letter, digit, adverb. Capitals are letter names."""

SENTENCES = int(np.prod([len(slot) for slot in GRAMMAR]))

SPLITS = ("trainval", "val", "test")


def sentence(index: int) -> tuple[str, ...]:
    """The `index`-th sentence of the grammar, 0 <= index < SENTENCES, as its six words."""
    if not 0 <= index < SENTENCES:
        raise ValueError(f"sentence index must be in 0..{SENTENCES - 1}, got {index}")
    words = []
    for slot in reversed(GRAMMAR):
        index, word = divmod(index, len(slot))
        words.append(slot[word])
    return tuple(reversed(words))


def split_of_sentence(words: tuple[str, ...]) -> str:
    """The split that owns a sentence: 80 % trainval, 10 % val, 10 % test, by hash, so it depends on nothing else."""
    bucket = hashlib.sha256(" ".join(words).encode()).digest()[0] % 10
    return {0: "val", 1: "test"}.get(bucket, "trainval")


def draw_sentence(split: str, rng: np.random.Generator) -> tuple[str, ...]:
    """A sentence drawn uniformly from those that `split` owns."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    while True:
        words = sentence(int(rng.integers(SENTENCES)))
        if split_of_sentence(words) == split:
            return words
