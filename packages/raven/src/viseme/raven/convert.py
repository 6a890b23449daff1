"""A published checkpoint in, model directories out: what `raven convert` does."""

from __future__ import annotations

from pathlib import Path

from viseme.core.checkpoint import announce, find_record, read_published
from viseme.core.errors import ConfigError
from viseme.core.text import Tokenizer, make_tokenizer
from viseme.raven.data import InputConfig
from viseme.raven.models.recogniser import Recogniser
from viseme.raven.pipeline import RAVEn, save_language_model
from viseme.raven.published import Published, convert, convert_encoder

__all__ = ["convert_file"]


def convert_file(
    checkpoint: str | Path,
    directory: str | Path,
    *,
    units_file: str | Path | None = None,
    units_model: str | Path | None = None,
    decoder_heads: int | None = None,
    record: str | None = None,
) -> list[Path]:
    """Convert one file; what it is, is told from its keys.

    Args:
        checkpoint: fine-tuned recogniser, pre-trained encoder, pre-training state, or language model.
        directory: model directory to write; a pre-training gives two below it, `video` and `audio`.
        units_file: the unit list of a recogniser.
        units_model: its SentencePiece model, where one is at hand.
        decoder_heads: of a recogniser's decoder, which shapes do not show; 64 channels a head where None.
        record: name of the published weights, for the card.

    Returns:
        The directories written.

    Raises:
        CheckpointError: not such a checkpoint.
        ConfigError: units missing, or of another number than the model's.
    """
    checkpoint, directory = Path(checkpoint), Path(directory)
    card = f"# {checkpoint.stem}\n\nConverted from a published checkpoint.\n"
    if record is not None:
        known = find_record(record)
        announce(known)
        card += "\n" + known.card()
    found = convert(_read(checkpoint), decoder_heads=decoder_heads)
    match found.kind:
        case "language_model":
            return [save_language_model(directory, found.config, found.state, card)]
        case "encoder":
            return [RAVEn(found.build(), inputs=InputConfig(), device="cpu").save(directory, card=card)]  # type: ignore[arg-type]
        case "pretraining":
            return [_student(found, name).save(directory / name, card=card) for name in ("video", "audio")]
    if not units_file:
        raise ConfigError("the checkpoint does not hold its units", expected="--units-file", path=checkpoint)
    tokenizer: Tokenizer = make_tokenizer("", file=units_file, model=units_model)
    if tokenizer.size != found.config.vocabulary:
        raise ConfigError(
            "the units file does not match the checkpoint",
            path=units_file,
            expected=f"{found.config.vocabulary} units with blank and eos",
            got=tokenizer.size,
        )
    model = found.build()
    assert isinstance(model, Recogniser)
    return [RAVEn(model, tokenizer, InputConfig(), device="cpu").save(directory, card=card)]


def _student(found: Published, name: str) -> RAVEn:
    prefix = f"model_{name}.backbone.encoder."
    state = {key.removeprefix(prefix): value for key, value in found.state.items() if key.startswith(prefix)}
    return RAVEn(convert_encoder(state).build(), inputs=InputConfig(), device="cpu")  # type: ignore[arg-type]


def _read(path: Path) -> dict:
    """The bare state dict, or the one inside a training checkpoint or a language model's snapshot."""
    if path.suffix == ".ckpt":
        return read_published(path, unwrap="state_dict")
    if "snapshot" in path.name:
        return read_published(path, unwrap="model")
    return read_published(path)
