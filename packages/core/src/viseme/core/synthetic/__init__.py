"""The embedded corpus: talking faces rendered from text, for trying and testing everything without downloads.

Nobody in it exists: the faces are generated (`identities/README.md`), the voices are espeak-ng's, the lips follow its
phonemes. Results on it show that code works and learns, not that it reads the lips of people.
"""

from __future__ import annotations

from viseme.core.synthetic.clip import ClipScript, render_clip, script_clip
from viseme.core.synthetic.corpus import SYNTHETIC_NOTE, CorpusReport, make_corpus
from viseme.core.synthetic.speakers import SPEAKERS, Speaker
from viseme.core.synthetic.speech import Phoneme, Speech, Word, synthesise
from viseme.core.synthetic.visemes import PARAMETERS, VISEMES, mouth_track

__all__ = [
    "make_corpus",
    "CorpusReport",
    "SYNTHETIC_NOTE",
    "script_clip",
    "render_clip",
    "ClipScript",
    "SPEAKERS",
    "Speaker",
    "synthesise",
    "Speech",
    "Phoneme",
    "Word",
    "mouth_track",
    "PARAMETERS",
    "VISEMES",
]
