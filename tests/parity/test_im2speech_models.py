"""The captioners on transformers' GIT: teacher-forced passes with their gradients, and generation."""

from __future__ import annotations

from functools import lru_cache

import harness
import numpy as np
import pytest
import torch
from im2speech_entries import SYSTEM, Check, given, tensors, weights
from torch.nn import functional as F

from viseme.im2speech.decoding import GenerationConfig, generate
from viseme.im2speech.model import Captioner, CaptionerConfig
from viseme.im2speech.objective import caption_loss
from viseme.im2speech.published import convert_captioner
from viseme.im2speech.vitvq import sincos_table

pytestmark = pytest.mark.heavy


KINDS = ("im_sp_teacher", "im_sp_generate", "im_unit_teacher", "im_unit_generate")


@lru_cache(maxsize=1)
def _empty(config: CaptionerConfig) -> Captioner:
    """A captioner of this geometry, without the seconds that drawing its weights would take."""
    with torch.device("meta"):
        model = Captioner(config)
    model.to_empty(device="cpu")
    model.tie()
    git = model.model.git
    for part in (git, git.image_encoder.vision_model):  # tables that no checkpoint holds
        if hasattr(getattr(part, "embeddings", None), "position_ids"):
            table = part.embeddings.position_ids
            table.copy_(torch.arange(table.shape[1])[None])
    return model.eval()


def captioner(entry: dict) -> Captioner:
    """The entry's captioner, loaded anew; full-size, so that one is kept."""
    (keys,) = entry["keys"]
    book = given(entry).get("codebook")
    published = convert_captioner(weights(entry, keys), None if book is None else torch.from_numpy(book))
    model = _empty(published.config)
    model.load_state_dict(published.state)
    model.zero_grad()
    return model


def test_every_kind_is_tested() -> None:
    tested = {*KINDS, "vitvq/autoencoder", "vitvq/quantiser", "hubert_units", "vocoder/plain", "vocoder/duration"}
    tested |= {"vocoder_train/duration", "vocoder_train/mel"}
    others = ("token_augment/", "image_preprocess/", "data/", "caption_metrics/")
    unknown = {entry["kind"] for entry in harness.vectors(SYSTEM).values()} - tested
    assert not {kind for kind in unknown if not kind.startswith(others)}


def geometry_agrees(model: Captioner, config: dict) -> None:
    ours, tokens = model.config, model.config.tokens
    assert (ours.image_size, ours.image_tokens) == (config["image_size"], config["image_positions"])
    assert (ours.vision_dim, ours.vision_layers) == (config["vision_dim"], config["vision_layers"])
    assert (ours.vision_heads, ours.heads) == (config["vision_heads"], config["decoder_heads"])
    assert (ours.dim, ours.layers) == (config["decoder_dim"], config["decoder_layers"])
    assert (tokens.pad, tokens.bos, tokens.eos) == tuple(config[f"{name}_token_id"] for name in ("pad", "bos", "eos"))
    assert tokens.vocabulary == config["vocabulary"]


class Recorder:
    """Outputs of modules by the vectors' names."""

    def __init__(self) -> None:
        self.kept: dict[str, torch.Tensor] = {}

    def of(self, module: torch.nn.Module, name: str) -> None:
        def keep(_: object, __: object, out: object) -> None:
            value = out[0] if isinstance(out, tuple) else getattr(out, "last_hidden_state", out)
            if value.requires_grad:
                value.retain_grad()
            self.kept[name] = value

        self.handles = [*getattr(self, "handles", []), module.register_forward_hook(keep)]

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "im_sp_teacher", "im_unit_teacher"))
def test_teacher_forced(name: str, entry: dict) -> None:
    check, inputs, model = Check(entry), tensors(entry), captioner(entry)
    geometry_agrees(model, entry["config"])
    git, record = model.model.git, Recorder()
    vision = git.image_encoder.vision_model
    if model.config.image == "pixels":
        record.of(vision.pre_layrnorm, "vision_embed")
        for number, layer in enumerate(vision.encoder.layers, start=1):
            record.of(layer, f"vision_layer{number}")
        record.of(vision, "vision_out")
    else:
        record.of(model.tokenizer[0].transformer.layers[0][0], "tokenizer_attn1_delta")
        record.of(model.tokenizer[0], "tokenizer_encoder")
        record.of(model.tokenizer, "tokenizer_features")
        record.of(vision.patch_embed, "vit_patch_embed")
        record.of(vision.blocks[0], "vit_block1")
        record.of(vision, "vit_out")
    record.of(git.visual_projection, "visual_projection")
    record.of(git.embeddings, "token_embed")
    for number, layer in enumerate(git.encoder.layer, start=1):
        record.of(layer, f"decoder_layer{number}")
    record.of(git.encoder, "decoder_out")

    pixels, tokens, lengths = inputs["pixel_values"], inputs["tokens"], inputs["lengths"]
    logits = model(pixels, tokens, lengths)
    loss = caption_loss(logits, tokens, lengths)
    loss.backward()
    record.close()
    for part, value in record.kept.items():
        check.check(part, value)
    check.check("logits", logits)
    check.check("loss", loss)
    targets = tokens[:, 1:].masked_fill(torch.arange(1, tokens.shape[1]) >= lengths[:, None], -100)
    check.check("token_loss", F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none"))
    check.check("pixels_corner", pixels)
    if model.config.image == "codes":
        check.check("pos_embedding_rows", sincos_table(model.config.tokenizer.side, model.config.tokenizer_dim))
        features = record.kept["tokenizer_features"]
        check.check("code_ids", model.image_codes(pixels))
        cosine = F.normalize(features, dim=-1) @ F.normalize(model.codebook, dim=-1).T
        best = cosine.topk(2).values
        check.check("code_margin", (2 * (best[..., 0] - best[..., 1])).view(model.image_codes(pixels).shape))
        check.check("code_vectors_cropped_0", model.image_input(pixels))
    for part, spec in entry["arrays"].items():
        if "wrt" in spec:
            gradient = record.kept[spec["wrt"]].grad if spec["wrt"] in record.kept else None
            check.check(part, model.get_parameter(spec["wrt"]).grad if gradient is None else gradient)
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "im_sp_generate", "im_unit_generate"))
@torch.no_grad()
def test_generation(name: str, entry: dict) -> None:
    check, config, model = Check(entry), entry["config"], captioner(entry)
    geometry_agrees(model, config)
    assert config["early_stopping"]
    search = GenerationConfig(config["num_beams"], config["max_length"], config["length_penalty"])
    found = generate(model.model, model.encode(tensors(entry)["pixel_values"]), search, keep_logits=True)
    width = entry["arrays"]["sequences"]["shape"][1]
    rows = [one.tokens + [model.config.tokens.pad] * (width - len(one.tokens)) for one in found]
    check.check("sequences", np.array(rows))
    lengths = entry["arrays"]["sequences"].get("row_lengths", [width] * len(found))
    assert [len(one.tokens) for one in found] == lengths
    check.check("sequences_scores", np.array([one.score for one in found]))
    if "scores" in entry["arrays"]:
        steps = entry["arrays"]["scores"]["shape"][1]
        check.check("scores", torch.stack([F.pad(one.logits, (0, 0, 0, steps - len(one.logits))) for one in found]))
    check.finish()
