"""Converters: odd prefixes, older names, leftovers, errors that name the keys; and the records of published weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from viseme.core.checkpoint import available_models, load_model_dir
from viseme.core.errors import CheckpointError, ConfigError
from viseme.core.layers.language_model import TransformerLM
from viseme.core.text import CharUnits
from viseme.raven.convert import convert_file
from viseme.raven.models import Encoder, EncoderConfig, Pretrainer, Recogniser, RecogniserConfig
from viseme.raven.models.pretraining import PretrainConfig
from viseme.raven.pipeline import RAVEn, load_language_model
from viseme.raven.published import convert, convert_encoder, kind_of
from viseme.raven.records import LM_WEIGHTS, RECORDS
from viseme.raven.train import initialise_encoder

ENCODER = EncoderConfig.preset("tiny", "video")
CONFIG = RecogniserConfig.preset("tiny", "video", "tiny", vocabulary=9)


@pytest.fixture
def recogniser() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return Recogniser(CONFIG).state_dict()


@pytest.fixture
def encoder() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return Encoder(ENCODER).state_dict()


@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_a_recogniser_is_told_from_its_keys(recogniser, prefix) -> None:
    state = {prefix + key: value for key, value in recogniser.items()}
    if prefix == "model.":  # what a training checkpoint carries beside the model
        state |= {f"beam_search.nn_dict.decoder.{n}": torch.zeros(1) for n in range(3)}
    found = convert(state, decoder_heads=CONFIG.decoder_heads)
    assert found.kind == "recogniser"
    assert found.config == CONFIG.__class__(
        found.config.encoder, 9, CONFIG.decoder_dim, CONFIG.decoder_heads, CONFIG.decoder_units, CONFIG.decoder_blocks
    )
    assert found.config.encoder == EncoderConfig.preset("tiny", "video")
    assert torch.equal(found.build().state_dict()["ctc.ctc_lo.weight"], recogniser["ctc.ctc_lo.weight"])


@pytest.mark.parametrize("prefix", ["", "encoder.", "bone.encoder.", "backbone.encoder.", "model.encoder."])
def test_an_encoder_under_every_prefix(encoder, prefix) -> None:
    found = convert({prefix + key: value for key, value in encoder.items()})
    assert found.kind == "encoder" and found.config == ENCODER
    assert found.state.keys() == encoder.keys()


def test_what_nothing_uses_is_left_out(encoder) -> None:
    more = {
        "encoders.0.gamma_ff_macaron": torch.zeros(32),
        "encoders.0.gamma_conv": torch.zeros(32),
        "embed.1.pe": torch.zeros(1, 9, 32),
    }
    assert convert_encoder(encoder | more).state.keys() == encoder.keys()


def test_older_names(recogniser) -> None:
    older = {
        key.replace("encoder.embed.", "encoder.input_layer.")
        .replace("encoder.after_norm.", "encoder.norm.")
        .replace("decoder.after_norm.", "decoder.output_norm."): value
        for key, value in recogniser.items()
    }
    assert convert(older, decoder_heads=2).state.keys() == recogniser.keys()


def test_a_pretraining_state_and_its_students(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pair = Pretrainer(PretrainConfig.preset("tiny", probe_vocabulary=9, probe_decoder="tiny"))
    state = {f"model.{key}": value for key, value in pair.state_dict().items()}
    found = convert(state, decoder_heads=2)
    assert found.kind == "pretraining" and found.config == pair.config
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": state}, path)
    written = convert_file(path, tmp_path / "models", decoder_heads=2)
    assert [folder.name for folder in written] == ["video", "audio"]
    audio = RAVEn.from_pretrained(tmp_path / "models" / "audio", device="cpu")
    assert audio.modality == "audio"
    for key, value in audio.encoder.state_dict().items():
        assert torch.equal(value, pair.model_audio.backbone.encoder.state_dict()[key])


def test_a_language_model_directory(tmp_path: Path) -> None:
    lm = TransformerLM(9, 8, 64, 1, 32, 2)
    torch.save(lm.state_dict(), tmp_path / "rnnlm.model.best")
    (folder,) = convert_file(tmp_path / "rnnlm.model.best", tmp_path / "lm")
    assert torch.equal(load_language_model(folder).decoder.weight, lm.decoder.weight)
    with pytest.raises(CheckpointError, match="not an encoder or recogniser"):
        RAVEn.from_pretrained(folder)


def test_errors_name_the_keys(recogniser, encoder) -> None:
    with pytest.raises(CheckpointError, match="no RAVEn checkpoint"):
        kind_of({"proj.weight": torch.zeros(1)})
    broken = dict(recogniser)
    del broken["encoder.encoders.1.gamma_ff"]
    with pytest.raises(CheckpointError, match=r"missing: encoder\.encoders\.1\.gamma_ff"):
        convert(broken, decoder_heads=2)
    with pytest.raises(CheckpointError, match="unknown: extra"):
        convert(recogniser | {"extra": torch.zeros(1)}, decoder_heads=2)
    with pytest.raises(CheckpointError, match=r"norm_ff\.bias \(3,\) instead of \(32,\)"):
        convert_encoder(encoder | {"encoders.1.norm_ff.bias": torch.zeros(3)})


def test_converting_a_recogniser_needs_units_that_fit(recogniser, tmp_path: Path) -> None:
    path = tmp_path / "vsr.pth"
    torch.save(recogniser, path)
    with pytest.raises(ConfigError, match="units"):
        convert_file(path, tmp_path / "model", decoder_heads=2)
    units = CharUnits.from_texts(["ABCDEF"]).units
    units.write(tmp_path / "units.txt")
    (folder,) = convert_file(path, tmp_path / "model", units_file=tmp_path / "units.txt", decoder_heads=2)
    assert load_model_dir(folder).config["model"]["vocabulary"] == 9
    CharUnits.from_texts(["AB"]).units.write(tmp_path / "few.txt")
    with pytest.raises(ConfigError, match="does not match"):
        convert_file(path, tmp_path / "other", units_file=tmp_path / "few.txt", decoder_heads=2)


class TestInitialisation:
    def test_the_final_norm_stays_fresh_as_published(self, encoder, tmp_path: Path) -> None:
        torch.save({f"encoder.{key}": value + 1 for key, value in encoder.items()}, tmp_path / "video.pth")
        model = Recogniser(CONFIG)
        before = {key: value.clone() for key, value in model.encoder.state_dict().items()}
        skipped = initialise_encoder(model, tmp_path / "video.pth")
        assert skipped == ["after_norm.bias", "after_norm.weight"]
        for key, value in model.encoder.state_dict().items():
            wanted = before[key] if key in skipped else encoder[key] + 1
            torch.testing.assert_close(value, wanted)

    def test_last_blocks_and_everything(self, encoder, tmp_path: Path) -> None:
        torch.save(encoder, tmp_path / "video.pth")
        skipped = initialise_encoder(Recogniser(CONFIG), tmp_path / "video.pth", reinit_blocks=1)
        assert {name.split(".")[0] for name in skipped} == {"after_norm", "encoders"}
        assert all(name.startswith(("after_norm.", "encoders.1.")) for name in skipped)
        assert initialise_encoder(Recogniser(CONFIG), tmp_path / "video.pth", reinit_blocks=-1) == []

    def test_another_modality_or_size(self, tmp_path: Path) -> None:
        torch.save(Encoder(EncoderConfig.preset("tiny", "audio")).state_dict(), tmp_path / "audio.pth")
        with pytest.raises(CheckpointError, match="modality"):
            initialise_encoder(Recogniser(CONFIG), tmp_path / "audio.pth")
        wide = EncoderConfig.preset("tiny", "video", dim=64)
        torch.save(Encoder(wide).state_dict(), tmp_path / "wide.pth")
        with pytest.raises(CheckpointError, match="of another shape"):
            initialise_encoder(Recogniser(CONFIG), tmp_path / "wide.pth")


def test_a_record_for_every_row_of_the_four_tables() -> None:
    """Nine checkpoints in each of four tables; the two rows with a language model are second claims."""
    recognisers = [record for record in RECORDS if record.claims]
    assert len(recognisers) == 9 * 4
    by_name = {record.name: record for record in recognisers}
    assert by_name["vsr_prelrs3_base_ftlrs3trainval"].claims["LRS3 WER %"] == 47.0
    assert by_name["vsr_prelrs3vox2_large_ftlrs3trainvalvox2_selftrain"].claims["LRS3 WER %"] == 24.8
    best = by_name["vsr_prelrs3vox2avs_large_ftlrs3vox2avs_selftrain_braven"].claims
    assert sorted(best.values()) == [20.1, 20.9]
    assert sum(len(record.claims) for record in recognisers) == 36 + 8
    assert len(LM_WEIGHTS) == 8
    assert {record.name for record in available_models("raven")} >= set(by_name)
