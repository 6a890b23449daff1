"""Speech with its phoneme times from espeak-ng, called as a library (extra `synthetic`: `espeakng-loader`)."""

from __future__ import annotations

import _ctypes
import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from viseme.core.errors import DataError, DependencyError
from viseme.core.types import Audio

__all__ = ["Phoneme", "Word", "Speech", "synthesise"]

# Values of espeak-ng's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS, _INITIALIZE_PHONEME_IPA, _INITIALIZE_DONT_EXIT = 0x0001, 0x0002, 0x8000
_CHARS_UTF8, _PHONEMES = 0x0001, 0x0100
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7

# Alone, "A" would be read as the article; this is its letter name in espeak's phoneme mnemonics.
_RESPELT = {"A": "[['eI]]"}


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Phoneme:
    """An IPA symbol as espeak-ng names it (`ˈeɪ`, `dʒ`, `` for a pause) and when it sounds."""

    symbol: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Word:
    """A spoken word and when it is said, in seconds."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class Speech:
    """A spoken sentence: its sound, and when each phoneme and word of it is said."""

    audio: Audio
    phonemes: tuple[Phoneme, ...]
    words: tuple[Word, ...]


class _Library:
    """espeak-ng loaded afresh and unloaded at the end.

    Its waveform generator keeps its state in static variables that neither `espeak_Terminate` nor `espeak_Initialize`
    resets, so that what is said depends on what was said before. Loading it anew for each utterance (2 ms) makes
    speech a function of its arguments alone.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise DependencyError(
                "the synthetic corpus needs espeak-ng to speak",
                expected="the package espeakng-loader",
                hint="Install it with: pip install 'viseme-core[synthetic]'.",
            ) from error
        try:
            self.lib = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise DependencyError(
                "espeak-ng's library does not load",
                path=espeakng_loader.get_library_path(),
                got=str(error),
                hint="Reinstall espeakng-loader for this platform.",
            ) from error
        data = espeakng_loader.get_data_path()
        options = _INITIALIZE_PHONEME_EVENTS | _INITIALIZE_PHONEME_IPA | _INITIALIZE_DONT_EXIT
        self.rate: int = self.lib.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data), options)
        if self.rate <= 0:
            self._unload()
            raise DependencyError("espeak-ng does not start", path=data, hint="Reinstall espeakng-loader.")

    def __enter__(self) -> _Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.lib.espeak_Terminate()
        self._unload()

    def _unload(self) -> None:
        unload = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # type: ignore[attr-defined]  # Windows
        unload(self.lib._handle)

    def speak(self, text: str) -> tuple[np.ndarray, list[tuple[int, float, str]]]:
        """Samples (S,) int16 and the events (type, seconds, phoneme) of `text`."""
        chunks: list[np.ndarray] = []
        events: list[tuple[int, float, str]] = []

        def collect(wave: Any, samples: int, event: Any) -> int:
            if samples > 0:
                chunks.append(np.ctypeslib.as_array(wave, (samples,)).copy())
            k = 0
            while event[k].type != _EVENT_END:
                if event[k].type in (_EVENT_WORD, _EVENT_PHONEME):
                    symbol = event[k].id.string.decode("utf-8", "replace") if event[k].type == _EVENT_PHONEME else ""
                    events.append((event[k].type, event[k].audio_position / 1000, symbol))
                k += 1
            return 0

        callback = _Callback(collect)  # held here: espeak-ng does not keep it alive
        self.lib.espeak_SetSynthCallback(callback)
        raw = text.encode()
        flags = _CHARS_UTF8 | _PHONEMES
        size, zero = ctypes.c_size_t(len(raw) + 1), ctypes.c_uint(0)
        self.lib.espeak_Synth(raw, size, zero, ctypes.c_int(0), zero, ctypes.c_uint(flags), None, None)
        self.lib.espeak_Synchronize()
        return np.concatenate(chunks) if chunks else np.zeros(0, np.int16), events


def synthesise(
    words: Sequence[str], voice: str, *, words_per_minute: int = 160, pitch: int = 50, pitch_range: int = 50
) -> Speech:
    """Speak `words` and say when each phoneme and word sounds. The same arguments give the same samples.

    Args:
        words: a single capital is read as the letter's name.
        voice: espeak-ng's name of it, an accent or accent+variant: `en-us`, `en-gb-x-rp+f3`.
        words_per_minute: 80 to 450.
        pitch, pitch_range: 0 to 100; 50 is the voice's own.

    Raises:
        DependencyError: espeak-ng is not installed.
        DataError: no such voice, or text that espeak-ng does not speak word by word.
    """
    text = " ".join(_RESPELT.get(word, word) for word in words)
    with _Library() as espeak:
        if espeak.lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise DataError("espeak-ng has no such voice", got=voice)
        for parameter, value in (
            (_PARAMETER_RATE, words_per_minute),
            (_PARAMETER_PITCH, pitch),
            (_PARAMETER_RANGE, pitch_range),
        ):
            espeak.lib.espeak_SetParameter(parameter, int(value), 0)
        samples, events = espeak.speak(text)
        rate = espeak.rate
    audio = Audio((samples / np.float32(32768)).astype(np.float32), rate)
    phonemes, starts = [], []
    for kind, start_s, symbol in events:
        if kind == _EVENT_WORD:
            starts.append(start_s)
        else:
            phonemes.append((symbol, start_s))
    if len(starts) != len(words):
        raise DataError("espeak-ng does not speak this text word by word", got=f"{len(starts)} words", expected=words)
    ends = [start for _, start in phonemes[1:]] + [audio.duration_s]
    timed = tuple(Phoneme(symbol, start, end) for (symbol, start), end in zip(phonemes, ends, strict=True))
    spoken_until_s = next((p.end_s for p in reversed(timed) if p.symbol), audio.duration_s)
    word_ends = [*starts[1:], spoken_until_s]
    return Speech(audio, timed, tuple(Word(*word) for word in zip(words, starts, word_ends, strict=True)))
