"""Our search against transformers' own `generate`, on small random captioners."""

from __future__ import annotations

import pytest
import torch
import transformers

from viseme.core.errors import ConfigError
from viseme.im2speech.decoding import GenerationConfig, generate
from viseme.im2speech.model import Captioner, CaptionerConfig

SMALL = {"units": 20, "vision_dim": 32, "vision_layers": 2, "vision_heads": 2, "vision_mlp_dim": 64}
SMALL |= {"dim": 32, "layers": 2, "heads": 4, "mlp_dim": 64, "max_tokens": 200}


def captioner(seed: int = 0, **changes) -> Captioner:
    torch.manual_seed(seed)
    model = Captioner(CaptionerConfig(image_size=32, patch_size=8, **{**SMALL, **changes})).eval()
    with torch.no_grad():  # spread the scores, or every step would say the same
        for parameter in model.parameters():
            parameter.mul_(3) if parameter.ndim > 1 else None
        model.model.output.bias.normal_(0, 0.5)
    return model


def published_generation(model: Captioner, pixels: torch.Tensor, config: GenerationConfig):
    tokens = model.config.tokens
    options = transformers.GenerationConfig(
        max_length=config.max_tokens,
        num_beams=config.beam,
        early_stopping=config.beam > 1,
        length_penalty=config.length_penalty,
        bos_token_id=tokens.bos,
        eos_token_id=tokens.eos,
        pad_token_id=tokens.pad,
        return_dict_in_generate=True,
        output_scores=True,
    )
    return model.model.generate(pixel_values=pixels, generation_config=options)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("beam", [1, 2, 5])
def test_generate_as_transformers_does(seed: int, beam: int) -> None:
    model = captioner(seed)
    pixels = torch.randn(4, 3, 32, 32)
    config = GenerationConfig(beam, 24)
    theirs = published_generation(model, pixels, config)
    ours = generate(model.model, model.encode(pixels), config)
    eos = model.config.tokens.eos
    for row, one in zip(theirs.sequences.tolist(), ours, strict=True):
        length = row.index(eos) + 1 if eos in row else len(row)
        assert one.tokens == row[:length]
    if beam > 1:
        scores = torch.tensor([one.score for one in ours])
        torch.testing.assert_close(scores, theirs.sequences_scores, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_batched_equals_single(beam: int) -> None:
    model = captioner(3)
    images = model.encode(torch.randn(5, 3, 32, 32))
    config = GenerationConfig(beam, 100)  # beyond the cache's first size
    together = generate(model.model, images, config)
    for row, one in enumerate(together):
        (alone,) = generate(model.model, images[row : row + 1], config)
        assert alone.tokens == one.tokens
        assert alone.score == pytest.approx(one.score, abs=1e-5)


def test_cached_equals_teacher_forced() -> None:
    model = captioner(1, numbering="published", units=200)
    pixels = torch.randn(2, 3, 32, 32)
    for row, one in enumerate(generate(model.model, model.encode(pixels), GenerationConfig(1, 90), keep_logits=True)):
        tokens = torch.tensor([one.tokens])
        logits = model(pixels[row : row + 1], tokens, torch.tensor([tokens.shape[1]]))
        torch.testing.assert_close(one.logits, logits[0, :-1], atol=2e-4, rtol=1e-3)


def test_codes_are_generated_from() -> None:
    sizes = {"tokenizer_dim": 64, "tokenizer_layers": 1, "tokenizer_mlp_dim": 64, "codes": 11, "code_dim": 8}
    model = captioner(2, image="codes", code_crop=4, **sizes)
    pixels = torch.rand(2, 3, 32, 32)
    codes = model.image_codes(pixels)
    assert codes.shape == (2, 4, 4) and int(codes.max()) < 11
    torch.testing.assert_close(model.encode(pixels), model.encode(codes.to(torch.uint8)))
    found = generate(model.model, model.encode(codes), GenerationConfig(2, 12))
    assert all(one.tokens[0] == model.config.tokens.bos for one in found)


def test_options_out_of_range() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        GenerationConfig(0)
    with pytest.raises(ConfigError, match="start and end"):
        GenerationConfig(max_tokens=1)
    model = captioner()
    with pytest.raises(ConfigError, match="positions"):
        generate(model.model, torch.zeros(1, 3, 32), GenerationConfig(1, 512))
