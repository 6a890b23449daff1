"""A published checkpoint in, a model directory out: what `lip2speech convert` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from viseme.core.checkpoint import announce, find_record, identify, read_object, save_model_dir
from viseme.core.errors import CheckpointError, ConfigError
from viseme.lip2speech.lips import LRS_SHARE, LipInput
from viseme.lip2speech.models.config import ContentConfig
from viseme.lip2speech.pipeline import Lip2Speech
from viseme.lip2speech.published import (
    convert_content_recogniser,
    convert_grid_recogniser,
    convert_lrw_recogniser,
    convert_multitask,
    convert_vca,
    layout_of,
)
from viseme.lip2speech.scoring import WORDS_FILE
from viseme.lip2speech.storage import save_recogniser
from viseme.lip2speech.text import PieceTokenizer

__all__ = ["convert_file"]

PUBLISHED_VOCODER: dict[str, Any] = {"iterations": 60, "momentum": 0.0, "mel_inverse": "transpose"}


def convert_file(
    checkpoint: Path,
    directory: Path,
    *,
    data_name: str | None = None,
    pieces: str | None = None,
    record: str | None = None,
    words: str | None = None,
) -> str:
    """Convert one published file; which it is, its content tells.

    Args:
        checkpoint: `.ckpt` of VCA-GAN, of the multi-task system, or of one of the recognisers.
        directory: model directory to write.
        data_name: `LRS2`, `LRS3` or `GRID`: the corpus that it was trained on, which decides its crop (and, of a GAN,
            its audio front-end); not needed for recognisers.
        pieces: SentencePiece model of the multi-task system's text branch.
        words: list of the LRW recogniser's words (`class.txt`).
        record: name of the published weights, where their checksum does not tell.

    Returns:
        What was written, in words.

    Raises:
        CheckpointError: not such a checkpoint.
        ConfigError: a corpus that is missing or unknown.
    """
    content = read_object(checkpoint)
    if not isinstance(content, dict):
        raise CheckpointError("not a checkpoint of a lip-to-speech system", path=checkpoint, got=type(content).__name__)
    known = find_record(record) if record else identify(checkpoint, "lip2speech")
    if known is not None:
        announce(known)
    card = f"# {checkpoint.stem}\n\nConverted from a published checkpoint.\n"
    card += f"\n{known.card()}" if known is not None else ""
    name = known.name if known is not None else ""
    layout = layout_of(content)
    if layout in ("vca", "multitask"):
        if data_name not in ("LRS2", "LRS3", "GRID") or (layout, data_name) == ("multitask", "GRID"):
            raise ConfigError(
                "which corpus the weights are of is not in the file",
                path=checkpoint,
                expected="--data_name LRS2 | LRS3" + (" | GRID" if layout == "vca" else ""),
                got=data_name,
            )
        tokenizer = PieceTokenizer(pieces) if pieces else None
        model: Any
        if layout == "vca":
            published: Any = convert_vca(content, mel="vca_grid" if data_name == "GRID" else "vca_lrs")
            lips = LipInput("grid", 0.8) if data_name == "GRID" else LipInput("lips", LRS_SHARE[data_name])
        else:
            published = convert_multitask(content)
            lips = LipInput("lips", LRS_SHARE["LRS2" if data_name == "LRS2" else "LRS3_100"])
        needed = {"v_front_state_dict", "gen_state_dict", "post_state_dict"} if layout == "vca" else None
        lacking = [part for part in published.missing if needed is None or part in needed]
        if lacking:
            raise CheckpointError("parts that speaking needs are missing", path=checkpoint, got=", ".join(lacking))
        model = published.model()
        speaker = Lip2Speech(model, lips, tokenizer=tokenizer, device="cpu", record=name, **PUBLISHED_VOCODER)
        speaker.save(directory, card=card)
        return f"{layout} model of {data_name}, {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters"
    if layout == "content_recogniser":
        recogniser = convert_content_recogniser(content["asr_model_state_dict"])
        attention = recogniser.encoder.layers[0].MHA.module.attention
        config = ContentConfig(
            vocabulary=recogniser.classifier.out_features,
            front=(recogniser.audio_front[0].out_channels, recogniser.audio_front[3].out_channels),
            dim=attention.dim,
            layers=len(recogniser.encoder.layers),
            heads=attention.heads,
            kernel=recogniser.encoder.layers[0].Conv.module.sequential[4].conv.kernel_size[0],
            expansion=recogniser.encoder.layers[0].feed_forward1.module.sequential[1].linear.out_features
            // attention.dim,
            published_padding=True,
        )
        save_recogniser(recogniser, config, PieceTokenizer(pieces) if pieces else None, directory, card=card)
        return "recogniser for content supervision"
    if layout == "recogniser":
        grid = "frontend.0.weight" in content["a_front_state_dict"] and (
            content["a_front_state_dict"]["frontend.0.weight"].shape[-1] == 5
        )
        made: Any = convert_grid_recogniser(content) if grid else convert_lrw_recogniser(content)
        kind = "grid_recogniser" if grid else "lrw_recogniser"
        files = {} if grid else {WORDS_FILE: _words(words, made.back.fc.out_features, checkpoint)}
        save_model_dir(directory, {"package": "lip2speech", "kind": kind}, made.state_dict(), files=files, card=card)
        return kind.replace("_", " ")
    raise CheckpointError(
        "a visual front alone cannot speak", path=checkpoint, hint="Training takes it: visual_front_checkpoint=FILE."
    )


def _words(path: str | None, count: int, checkpoint: Path) -> str:
    """The LRW recogniser's words, a line each."""
    if path is None:
        raise ConfigError("the words are not in the checkpoint", path=checkpoint, expected="--words class.txt")
    try:
        found = Path(path).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("cannot read the list of words", path=path, got=str(error)) from error
    if len(found) != count:
        raise ConfigError("another number of words than the checkpoint has", path=path, expected=count, got=len(found))
    return "\n".join(found) + "\n"
