"""The embedded corpus on disk: what a user gets, and that its lips and its sound belong together."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from viseme.core.data import Manifest
from viseme.core.errors import ConfigError, DataError
from viseme.core.faces import FaceMesh, YuNet, mouth_openness
from viseme.core.media import probe, read_clip
from viseme.core.synthetic import PARAMETERS, SPEAKERS, SYNTHETIC_NOTE, VISEMES, make_corpus, mouth_track, script_clip
from viseme.core.synthetic.face import IDENTITIES, load_face
from viseme.core.synthetic.grid import split_of_sentence
from viseme.core.synthetic.render import Performance, perform, render

CLIPS, SEED = 16, 3


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    cv2.setNumThreads(1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    pytest.importorskip("espeakng_loader", reason="speaks with espeak-ng (viseme-core[synthetic])")
    report = make_corpus(tmp_path_factory.mktemp("synthetic") / "corpus", CLIPS, SEED, workers=2)
    assert report.made == CLIPS == sum(report.clips.values())
    return Manifest.read(report.manifest)


def lag_frames(opening: np.ndarray, envelope: np.ndarray, reach: int = 8) -> int:
    """By how many frames the mouth follows the sound: the shift of the best correlation."""
    opening, envelope = ((x - x.mean()) / x.std() for x in (opening, envelope))
    shifts = range(-reach, reach + 1)
    n = len(opening)

    def agreement(shift: int) -> float:
        return float(np.mean(opening[max(0, shift) : n + min(0, shift)] * envelope[max(0, -shift) : n - max(0, shift)]))

    return max(shifts, key=agreement)


def still(frames: int, size_px: int) -> Performance:
    """A performance in which nothing but the mouth moves."""
    drawn, zero = perform(frames, 25, size_px, np.random.default_rng(0)), np.zeros(frames)
    return Performance(
        articulation=np.ones(len(PARAMETERS)), shift=np.zeros((frames, 2)), roll=zero, yaw=zero, pitch=zero,
        zoom=zero + 1, blink=zero, light=zero + 1, light_slope=np.zeros(2), gamma=1.0, tint=np.ones(3),
        grain=drawn.grain * 0, mirrored=False,
    )  # fmt: skip


def test_layout_and_manifest(corpus: Manifest) -> None:
    assert {row.split for row in corpus} == {"trainval", "val", "test"}
    for row in corpus:
        split, speaker, clip = Path(row.path).with_suffix("").parts
        assert (split, speaker, row.id) == (row.split, row.speaker, f"{split}/{speaker}/{clip}")
        assert row.extra["synthetic"] == "1"
        lines = corpus.file(row).with_suffix(".txt").read_text().splitlines()
        assert lines[0] == f"Text:  {row.text}"
        assert [line.split()[0] for line in lines[3:]] == row.text.split()
    assert not list(corpus.root.rglob("*.part*"))


def test_splits_share_nothing(corpus: Manifest) -> None:
    scripts = [script_clip(SEED, k) for k in range(CLIPS)]
    voice = {s.name: s.voice for s in SPEAKERS}
    for row, script in zip(corpus, scripts, strict=True):
        assert row.id == script.id and row.extra["voice"] == voice[row.speaker]
        assert split_of_sentence(tuple(w.text for w in script.words)) == row.split
        assert next(s for s in SPEAKERS if s.name == row.speaker).split == row.split


def test_files_say_what_they_are(corpus: Manifest) -> None:
    for row in corpus:
        info = probe(corpus.file(row))
        assert info.tags["comment"] == SYNTHETIC_NOTE
        assert (info.width, info.height, info.fps, info.frames) == (160, 160, 25.0, row.frames)
        assert (info.rate, info.channels) == (16000, 1)
        assert row.samples == row.frames * 640


def test_faces_are_found_and_lips_follow_the_sound(corpus: Manifest) -> None:
    detector, mesh = YuNet(), FaceMesh()
    lags: list[int] = []
    shifted: list[int] = []
    for row in corpus:
        clip = read_clip(corpus.file(row))
        assert clip.video is not None and clip.audio is not None
        opening = []
        for frame in clip.video.frames:
            faces = detector(frame)
            assert len(faces) == 1, row.id
            opening.append(mouth_openness(mesh(frame, faces[0])[0]))
        sound = clip.audio.samples[: row.frames * 640].reshape(row.frames, 640)
        envelope = np.log(np.sqrt((sound**2).mean(1)) + 1e-3)
        lags.append(lag_frames(np.array(opening), envelope))
        shifted.append(lag_frames(np.roll(opening, 5), envelope))
    # 40 of 40 clips lay within two frames when this was written (lags 0: 22, 1: 15, 2: 3).
    assert np.mean(np.abs(lags) <= 2) >= 0.9, lags
    assert abs(np.mean(lags)) <= 1, lags
    assert abs(np.median(shifted) - np.median(lags) - 5) <= 1, "the measure notices lips that come late"


def test_same_seed_same_bytes_whatever_the_workers_and_the_size(corpus: Manifest, tmp_path: Path) -> None:
    fewer = make_corpus(tmp_path / "fewer", 3, SEED, workers=1)
    for row in Manifest.read(fewer.manifest):
        assert (fewer.root / row.path).read_bytes() == corpus.file(row).read_bytes()
    assert Manifest.read(fewer.manifest).rows == corpus.rows[:3]


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="speaks with espeak-ng (viseme-core[synthetic])")
    seen: list[tuple[int, int]] = []
    first = make_corpus(tmp_path, 2, 1, workers=1, size_px=64, on_clip=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    more = make_corpus(tmp_path, 3, 1, workers=1, size_px=64)
    assert (first.made, more.made, len(Manifest.read(more.manifest))) == (2, 1, 3)
    with pytest.raises(DataError, match="another corpus"):
        make_corpus(tmp_path, 3, 2, workers=1, size_px=64)


@pytest.mark.parametrize("bad", [{"clips": 0}, {"seed": -1}, {"workers": 0}, {"size_px": 161}, {"size_px": 32}])
def test_options_out_of_range(bad: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        make_corpus(tmp_path / "corpus", **{"clips": 2, **bad})
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize("identity", range(IDENTITIES))
def test_every_face_shows_its_visemes(identity: int) -> None:
    shapes = ("p", "ah", "i", "u", "f", "th")
    targets = np.array([VISEMES[name].rows()[0] for name in shapes], np.float32)
    face, mesh, detector = load_face(identity, 160), FaceMesh(), YuNet()
    frames = dict(zip(shapes, render(face, targets, still(len(shapes), 160)), strict=True))
    points = {name: mesh(frame, detector(frame)[0])[0] for name, frame in frames.items()}
    width = {name: np.linalg.norm(p[78] - p[308]) for name, p in points.items()}
    assert mouth_openness(points["ah"]) > mouth_openness(points["p"]) + 0.12
    assert width["u"] < 0.9 * width["i"]
    # Landmarks do not see teeth and tongue; the pictures must.
    x, y = points["p"][13].round().astype(int)
    for one, other in (("f", "p"), ("th", "f"), ("th", "p")):
        change = np.abs(frames[one].astype(int) - frames[other]).sum(-1)
        assert change[y - 6 : y + 12, x - 16 : x + 16].max() > 90, (one, other)


def test_a_silent_track_keeps_the_mouth_shut() -> None:
    assert mouth_track([], 5, 25.0)[:, PARAMETERS.index("open")].max() < 0.05
