"""Published files at small geometries: converted, saved, loaded and used; damaged and hostile ones refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from PIL import Image

from viseme.core.checkpoint import available_models
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.layers.hifigan import HiFiGANConfig, UnitVocoder, UnitVocoderConfig
from viseme.core.testing.commands import check_user_error, run_command
from viseme.im2speech.cli import app
from viseme.im2speech.model import Captioner, CaptionerConfig
from viseme.im2speech.pipeline import Im2Speech
from viseme.im2speech.published import (
    convert_captioner,
    convert_hubert,
    read_kmeans,
    read_tokenizer,
    read_unit_file,
    tokenizer_state,
)

PUBLISHED = {"numbering": "published", "units": 200, "vision_layers": 2, "vision_mlp_dim": 96, "layers": 2}
PUBLISHED |= {"mlp_dim": 96, "max_tokens": 128, "dim": 128, "heads": 2, "vision_dim": 64, "vision_heads": 1}
PIXELS = CaptionerConfig("pixels", image_size=32, patch_size=8, **PUBLISHED)
CODES = CaptionerConfig(
    "codes",
    image_size=64,
    codes=11,
    code_dim=8,
    code_crop=6,
    classes=10,
    tokenizer_dim=64,
    tokenizer_layers=2,
    tokenizer_mlp_dim=80,
    **PUBLISHED,
)


def checkpoint(config: CaptionerConfig, path: Path, *, prefix: str = "tokenizer.") -> Captioner:
    """A file as the original writes it."""
    torch.manual_seed(0)
    model = Captioner(config).eval()
    state = {k.replace("tokenizer.", prefix, 1): v for k, v in model.state_dict().items() if k != "codebook"}
    state["model.git.embeddings.position_ids"] = torch.arange(3)  # of older libraries
    torch.save({"state_dict": state}, path)
    return model


def vocoder(tmp_path: Path) -> tuple[Path, Path, UnitVocoder]:
    config = UnitVocoderConfig(200, 16, HiFiGANConfig(16, (5, 4, 4, 2, 2), (11, 8, 8, 4, 4), 32, (3,), ((1, 3),)))
    torch.manual_seed(1)
    model = UnitVocoder(config, normalised=True)
    state = {}
    for key, value in model.state_dict().items():
        for new, old in (("0", "g"), ("1", "v")):
            key = key.replace(f"parametrizations.weight.original{new}", f"weight_{old}")
        state[key] = value
    torch.save({"generator": state}, tmp_path / "g_00950000")
    options = {"num_embeddings": 200, "embedding_dim": 16, "model_in_dim": 16, "upsample_rates": [5, 4, 4, 2, 2]}
    options |= {"upsample_kernel_sizes": [11, 8, 8, 4, 4], "upsample_initial_channel": 32, "f0": False}
    options |= {"resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]], "sampling_rate": 16000}
    predictor = {"var_pred_hidden_dim": 128, "var_pred_kernel_size": 3, "var_pred_dropout": 0.5}
    options["dur_predictor_params"] = {"encoder_embed_dim": 16, **predictor}
    (tmp_path / "config.json").write_text(json.dumps(options))
    return tmp_path / "g_00950000", tmp_path / "config.json", model.eval()


@pytest.mark.parametrize("config", [PIXELS, CODES], ids=["pixels", "codes"])
def test_convert_and_describe(config: CaptionerConfig, tmp_path: Path) -> None:
    original = checkpoint(config, tmp_path / "any_name.ckpt")
    weights, options, voice = vocoder(tmp_path)
    command = ["convert", tmp_path / "any_name.ckpt", tmp_path / "m", "--vocoder", weights, "--vocoder-config", options]
    if config.image == "codes":
        check_user_error(app, command, "codebook")
        torch.save({"embedding.weight": original.codebook}, tmp_path / "codebook.ckpt")
        command += ["--codebook", tmp_path / "codebook.ckpt"]
    outcome = run_command(app, command)
    assert outcome.code == 0, outcome.err
    model = Im2Speech.from_pretrained(tmp_path / "m", device="cpu")
    assert model.captioner.config == CaptionerConfig.from_dict({**config.to_dict(), "dropout": 0.1})
    size = config.image_size
    images = torch.rand(2, 3, size, size)
    tokens, lengths = torch.tensor([[101, 5, 6, 102]] * 2), torch.tensor([4, 4])
    torch.testing.assert_close(model.captioner(images, tokens, lengths), original(images, tokens, lengths))
    units = torch.tensor([[3, 3, 8]])
    assert model.vocoder is not None
    torch.testing.assert_close(model.vocoder(units), voice(units), atol=1e-5, rtol=1e-4)
    Image.fromarray(np.full((30, 40, 3), 77, np.uint8)).save(tmp_path / "grey.png")
    said = model.describe(tmp_path / "grey.png")
    assert said.audio is not None and said.audio.rate == 16000 and "units" in said.to_dict()
    again = Im2Speech.from_pretrained(model.save(tmp_path / "again"), device="cpu")
    assert again.describe(tmp_path / "grey.png").units == said.units


@pytest.mark.parametrize("prefix", ["tokenizer.", "tokenizer.model.", "image_tokenizer.module."])
def test_tokenizer_is_known_by_its_endings(prefix: str, tmp_path: Path) -> None:
    original = checkpoint(CODES, tmp_path / "a.ckpt", prefix=prefix)
    state = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    published = convert_captioner(state, original.codebook)
    Captioner(published.config).load_state_dict(published.state)


def test_pickled_tokenizer(tmp_path: Path) -> None:
    """A pickled module object is read without being unpickled."""
    torch.manual_seed(0)
    module = Captioner(CODES).tokenizer
    assert module is not None
    torch.save(module, tmp_path / "tokenizer.ckpt")
    found = read_tokenizer(tmp_path / "tokenizer.ckpt")
    expected = {f"tokenizer.{key}": value for key, value in module.state_dict().items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("hostile_was_run"),))


def test_hostile_files_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save([Hostile()], tmp_path / "t.ckpt")
    joblib.dump(Hostile(), tmp_path / "km.bin")
    torch.save(Hostile(), tmp_path / "a.unit")
    (tmp_path / "b.unit").write_bytes(pickle.dumps(Hostile()))
    for read, name in ((read_tokenizer, "t.ckpt"), (read_kmeans, "km.bin"), (read_unit_file, "a.unit")):
        with pytest.raises(CheckpointError):
            read(tmp_path / name)
    with pytest.raises(CheckpointError):
        read_unit_file(tmp_path / "b.unit")
    check_user_error(app, ["convert", "t.ckpt", "m"], "t.ckpt")
    assert not Path("hostile_was_run").exists()


def test_kmeans_files(tmp_path: Path) -> None:
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(7, n_init=1, random_state=np.random.RandomState(0)).fit(np.random.rand(100, 5))
    joblib.dump(model, tmp_path / "km.bin")
    np.testing.assert_allclose(read_kmeans(tmp_path / "km.bin"), model.cluster_centers_, rtol=1e-6)
    np.save(tmp_path / "centres.npy", model.cluster_centers_)
    np.testing.assert_allclose(read_kmeans(tmp_path / "centres.npy"), model.cluster_centers_, rtol=1e-6)
    (tmp_path / "cut.bin").write_bytes((tmp_path / "km.bin").read_bytes()[:200])
    for name in ("cut.bin", "none.bin"):
        with pytest.raises(CheckpointError):
            read_kmeans(tmp_path / name)


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.int16])
def test_unit_files(kind: type, tmp_path: Path) -> None:
    units = np.array([5, 5, 199, 0], dtype=kind)
    torch.save(units, tmp_path / "a.unit")
    (tmp_path / "b.unit").write_text("5 5 199 0\n")
    assert read_unit_file(tmp_path / "a.unit") == read_unit_file(tmp_path / "b.unit") == [5, 5, 199, 0]
    torch.save(torch.rand(3), tmp_path / "c.unit")
    with pytest.raises(CheckpointError, match="not a list of units"):
        read_unit_file(tmp_path / "c.unit")
    folder = tmp_path / "corpus" / "train" / "0"
    folder.mkdir(parents=True)
    (tmp_path / "a.unit").rename(folder / "x.unit")
    outcome = run_command(app, ["units", tmp_path / "corpus", "--out", tmp_path / "units.txt"])
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "units.txt").read_text() == "train/0/x|5 5 199 0\n"


def test_hubert_files(tmp_path: Path) -> None:
    """fairseq's spelling of a small HuBERT, its centres, and units of both."""
    from viseme.im2speech.units import HubertFeatures, UnitExtractor

    torch.manual_seed(0)
    ours = HubertFeatures.empty(2, hidden_size=64, num_attention_heads=1, intermediate_size=96)
    names = (
        ("feature_projection.layer_norm", "layer_norm"),
        ("feature_projection.projection", "post_extract_proj"),
        ("encoder.pos_conv_embed.conv.parametrizations.weight.original0", "encoder.pos_conv.0.weight_g"),
        ("encoder.pos_conv_embed.conv.parametrizations.weight.original1", "encoder.pos_conv.0.weight_v"),
        ("encoder.pos_conv_embed.conv.bias", "encoder.pos_conv.0.bias"),
        ("masked_spec_embed", "mask_emb"),
        ("conv.weight", "0.weight"),
        ("conv_layers.0.layer_norm", "conv_layers.0.2"),
        (".attention.", ".self_attn."),
        ("feed_forward.intermediate_dense", "fc1"),
        ("feed_forward.output_dense", "fc2"),
    )
    state = {}
    for key, value in ours.state().items():
        if key.startswith("encoder.layers.") and ".layer_norm." in key:
            key = key.replace(".layer_norm.", ".self_attn_layer_norm.")
        for new, old in names:
            key = key.replace(new, old)
        state[key] = value
    state["label_embs_concat"] = torch.zeros(3)
    assert convert_hubert(state).keys() == ours.state().keys()
    torch.save({"model": state, "args": None}, tmp_path / "hubert.pt")
    np.save(tmp_path / "km.npy", np.random.default_rng(0).normal(size=(9, 64)).astype(np.float32))
    command = ["convert", tmp_path / "hubert.pt", tmp_path / "u", "--part", "units", "--kmeans", tmp_path / "km.npy"]
    check_user_error(app, command, "layers")  # it has two, the published one more
    from viseme.im2speech.convert import convert_units_files

    extractor = UnitExtractor.load(
        convert_units_files(tmp_path / "hubert.pt", tmp_path / "u", tmp_path / "km.npy", layer=2), device="cpu"
    )
    sound = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    centres = torch.from_numpy(np.load(tmp_path / "km.npy"))
    np.testing.assert_array_equal(extractor(sound), UnitExtractor(ours, centres)(sound))
    with pytest.raises(CheckpointError, match="the key"):
        convert_hubert({**state, "encoder.other": torch.zeros(1)})


