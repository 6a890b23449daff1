"""Weights that a captioner's training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from viseme.core.checkpoint import load_model_dir, read_object, read_published
from viseme.core.errors import CheckpointError, ConfigError
from viseme.im2speech.hub import weights_file
from viseme.im2speech.model import TIED, Captioner
from viseme.im2speech.published import convert_captioner, convert_vitvq, read_module, read_tokenizer

__all__ = ["initialise", "read_codebook", "transfer_git", "transfer_token_vit", "transfer_tokenizer"]

_VOCABULARY = ("git.embeddings.word_embeddings.weight", "output.weight", "output.bias", "output.")


def initialise(model: Captioner, cfg: DictConfig) -> None:
    """Load what the configuration names: a whole captioner, or GIT, the ViT on codes, tokenizer and codebook.

    Raises:
        ConfigError: weights for a part that this captioner does not have.
        CheckpointError: weights that do not fit.
    """
    codes = model.config.image == "codes"
    for option in ("pretrained_token_vit", "tokenizer_path", "codebook_path"):
        if cfg[option] and not codes:
            raise ConfigError(f"{option} is for captioners of image codes", got=model.config.image)
    if cfg.pretrained_git:
        path = weights_file(cfg.pretrained_git)
        transfer_git(model, read_published(path), path)
    if cfg.pretrained_token_vit:
        state = read_published(cfg.pretrained_token_vit, unwrap="model")
        transfer_token_vit(model, state, Path(cfg.pretrained_token_vit))
    if cfg.tokenizer_path:
        transfer_tokenizer(model, Path(cfg.tokenizer_path))
    if cfg.codebook_path:
        codebook = read_codebook(Path(cfg.codebook_path))
        if codebook.shape != model.codebook.shape:
            raise CheckpointError(
                "a codebook of another size",
                path=cfg.codebook_path,
                expected=tuple(model.codebook.shape),
                got=tuple(codebook.shape),
                hint="Set model.codes and model.code_dim.",
            )
        model.codebook.copy_(codebook)
    if cfg.pretrained_model_path:
        path = Path(cfg.pretrained_model_path)
        if path.is_dir():
            loaded = load_model_dir(path).state
            state = {k.removeprefix("captioner."): v for k, v in loaded.items() if k.startswith("captioner.")}
            state[TIED] = state["model.output.weight"]
        else:
            book = model.codebook if codes else None
            state = convert_captioner(read_published(path, unwrap="state_dict"), book).state
        _load(model, state, path)


def _load(model: torch.nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    odd = sorted(set(own) ^ set(state)) + [k for k in own if k in state and own[k].shape != state[k].shape]
    if odd:
        raise CheckpointError(
            f"{len(odd)} weights do not fit the model to be trained", path=path, got=", ".join(odd[:5])
        )
    model.load_state_dict(dict(state))


def transfer_git(model: Captioner, state: Mapping[str, Tensor], path: Path) -> None:
    """GIT's weights without its vocabulary, and for captioners of codes without its image side; the head starts as a
    fresh linear layer, and the embedding is the head's matrix, as published."""
    own = {key: value for key, value in model.model.state_dict().items() if not key.startswith(_VOCABULARY)}
    if model.config.image == "codes":
        own = {key: value for key, value in own.items() if "image_encoder" not in key and "visual_proj" not in key}
    missing = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if missing:
        raise CheckpointError("GIT's weights do not fit", path=path, got=", ".join(missing[:5]))
    model.model.load_state_dict({key: state[key] for key in own}, strict=False)
    model.model.output.reset_parameters()
    model.tie()


def transfer_token_vit(model: Captioner, state: Mapping[str, Tensor], path: Path) -> None:
    """The ViT of SeiT's ImageNet classifier."""
    vision = model.model.git.image_encoder.vision_model
    own = vision.state_dict()
    missing = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if missing:
        raise CheckpointError("the ViT's weights do not fit", path=path, got=", ".join(missing[:5]))
    vision.load_state_dict({key: state[key] for key in own})


def transfer_tokenizer(model: Captioner, path: Path) -> None:
    """The image tokenizer: SeiT's pickled module, or a ViT-VQGAN's checkpoint."""
    found = read_module(path)
    weights = found.get("state_dict") if isinstance(found, Mapping) else None
    if isinstance(weights, Mapping) and "encoder.en_pos_embedding" in weights:
        vitvq = convert_vitvq(weights)
        state = {
            f"tokenizer.0.{key.removeprefix('encoder.')}": value
            for key, value in vitvq.items()
            if key.startswith("encoder.")
        }
        state |= {f"tokenizer.1.{name}": vitvq[f"pre_quant.{name}"] for name in ("weight", "bias")}
    else:
        state = read_tokenizer(path)
    assert model.tokenizer is not None
    _load(model.tokenizer, {key.removeprefix("tokenizer."): value for key, value in state.items()}, path)


def read_codebook(path: Path) -> Tensor:
    """The (codes, dim) matrix of a codebook file, whatever it is wrapped in.

    Raises:
        CheckpointError: no such file, or not one matrix in it.
    """
    found = read_object(path)
    matrices = [found] if isinstance(found, Tensor) else []
    if isinstance(found, Mapping):
        nested = [value for value in found.values() if isinstance(value, Mapping)]
        values = [*found.values(), *(inner for part in nested for inner in part.values())]
        matrices = [value for value in values if isinstance(value, Tensor)]
    matrices = [matrix for matrix in matrices if matrix.ndim == 2]
    if len(matrices) != 1:
        raise CheckpointError("not a codebook", path=path, expected="one matrix", got=f"{len(matrices)} matrices")
    return matrices[0].float()
