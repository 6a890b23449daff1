"""The 2022 model zoo's `.ini` files: which model, which language model, and how its authors decoded with them."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

from viseme.core.errors import ConfigError

__all__ = ["ZooSettings", "read_ini"]


@dataclass(frozen=True)
class ZooSettings:
    """One `.ini` file.

    Attributes:
        modality: `video`, `audio` or `audiovisual`.
        input_fps, fps: frames a second of the recordings it was written for, and of the network.
        checkpoint, model_json, lm_checkpoint, lm_json: files it names; None where it names none.
        beam, ctc_weight, lm_weight, penalty, maxlenratio, minlenratio: of the search.
    """

    modality: str
    input_fps: float
    fps: float
    checkpoint: Path | None
    model_json: Path | None
    lm_checkpoint: Path | None
    lm_json: Path | None
    beam: int
    ctc_weight: float
    lm_weight: float
    penalty: float
    maxlenratio: float
    minlenratio: float


def read_ini(path: str | Path) -> ZooSettings:
    """Read one.

    Files that it names are looked for as written, beside the `.ini`, and one and two folders above it (the zoo keeps
    its `.ini` files in `configs/` and names the others from the folder above).

    Raises:
        ConfigError: not such a file, a value that is no number, or a model that is named and not there.
    """
    path = Path(path)
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise ConfigError("not a readable .ini file", path=path, got=" ".join(str(error).split())) from error
    for section in ("input", "model", "decode"):
        if not parser.has_section(section):
            raise ConfigError(f"the .ini file has no section [{section}]", path=path)

    def file(name: str) -> Path | None:
        value = parser.get("model", name, fallback="").strip()
        if value in ("", "none", "None", "null"):
            return None
        places = [Path(value), *(above / value for above in (path.parent, *list(path.absolute().parents)[1:3]))]
        places.append(path.parent / Path(value).name)
        for place in places:
            if place.is_file():
                return place
        raise ConfigError(f"the .ini file names a {name} that is not there", path=path, got=value)

    def number(section: str, name: str, default: float) -> float:
        text = parser.get(section, name, fallback=str(default)).strip()
        try:
            return float(text)
        except ValueError as error:
            raise ConfigError(f"[{section}] {name} is not a number", path=path, got=text) from error

    fps = number("model", "v_fps", 25)
    if fps != 25:
        raise ConfigError("[model] v_fps", path=path, expected="25, what every published model was trained at", got=fps)
    settings = ZooSettings(
        modality=parser.get("input", "modality", fallback="video").strip(),
        input_fps=number("input", "v_fps", 25),
        fps=fps,
        checkpoint=file("model_path"),
        model_json=file("model_conf"),
        lm_checkpoint=file("rnnlm"),
        lm_json=file("rnnlm_conf"),
        beam=int(number("decode", "beam_size", 40)),
        ctc_weight=number("decode", "ctc_weight", 0.1),
        lm_weight=number("decode", "lm_weight", 0.0),
        penalty=number("decode", "penalty", 0.0),
        maxlenratio=number("decode", "maxlenratio", 0.0),
        minlenratio=number("decode", "minlenratio", 0.0),
    )
    if settings.beam < 1:
        raise ConfigError("[decode] beam_size", path=path, expected="at least 1", got=settings.beam)
    return settings
