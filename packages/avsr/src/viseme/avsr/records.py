"""What is known of every published Auto-AVSR weight: file, checksum, training data, claimed error rate, licence.

Three generations are told apart: `v1` (2023 to 2024, layout v1), `2025` (current layout) and `zoo` (2022/2023, one
archive per model with `model.pth` and `model.json`). A file's name decides nothing, because names repeat between
generations: the published beginning of its MD5 does, where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator

from viseme.core.checkpoint.records import WeightRecord, register
from viseme.core.checkpoint.records import available_models as of_system

__all__ = ["LANGUAGE_MODELS", "PUBLISHED", "ZOO", "available_models"]

PAPER = 'Ma et al., "Auto-AVSR: Audio-Visual Speech Recognition with Automatic Labels", ICASSP 2023, arXiv 2303.14307'
ZOO_PAPER = (
    'Ma, Petridis, Pantic, "Visual Speech Recognition for Multiple Languages in the Wild", Nature Machine Intelligence '
    "2022, arXiv 2202.13084"
)
SOURCE = "https://github.com/mpc001/auto_avsr"
ZOO_SOURCE = "https://github.com/mpc001/Visual_Speech_Recognition_for_Multiple_Languages"
LICENCE = "code Apache-2.0; the weights follow the licences of their training data (LRS2, LRS3: research only)"
ZOO_LICENCE = "for research and benchmarking, non-commercial; the weights follow the licences of their training data"

DATA = {
    "lrs3_23h": "LRS3, clips of at most 100 frames, 23 h",
    "lrs3": "LRS3, 438 h",
    "lrs3vox2": "LRS3 and VoxCeleb2 (English), 1759 h",
    "lrs2lrs3vox2avsp": "LRS2, LRS3, VoxCeleb2 and AVSpeech, 3291 h",
    "lrwlrs2lrs3vox2avsp": "LRW, LRS2, LRS3, VoxCeleb2 and AVSpeech, 3448 h",
}

# Task, training data, generation, beginning of the MD5, WER (%) on LRS3's test set.
PUBLISHED = (
    ("vsr", "lrs3_23h", "v1", "50c88", 96.6),
    ("vsr", "lrs3", "v1", "ea3ec", 36.7),
    ("vsr", "lrs3vox2", "v1", "0a126", 25.0),
    ("vsr", "lrwlrs2lrs3vox2avsp", "v1", "a896f", 20.3),
    ("asr", "lrs3_23h", "v1", "87d45", 72.5),
    ("asr", "lrs3", "v1", "4fa87", 2.04),
    ("asr", "lrs3vox2", "v1", "7beab", 1.07),
    ("asr", "lrwlrs2lrs3vox2avsp", "v1", "dc759", 0.99),
    ("avsr", "lrwlrs2lrs3vox2avsp", "v1", "6b3c5", 0.93),
    ("vsr", "lrs3_23h", "2025", "fc8db", 93.0),
    ("vsr", "lrs3", "2025", "c00a7", 36.0),
    ("vsr", "lrs3vox2", "2025", "774a6", 24.6),
    ("vsr", "lrs2lrs3vox2avsp", "2025", "49f77", 20.3),
    ("asr", "lrs3", "2025", "8af72", 2.0),
    ("asr", "lrs3vox2", "2025", "f0c5c", 1.0),
)

# Archive, what its test figure is, the figure.
ZOO = (
    ("LRS3_V_WER19.1", "LRS3 WER % (with its language model)", 19.1),
    ("LRS3_A_WER1.0", "LRS3 WER %", 1.0),
    ("LRS3_AV_WER0.9", "LRS3 WER %", 0.9),
    ("LRS3_V_WER32.3", "LRS3 WER % (with its language model)", 32.3),
    ("LRS2_V_WER26.1", "LRS2 WER % (with its language model)", 26.1),
    ("CMLR_V_WER8.0", "CMLR CER % (with its language model)", 8.0),
    ("CMUMOSEAS_V_ES_WER44.5", "CMU-MOSEAS Spanish WER % (with its language model)", 44.5),
    ("CMUMOSEAS_V_PT_WER51.4", "CMU-MOSEAS Portuguese WER % (with its language model)", 51.4),
    ("CMUMOSEAS_V_FR_WER58.6", "CMU-MOSEAS French WER % (with its language model)", 58.6),
    ("GRID_V_WER1.2", "GRID WER %", 1.2),
    ("GRID_V_WER4.8", "GRID WER %", 4.8),
    ("LombardGRID_V_WER4.9", "Lombard GRID WER %", 4.9),
    ("LombardGRID_V_WER8.0", "Lombard GRID WER %", 8.0),
    ("TCDTIMIT_V_WER16.9", "TCD-TIMIT WER % (with its language model)", 16.9),
    ("TCDTIMIT_V_WER21.8", "TCD-TIMIT WER % (with its language model)", 21.8),
)

LANGUAGE_MODELS = ("lm_en_subword", "lm_en", "lm_zh", "lm_es", "lm_pt", "lm_fr")
MB = 1_000_000
ZOO_MB = {"LRS3_V_WER19.1": 891, "LRS3_A_WER1.0": 860, "LRS3_AV_WER0.9": 1540, "CMLR_V_WER8.0": 195}
"""Archive sizes; every other character model's is 186 MB."""


def _records() -> Iterator[WeightRecord]:
    for task, data, generation, md5, wer in PUBLISHED:
        name = f"{task}_tr{data}_base"
        yield WeightRecord(
            name=f"{name}_{generation}",
            system="avsr",
            source=SOURCE,
            licence=LICENCE,
            commercial_ok=False,
            paper=PAPER,
            file=f"{name}.pth",
            md5=md5,
            trained_on=DATA[data],
            claims={"LRS3 WER %": wer},
        )
    for name, what, figure in ZOO:
        yield WeightRecord(
            name=f"zoo_{name}",
            system="avsr",
            source=ZOO_SOURCE,
            licence=ZOO_LICENCE,
            commercial_ok=False,
            paper=ZOO_PAPER,
            file=name,  # the archive that holds model.pth and model.json
            size_bytes=ZOO_MB.get(name, 186) * MB,
            trained_on=name.partition("_")[0],
            claims={what: figure},
        )
    for name in LANGUAGE_MODELS:
        yield WeightRecord(
            name=f"zoo_{name}",
            system="avsr",
            source=ZOO_SOURCE,
            licence=ZOO_LICENCE,
            commercial_ok=False,
            paper=ZOO_PAPER,
            file=name,
            size_bytes=191 * MB if name == "lm_en_subword" else None,
            trained_on="text",
        )


def available_models(*, commercial_ok: bool = False) -> list[WeightRecord]:
    """The records of this package, by name; only those that plainly allow commercial use if asked."""
    return of_system("avsr", commercial_ok=commercial_ok)


register(_records())