def test_wrong_files_say_what_is_wrong(tmp_path: Path) -> None:
    model = checkpoint(PIXELS, tmp_path / "a.ckpt")
    state = model.state_dict()
    with pytest.raises(CheckpointError, match="not a published captioner"):
        convert_captioner({"x": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="en_pos_embedding"):
        tokenizer_state({})
    untied = {**state, "model.git.embeddings.word_embeddings.weight": torch.zeros(203, 128)}
    with pytest.raises(CheckpointError, match="tied"):
        convert_captioner(untied)
    torch.save({"state_dict": {k: v for k, v in state.items() if "post_layernorm" not in k}}, tmp_path / "less.ckpt")
    check_user_error(app, ["convert", tmp_path / "less.ckpt", tmp_path / "m"], "post_layernorm")
    weights, options, _ = vocoder(tmp_path)
    check_user_error(app, ["convert", weights, tmp_path / "m", "--part", "vocoder"], "--vocoder-config")
    changed = json.loads(options.read_text()) | {"upsample_initial_channel": 64}
    options.write_text(json.dumps(changed))
    command = ["convert", weights, tmp_path / "m", "--part", "vocoder", "--vocoder-config", options]
    check_user_error(app, command, "does not fit")
    options.write_text(json.dumps(changed | {"f0": True}))
    check_user_error(app, command, "pitch")
    with pytest.raises(ConfigError, match="differ in units"):
        Im2Speech(model, UnitVocoder(UnitVocoderConfig(3, 8, HiFiGANConfig(8, (2,), (4,), 8, (3,), ((1,),)))))
    codebook = torch.zeros(5, 3)
    checkpoint(CODES, tmp_path / "codes.ckpt")
    torch.save(codebook, tmp_path / "book.ckpt")
    command = ["convert", tmp_path / "codes.ckpt", tmp_path / "m", "--codebook", tmp_path / "book.ckpt"]
    check_user_error(app, command, "codebook does not fit")


def test_records() -> None:
    names = {record.name for record in available_models("im2speech")}
    assert {"im_sp", "im_unit", "unit_hifigan_200", "hubert_base_ls960", "hubert_km200"} <= names
    assert {r.name for r in available_models("im2speech", commercial_ok=True)} < names
