"""Pictures of every kind, good and bad."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from viseme.core.errors import MediaError
from viseme.core.testing.commands import check_user_error, run_command
from viseme.im2speech import images
from viseme.im2speech.cli import app
from viseme.im2speech.images import clip_pixels, read_image, square_pixels


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 90)], -1).astype(np.uint8)


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def test_kinds_agree(tmp_path: Path) -> None:
    """The same picture as PNG, palette, CMYK, 16-bit, with full alpha: the same to a few grey levels."""
    plain = gradient()
    picture = Image.fromarray(plain)
    kinds = {
        "rgb.png": picture,
        "alpha.png": picture.convert("RGBA"),
        "palette.png": picture.quantize(256),
        "cmyk.tif": picture.convert("CMYK"),
        "animated.gif": picture,
    }
    for name, kind in kinds.items():
        found = read_image(saved(tmp_path / name, kind)).astype(int)
        assert found.shape == plain.shape
        assert np.abs(found - plain).mean() < 6, name


def test_sixteen_bit_grey(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    found = read_image(saved(tmp_path / "deep.png", Image.fromarray(ramp)))
    np.testing.assert_allclose(found[..., 0], np.round(ramp / 65535 * 255), atol=1)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    assert (read_image(saved(tmp_path / "clear.png", Image.fromarray(clear))) == 255).all()


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("orientation", "shape"), [(1, (40, 60)), (3, (40, 60)), (6, (60, 40)), (8, (60, 40))])
def test_exif_rotation(tmp_path: Path, orientation: int, shape: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_image(saved(tmp_path / "turned.jpg", Image.fromarray(gradient()), exif=exif))
    assert found.shape[:2] == shape
    if orientation == 3:
        assert found[0, 0, 0] > found[0, -1, 0]  # red grew to the right before the turn


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 2), (224, 224), (225, 224)])
def test_any_size_is_scaled(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    for scale in (clip_pixels, square_pixels):
        pixels = scale(image, 64)
        assert pixels.shape == (3, 64, 64)
        torch.testing.assert_close(pixels, pixels[:, :1, :1].expand_as(pixels), atol=0.02, rtol=0)


def test_a_thin_strip_shows_its_middle() -> None:
    strip = np.zeros((10, 1000, 3), np.uint8)
    strip[:, 400:600] = 255
    assert float(clip_pixels(strip, 32).min()) > 1


def test_large_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG beyond the limit is decoded smaller; a PNG, which cannot be, is refused without being decoded."""
    monkeypatch.setattr(images, "MAX_PIXELS", 100_000)
    picture = Image.fromarray(gradient(800, 1200))
    found = read_image(saved(tmp_path / "large.jpg", picture))
    assert found.shape == (100, 150, 3)
    with pytest.raises(MediaError, match="too large"):
        read_image(saved(tmp_path / "large.png", picture))


def test_twenty_thousand_square(tmp_path: Path) -> None:
    """Beyond Pillow's own limit too."""
    path = saved(tmp_path / "huge.png", Image.new("1", (20_000, 20_000)), compress_level=1)
    with pytest.raises(MediaError, match="too large"):
        read_image(path)


def test_streams_and_damage(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(gradient()).save(stream, "PNG")
    np.testing.assert_array_equal(read_image(io.BytesIO(stream.getvalue())), gradient())
    path = tmp_path / "cut.png"
    path.write_bytes(stream.getvalue()[:-60])
    for source in (path, io.BytesIO(stream.getvalue()[:-60])):
        with pytest.raises(MediaError):
            read_image(source)


def test_describe_files_folders_and_bad_ones(model_dir: Path, scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    good = [saved(folder / f"{n}.png", Image.fromarray(gradient(30 + n, 50))) for n in range(3)]
    out = tmp_path / "wav"
    command = ["describe", folder, "--model", model_dir, "--out", out, "--device", "cpu", "--batch", "2"]
    outcome = run_command(app, command)
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in out.iterdir()) == ["0.wav", "1.wav", "2.wav"]
    (folder / "bad.png").write_bytes(b"no picture")
    outcome = run_command(app, command)
    assert outcome.code == 2 and "bad.png" in outcome.err and "Traceback" not in outcome.err
    assert len(outcome.out.splitlines()) == 3
    units = run_command(app, ["describe", *good, "--model", model_dir, "--units", "--device", "cpu"])
    assert [line.partition("|")[0] for line in units.out.splitlines()] == ["0", "1", "2"]


def test_describe_empty_folder_and_wrong_out(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    check_user_error(app, ["describe", tmp_path / "none", "--model", model_dir], "no pictures")
    pair = [saved(tmp_path / f"{n}.png", Image.fromarray(gradient())) for n in range(2)]
    check_user_error(app, ["describe", *pair, "--model", model_dir, "--out", "a.wav"], "folder")
    check_user_error(app, ["describe", pair[0], "--model", model_dir, "--beam", "0"], "at least one")
    check_user_error(app, ["describe", pair[0], "--model", tmp_path / "nowhere"], "nowhere")
