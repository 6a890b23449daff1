"""Speech units: HuBERT's layers, the nearest clusters; and the ViT-VQGAN that image tokens come from."""

from __future__ import annotations

import harness
import pytest
import torch
from im2speech_entries import SYSTEM, Check, tensors, weights
from torch.nn import functional as F
from transformers import HubertConfig, HubertModel

from viseme.im2speech.published import convert_hubert, convert_vitvq
from viseme.im2speech.tokens import deduplicate
from viseme.im2speech.units import HubertFeatures, UnitExtractor
from viseme.im2speech.vitvq import Quantiser, ViTVQ, VitVQConfig, nearest_codes, sincos_table


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "hubert_units"))
@torch.no_grad()
def test_hubert(name: str, entry: dict) -> None:
    check, config, inputs = Check(entry), entry["config"], tensors(entry)
    (keys,) = entry["keys"]
    assert not config["normalised"]
    model = HubertModel(HubertConfig(num_hidden_layers=config["layers"], num_attention_heads=config["heads"])).eval()
    model.load_state_dict(convert_hubert(weights(entry, keys)))
    kept: dict[str, torch.Tensor] = {}
    model.feature_extractor.register_forward_hook(lambda _, __, out: kept.update(conv=out.transpose(1, 2)))
    layers = model(inputs["wave"][None], output_hidden_states=True).hidden_states
    check.check("conv", kept["conv"])
    for number, layer in enumerate(layers):
        check.check(f"layer{number}", layer)

    extractor = UnitExtractor(HubertFeatures(model, config["unit_layer"]), inputs["cluster_centres"])
    assert extractor.units == config["clusters"]
    units = extractor(inputs["wave"].numpy())
    check.check("units", units)
    check.check("dedup", deduplicate(units))
    features = extractor.features(inputs["wave"])
    torch.testing.assert_close(features, layers[config["unit_layer"]][0])
    near = torch.cdist(features.double(), extractor.centres.double()).square().topk(2, largest=False).values
    check.check("margin", near[:, 1] - near[:, 0])
    check.finish()


@pytest.mark.heavy
@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "vitvq/autoencoder"))
@torch.no_grad()
def test_autoencoder(name: str, entry: dict) -> None:
    check, config, pixels = Check(entry), entry["config"], tensors(entry)["pixel_values"]
    (keys,) = entry["keys"]
    state = convert_vitvq(weights(entry, keys))
    model = ViTVQ(VitVQConfig.from_state(state), config["commitment"])
    ours = model.config
    assert (ours.dim, ours.layers, ours.mlp_dim) == (config["dim"], config["layers"], config["mlp_dim"])
    assert (ours.image_size, ours.patch_size, ours.codes, ours.code_dim) == tuple(
        config[key] for key in ("image_size", "patch_size", "codes", "code_dim")
    )
    check.check("encoder_position_rows", sincos_table(ours.side, ours.dim))
    check.check("decoder_position_rows", sincos_table(ours.side, ours.decoder_dim))
    model.load_state_dict(state)
    model.eval()
    features = model.features(pixels)
    quantised, loss, codes = model.quantizer(features)
    best = (F.normalize(features, dim=-1) @ F.normalize(model.quantizer.embedding.weight, dim=-1).T).topk(2).values
    check.check("pixels_corner", pixels)
    check.check("pre_quant", features)
    check.check("code_ids", codes)
    check.check("code_margin", 2 * (best[..., 0] - best[..., 1]))
    check.check("quant_loss", loss)
    check.check("quant_rows", quantised)
    check.check("reconstruction_patch", model.decode(codes))
    check.finish()
    assert torch.equal(model.codes(pixels), codes)


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "vitvq/quantiser"))
def test_quantiser(name: str, entry: dict) -> None:
    check, config = Check(entry), entry["config"]
    (keys,) = entry["keys"]
    state = weights(entry, keys)
    quantiser = Quantiser(config["codes"], config["code_dim"], config["commitment"])
    quantiser.load_state_dict({"embedding.weight": state["quantizer.embedding.weight"]})
    features = tensors(entry)["pre_quant"].requires_grad_()
    quantised, loss, codes = quantiser(features)
    loss.backward()
    check.check("loss", loss)
    check.check("grad", features.grad)
    check.finish()
    assert torch.equal(codes, nearest_codes(features, quantiser.embedding.weight))
    torch.testing.assert_close(quantised, quantiser.lookup(codes))
