"""High dynamic range comes out as its SDR version would."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from viseme.core.media import MediaWarning, probe, read_video, stream_pictures
from viseme.core.media.tone import shoulder

TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
LUMA = np.array([0.2627, 0.6780, 0.0593])


def pq_code(light: np.ndarray) -> np.ndarray:
    y = (light * 203 / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hlg_code(light: np.ndarray) -> np.ndarray:
    shown = light * 203 / 1000
    scene = shown * np.maximum(shown @ LUMA, 1e-9)[..., None] ** (1 / 1.2 - 1)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


def write_hdr(path: Path, rgb: np.ndarray, transfer: int) -> None:
    """A film whose SDR version is `rgb` (H, W, 3) in [0, 1] times light, of 10 bits in BT.2020."""
    light = rgb @ TO_2020.T
    code = (pq_code if transfer == 16 else hlg_code)(np.maximum(light, 0)).clip(0, 1)
    luma = code @ LUMA
    blue, red = (code[..., 2] - luma) / (2 * (1 - LUMA[2])), (code[..., 0] - luma) / (2 * (1 - LUMA[0]))
    height, width = luma.shape
    planes = [
        luma * 876 + 64,
        *(part.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) * 896 + 512 for part in (blue, red)),
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"x265-params": "log-level=error:crf=4"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = 9, transfer, 9
        for number in range(3):
            frame = av.VideoFrame(width, height, "yuv420p10le")
            for plane, values in zip(frame.planes, planes):
                line = np.zeros((plane.height, plane.line_size // 2), np.uint16)
                line[:, : plane.width] = np.rint(values)
                plane.update(line)
            frame.pts, frame.color_range = number, 1
            frame.color_trc, frame.color_primaries, frame.colorspace = transfer, 9, 9
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_below_the_knee_it_is_the_sdr_version(transfer: int, name: str, tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :96] / 96
    levels = np.stack((0.2 + 0.55 * x, 0.3 + 0.5 * y, 0.55 - 0.3 * x), -1)  # as shown, of 1
    write_hdr(tmp_path / "film.mp4", levels**2.4, transfer)
    assert probe(tmp_path / "film.mp4").hdr == name
    with pytest.warns(MediaWarning, match=f"HDR \\({name}\\)"):
        frames = read_video(tmp_path / "film.mp4", fps=None).frames
    assert np.abs(frames[1] / 255 - levels).mean() < 0.006
    assert np.abs(frames[1] / 255 - levels).max() < 0.03
    with pytest.warns(MediaWarning):
        assert np.array_equal(next(stream_pictures(tmp_path / "film.mp4", fps=None)), frames[0])
    with pytest.warns(MediaWarning):
        gray = read_video(tmp_path / "film.mp4", fps=None, gray=True).frames[1]
    assert np.abs(gray / 255 - levels @ (0.299, 0.587, 0.114)).mean() < 0.006


@pytest.mark.parametrize("transfer", [16, 18])
def test_lights_keep_their_order_and_hue(transfer: int, tmp_path: Path) -> None:
    light = np.repeat(np.geomspace(0.2, 4.9, 96)[None], 64, 0)
    write_hdr(tmp_path / "lights.mp4", light[..., None] * (1.0, 0.6, 0.4), transfer)
    with pytest.warns(MediaWarning):
        row = read_video(tmp_path / "lights.mp4", fps=None).frames[1][32].astype(float)
    assert (np.diff(row[:, 0]) >= -2).all() and row[-1, 0] >= 250
    assert row[48, 0] < 245, "reference white is not the brightest there is"
    ratio = (row[4:-4] / 255) ** 2.4
    np.testing.assert_allclose(ratio[:, 1] / ratio[:, 0], 0.6, atol=0.05)


def test_shoulder() -> None:
    light = np.linspace(0, 1000 / 203, 500)
    made = shoulder(light)
    np.testing.assert_array_equal(made[light <= 0.7], light[light <= 0.7])
    assert (np.diff(made) > 0).all() and made[-1] == pytest.approx(1.0)


def test_other_films_are_not_called_hdr(tmp_path: Path) -> None:
    write_hdr(tmp_path / "film.mp4", np.full((32, 32, 3), 0.3), 1)
    assert probe(tmp_path / "film.mp4").hdr == ""
