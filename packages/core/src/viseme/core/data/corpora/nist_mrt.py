"""NIST MRT: 1200 recordings of "Please select the word X." by two women and two men, 48 kHz, public domain.

The recordings come inside a Python wheel that the user fetches (157 MB):
`pip download --no-deps mcvqoe-intelligibility==1.1.3`. The words are those of the Modified Rhyme Test: House,
Williams, Hecker and Kryter, "Articulation-testing methods: consonantal differentiation with a closed-response set",
JASA 37, 1965: 50 lists of six words that differ in the first or the last consonant, `b1`..`b50` by
`w1`..`w6` in file names.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from viseme.core.data.corpora.scanning import ScanReport
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.errors import ConfigError, DataError
from viseme.core.files import write_bytes_atomic
from viseme.core.media import probe

__all__ = ["TALKERS", "WORD_LISTS", "scan", "unpack"]

TALKERS = ("F1", "F3", "M3", "M4")
_NAME = re.compile(r"(?P<talker>[FM]\d)_b(?P<list>\d+)_w(?P<word>\d)_orig\.wav")

WORD_LISTS = tuple(
    tuple(line.split())
    for line in """
went sent bent dent tent rent
hold cold told fold sold gold
pat pad pan path pack pass
lane lay late lake lace lame
kit bit fit hit wit sit
must bust gust rust dust just
teak team teal teach tear tease
din dill dim dig dip did
bed led fed red wed shed
pin sin tin fin din win
dug dung duck dud dub dun
sum sun sung sup sub sud
seep seen seethe seek seem seed
not tot got pot hot lot
vest test rest best west nest
pig pill pin pip pit pick
back bath bad bass bat ban
way may say pay day gay
pig big dig wig rig fig
pale pace page pane pay pave
cane case cape cake came cave
shop mop cop top hop pop
coil oil soil toil boil foil
tan tang tap tack tam tab
fit fib fizz fill fig fin
same name game tame came fame
peel reel feel eel keel heel
hark dark mark bark park lark
heave hear heat heal heap heath
cup cut cud cuff cuss cub
thaw law raw paw jaw saw
pen hen men then den ten
puff puck pub pus pup pun
bean beach beat beak bead beam
heat neat feat seat meat beat
dip sip hip tip lip rip
kill kin kit kick king kid
hang sang bang rang fang gang
took cook look hook shook book
mass math map mat man mad
ray raze rate rave rake race
save same sale sane sake safe
fill kill will hill till bill
sill sick sip sing sit sin
bale gale sale tale pale male
wick sick kick lick pick tick
peace peas peak peach peat peal
bun bus but bug buck buff
sag sat sass sack sad sap
fun sun bun gun run nun
""".strip().split("\n")
)


def unpack(wheel: str | Path, out: str | Path) -> Path:
    """Write the wheel's recordings into a folder; those already there are left.

    Raises:
        DataError: not that wheel.
    """
    out = Path(out)
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = {Path(name).name: name for name in archive.namelist() if _NAME.fullmatch(Path(name).name)}
            if not members:
                raise DataError("no recordings of the MRT in it", path=wheel, expected="mcvqoe-intelligibility 1.1.3")
            for name, member in members.items():  # only the bare name is used: nothing can land outside `out`
                if not (out / name).is_file():
                    write_bytes_atomic(out / name, archive.read(member))
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError("not a readable wheel", path=wheel, got=str(error)) from error
    return out


def scan(
    root: str | Path, *, test_talker: str = "M4", val_words: tuple[int, ...] = (), case: str = "upper"
) -> Manifest:
    """A manifest of the unpacked recordings: one talker to test, the others to train.

    Args:
        root: the folder with the .wav files (searched below).
        test_talker: F1, F3, M3 or M4.
        val_words: numbers (1..6) of each list's words that the training talkers say for validation instead; the
            test talker says them all.
        case: `upper` or `lower` transcripts.

    Raises:
        ConfigError: no such talker.
        DataError: no such folder, or none of the recordings in it.
    """
    if test_talker not in TALKERS:
        raise ConfigError("no such talker", expected=" | ".join(TALKERS), got=test_talker)
    root = Path(root)
    report = ScanReport(root)
    rows: list[ManifestRow] = []
    for path in sorted(root.rglob("*_orig.wav")):
        match = _NAME.fullmatch(path.name)
        if match is None or not (1 <= int(match["list"]) <= 50 and 1 <= int(match["word"]) <= 6):
            report.skip(path, "not a name of the MRT's recordings")
            continue
        with report.clip(path):
            rows.append(_row(root, path, match, test_talker, val_words, case))
    return report.manifest(rows)


def _row(
    root: Path, path: Path, match: re.Match[str], test_talker: str, val_words: tuple[int, ...], case: str
) -> ManifestRow:
    talker, list_number, word_number = match["talker"], int(match["list"]), int(match["word"])
    text = f"please select the word {WORD_LISTS[list_number - 1][word_number - 1]}"
    held_out = "val" if word_number in val_words else "train"
    info = probe(path)
    return ManifestRow(
        id=path.stem.removesuffix("_orig"),
        path=path.relative_to(root).as_posix(),
        frames=0,
        samples=round(info.duration_s * info.rate),
        rate=info.rate,
        text=text.upper() if case == "upper" else text,
        speaker=talker,
        language="en",
        split="test" if talker == test_talker else held_out,
        dataset="nist_mrt",
    )
