"""Records of the published weights: every row of the four word-error-rate tables, the encoders, the language model.

Figures are word error rates in % on LRS3's test set, as the authors' tables give them. The files lie on the authors'
drives; no checksum of any is known.
"""

from __future__ import annotations

from collections.abc import Iterator

from viseme.core.checkpoint.records import WeightRecord, register

__all__ = ["LM_WEIGHTS", "RECORDS", "table_rows"]

SOURCE = "https://github.com/ahaliassos/raven"
LICENCE = "not stated for the weights (the code is MIT)"
PAPERS = {
    "RAVEn": "Haliassos et al., Jointly Learning Visual and Auditory Speech Representations from Raw Data, ICLR 2023",
    "BRAVEn": "Haliassos et al., BRAVEn: Improving Self-supervised Pre-training for Visual and Auditory Speech "
    "Recognition, ICASSP 2024",
}
DATA = {
    "lrs3": "LRS3 (433 h)",
    "lrs3vox2": "LRS3 + VoxCeleb2-en (1,759 h)",
    "lrs3vox2avs": "LRS3 + VoxCeleb2-en + AVSpeech-en (3,052 h)",
}

# System, size, pre-training data, self-training; then WER of VSR low, VSR high, ASR low, ASR high, without and with the
# language model (None: no such row).
TABLE: tuple[tuple[str, str, str, bool, tuple[float, ...], tuple[float, ...] | None], ...] = (
    ("RAVEn", "base", "lrs3", False, (47.0, 39.1, 4.7, 2.2), None),
    ("RAVEn", "base", "lrs3vox2", False, (40.2, 33.1, 3.8, 1.9), None),
    ("RAVEn", "large", "lrs3vox2", False, (32.5, 27.8, 2.7, 1.4), None),
    ("RAVEn", "large", "lrs3vox2", True, (24.8, 24.4, 2.3, 1.4), (23.8, 23.1, 1.9, 1.4)),
    ("BRAVEn", "base", "lrs3", False, (43.4, 36.0, 4.0, 1.9), None),
    ("BRAVEn", "baseplus", "lrs3vox2", False, (35.1, 28.8, 3.0, 1.4), None),
    ("BRAVEn", "large", "lrs3vox2", False, (30.8, 26.6, 2.3, 1.2), None),
    ("BRAVEn", "large", "lrs3vox2avs", False, (24.8, 23.6, 2.1, 1.2), None),
    ("BRAVEn", "large", "lrs3vox2avs", True, (21.3, 20.9, 1.9, 1.2), (20.0, 20.1, 1.7, 1.1)),
)
COLUMNS = (("vsr", "lrs3trainval"), ("vsr", "lrs3"), ("asr", "lrs3trainval"), ("asr", "lrs3"))

LM_WEIGHTS = {
    ("RAVEn", "vsr", "lrs3trainval"): 0.3,
    ("RAVEn", "vsr", "lrs3"): 0.2,
    ("RAVEn", "asr", "lrs3trainval"): 0.3,
    ("RAVEn", "asr", "lrs3"): 0.0,
    ("BRAVEn", "vsr", "lrs3trainval"): 0.2,
    ("BRAVEn", "vsr", "lrs3"): 0.3,
    ("BRAVEn", "asr", "lrs3trainval"): 0.3,
    ("BRAVEn", "asr", "lrs3"): 0.0,
}
"""Weight of the language model behind the `+ LM` figures, by system, task and labels. (BRAVEn's ASR row on all labels
cannot come from 0, which is what its script says.)"""


def table_rows() -> Iterator[WeightRecord]:
    """One record per checkpoint of the four tables; its `+ LM` figure, where there is one, is a second claim."""
    for system, size, data, selftrained, plain, with_lm in TABLE:
        for column, (task, labels) in enumerate(COLUMNS):
            more = data.removeprefix("lrs3") if selftrained else ""
            name = f"{task}_pre{data}_{size}_ft{labels}{more}"
            name += "_selftrain" * selftrained + "_braven" * (system == "BRAVEn")
            claims = {"LRS3 WER %": plain[column]}
            if with_lm is not None:
                claims[f"LRS3 WER %, language model at {LM_WEIGHTS[system, task, labels]:g}"] = with_lm[column]
            hours = "30 h of LRS3" if labels == "lrs3trainval" else "433 h of LRS3"
            own = " and pseudo-labels of the rest" if selftrained else ""
            yield WeightRecord(
                name,
                "raven",
                SOURCE,
                LICENCE,
                commercial_ok=False,
                paper=PAPERS[system],
                file=f"{name}.pth",
                trained_on=f"{DATA[data]} without labels, {hours} with labels{own}",
                claims=claims,
            )


def encoders() -> Iterator[WeightRecord]:
    """The released encoder-only checkpoints."""
    released = (
        ("RAVEn", "base", "lrs3vox2"),
        ("RAVEn", "large", "lrs3vox2"),
        ("BRAVEn", "base", "lrs3"),
        ("BRAVEn", "baseplus", "lrs3vox2"),
        ("BRAVEn", "large", "lrs3vox2avs"),
    )
    for system, size, data in released:
        for modality in ("video", "audio"):
            name = f"{system.lower()}_{size}_{data}_{modality}"
            yield WeightRecord(
                name, "raven", SOURCE, LICENCE, commercial_ok=False, paper=PAPERS[system], trained_on=DATA[data]
            )


RECORDS = (
    *table_rows(),
    *encoders(),
    WeightRecord(
        "raven_language_model",
        "raven",
        SOURCE,
        LICENCE,
        commercial_ok=False,
        paper=PAPERS["RAVEn"],
        file="rnnlm.model.best",
    ),
)
register(RECORDS)
