"""`avsr convert` end to end: files as they are published (deterministic weights, small geometry) become model
directories that transcribe."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from viseme.avsr import available_models
from viseme.avsr.cli import app
from viseme.avsr.language_model import LMConfig, load_language_model
from viseme.avsr.model import AVSRConfig, AVSRModel, Modality
from viseme.avsr.pipeline import AVSR
from viseme.avsr.records import PUBLISHED, ZOO
from viseme.core.checkpoint import WeightRecord, records
from viseme.core.data import Manifest
from viseme.core.testing.commands import check_user_error, run_command
from viseme.core.text import CharUnits, train_sentencepiece

TEXTS = ["THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG", "SHE HAD YOUR DARK SUIT IN GREASY WASH WATER ALL YEAR"] * 20


def _fill() -> ModuleType:
    path = Path(__file__).parents[3] / "tests" / "parity" / "fill.py"
    spec = importlib.util.spec_from_file_location("parity_fill", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fill = _fill()


def v1_key(key: str, audiovisual: bool) -> str:
    """Our name of an entry -> its name in files published until 2024."""
    branch, _, rest = key.partition(".")
    home = "encoder"
    if audiovisual and branch in ("video", "audio"):
        home, key = ("encoder" if branch == "video" else "aux_encoder"), rest
    first, _, rest = key.partition(".")
    match first:
        case "frontend":
            return f"{home}.{key}"
        case "proj_encoder":
            return f"{home}.embed.0.{rest}"
        case "encoder":
            return f"{home}.{rest}"
    return key


def weights(config: AVSRConfig, layout: str) -> dict[str, Tensor]:
    """A published-style state dict: each value is made from its published name."""
    found = {}
    for key, value in AVSRModel(config).state_dict().items():
        name = v1_key(key, config.modality == "audiovisual") if layout == "v1" else key
        found[name] = torch.from_numpy(fill.fill_array(name, tuple(value.shape), str(value.dtype).split(".")[1]))
    return found


@pytest.fixture(scope="module")
def talking(embedded_corpus: Path) -> Path:
    manifest = Manifest.read(embedded_corpus / "manifest.csv")
    return manifest.file(manifest[0])


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags naming a small SentencePiece model and its units file, and how many units these are."""
    folder = tmp_path_factory.mktemp("units")
    tokenizer = train_sentencepiece(TEXTS, vocab_size=36)
    tokenizer.save(folder)
    return ["--units", str(folder / "units.txt"), "--spm", str(folder / "sentencepiece.model"), str(tokenizer.size)]


def transcribe(path: Path, model: Path, *flags: str) -> dict:
    outcome = run_command(app, ["transcribe", path, "--model", model, "--device", "cpu", "--json", *flags])
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


@pytest.mark.parametrize(
    ("modality", "layout", "suffix"),
    [
        ("video", "current", ".pth"),
        ("audio", "current", ".ckpt"),
        ("video", "v1", ".pth"),
        ("audiovisual", "v1", ".ckpt"),
    ],
)
def test_published_file(
    modality: Modality, layout: str, suffix: str, units: list[str], talking: Path, tmp_path: Path
) -> None:
    config = AVSRConfig.preset("tiny", modality, vocabulary=int(units[-1]), fusion_norm="batchnorm")
    state = weights(config, layout)
    path, out = tmp_path / f"model{suffix}", tmp_path / "out"
    if suffix == ".ckpt":
        torch.save({"epoch": 3, "state_dict": {f"model.{key}": value for key, value in state.items()}}, path)
    else:
        torch.save(state, path)
    flags = [*units[:-1], *(["--attention", "relative"] if layout == "v1" else [])]
    outcome = run_command(app, ["convert", path, out, *flags])
    assert outcome.code == 0, outcome.err
    found = AVSR.from_pretrained(out, device="cpu")
    for key, value in found.model.state_dict().items():
        published = v1_key(key, modality == "audiovisual") if layout == "v1" else key
        assert torch.equal(value, state[published]), key
    said = transcribe(talking, out, "--beam", "3")
    assert said["modality"] == modality and said["duration_s"] > 1
    assert {"text", "confidence", "words", "tokens"} <= said.keys()


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A character model of the zoo with its language model, as its archives and `.ini` lie."""
    root = tmp_path_factory.mktemp("zoo")
    characters = ["<blank>", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "<space>", "<eos>"]
    config = AVSRConfig.preset("tiny", "video", vocabulary=len(characters), attention="legacy_relative")
    config = AVSRConfig.from_dict(config.to_dict() | {"dropout": 0.1, "attention_dropout": 0.1})
    options = {
        "adim": 32,
        "aheads": 2,
        "eunits": 64,
        "elayers": 2,
        "dunits": 64,
        "dlayers": 1,
        "cnn_module_kernel": 7,
        "transformer_input_layer": "conv3d",
        "transformer_encoder_attn_layer_type": "rel_mha",
        "macaron_style": True,
        "use_cnn_module": True,
        "dropout_rate": 0.1,
        "transformer_attn_dropout_rate": None,
        "relu_type": "swish",
        "char_list": characters,
    }
    model, lm = root / "benchmarks" / "model", root / "benchmarks" / "lm"
    model.mkdir(parents=True)
    lm.mkdir()
    torch.save(weights(config, "v1"), model / "model.pth")
    (model / "model.json").write_text(json.dumps([1, len(characters), options]), encoding="utf-8")
    sizes = LMConfig(vocabulary=len(characters), embed=8, dim=16, heads=2, units=32, blocks=2)
    state = {k: torch.from_numpy(fill.fill_array(k, tuple(v.shape))) for k, v in sizes.build().state_dict().items()}
    torch.save(state, lm / "model.pth")
    lm_options = {"embed_unit": 8, "att_unit": 16, "head": 2, "unit": 32, "layer": 2, "pos_enc": "none"}
    (lm / "model.json").write_text(json.dumps(lm_options), encoding="utf-8")
    (root / "configs").mkdir()
    (root / "configs" / "LRS3_V_WER32.3.ini").write_text(
        "[input]\nmodality=video\nv_fps=30\n\n[model]\nv_fps=25\nmodel_path=benchmarks/model/model.pth\n"
        "model_conf=benchmarks/model/model.json\nrnnlm=benchmarks/lm/model.pth\nrnnlm_conf=benchmarks/lm/model.json\n\n"
        "[decode]\nbeam_size=7\npenalty=0.5\nmaxlenratio=0.0\nminlenratio=0.0\nctc_weight=0.2\nlm_weight=0.6\n",
        encoding="utf-8",
    )
    return root


def test_zoo_ini(zoo: Path, talking: Path, tmp_path: Path) -> None:
    """The `.ini` names everything: model, language model, decode settings; its name tells which weights these are."""
    records._announced.clear()
    outcome = run_command(app, ["convert", zoo / "configs" / "LRS3_V_WER32.3.ini", tmp_path / "out"])
    assert outcome.code == 0, outcome.err
    assert "non-commercial" in outcome.err
    found = AVSR.from_pretrained(tmp_path / "out", device="cpu")
    search = found.search
    assert (search.beam, search.penalty, search.ctc_weight, search.lm_weight) == (7, 0.5, 0.2, 0.6)
    assert found.model.config.attention == "legacy_relative"
    assert isinstance(found.tokenizer, CharUnits)
    assert found.language_model is not None and found.language_model.vocabulary == found.tokenizer.size
    assert "WER % (with its language model) 32.3" in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")
    with_lm = transcribe(talking, tmp_path / "out")
    without = transcribe(talking, tmp_path / "out", "--lm-weight", "0")
    assert with_lm["score"] != without["score"]


def test_licence_is_printed_once_on_load(zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(app, ["convert", zoo / "configs" / "LRS3_V_WER32.3.ini", tmp_path / "out"])
    records._announced.clear()
    capsys.readouterr()
    AVSR.from_pretrained(tmp_path / "out", device="cpu")
    AVSR.from_pretrained(tmp_path / "out", device="cpu")
    assert capsys.readouterr().err.count("zoo_LRS3_V_WER32.3") == 1


def test_zoo_pieces_by_hand(zoo: Path, tmp_path: Path) -> None:
    """The same from its pieces: language model first, then the recogniser with decode settings of the `.ini`."""
    model, lm = zoo / "benchmarks" / "model", zoo / "benchmarks" / "lm"
    outcome = run_command(app, ["convert", lm / "model.pth", tmp_path / "lm", "--model-json", lm / "model.json"])
    assert outcome.code == 0, outcome.err
    assert load_language_model(tmp_path / "lm").vocabulary == 30
    command = ["convert", model / "model.pth", tmp_path / "out", "--model-json", model / "model.json"]
    ini = ["--ini", zoo / "configs" / "LRS3_V_WER32.3.ini"]
    check_user_error(app, [*command, *ini], "language model", "--lm")
    assert run_command(app, [*command, *ini, "--lm", tmp_path / "lm"]).code == 0
    assert AVSR.from_pretrained(tmp_path / "out", device="cpu").search.beam == 7


def test_language_model_of_another_vocabulary(zoo: Path, units: list[str], tmp_path: Path) -> None:
    config = AVSRConfig.preset("tiny", "video", vocabulary=int(units[-1]))
    torch.save(weights(config, "current"), tmp_path / "model.pth")
    command = ["convert", tmp_path / "model.pth", tmp_path / "out", *units[:-1]]
    lm = zoo / "benchmarks" / "lm"
    check_user_error(app, [*command, "--lm", lm / "model.pth", "--lm-json", lm / "model.json"], "another vocabulary")
    assert not (tmp_path / "out").exists()


def test_units_that_do_not_match(units: list[str], tmp_path: Path) -> None:
    torch.save(weights(AVSRConfig.preset("tiny", "video", vocabulary=11), "current"), tmp_path / "model.pth")
    command = ["convert", tmp_path / "model.pth", tmp_path / "out"]
    check_user_error(app, [*command, *units[:-1]], "does not match the checkpoint", "11")
    check_user_error(app, command, "--units and --spm")


@pytest.mark.parametrize(
    ("old", "new", "mention"),
    [
        ("[decode]", "[decoding]", "[decode]"),
        ("beam_size=7", "beam_size=many", "beam_size"),
        ("model_path=benchmarks/model/model.pth", "model_path=benchmarks/none.pth", "model_path"),
        ("[model]\nv_fps=25", "[model]\nv_fps=50", "v_fps"),
        ("modality=video", "modality=audio", "another modality"),
    ],
)
def test_ini_that_does_not_fit(zoo: Path, tmp_path: Path, old: str, new: str, mention: str) -> None:
    text = (zoo / "configs" / "LRS3_V_WER32.3.ini").read_text(encoding="utf-8")
    path = zoo / "configs" / f"wrong {mention}.ini".replace("[", "").replace("]", "")
    path.write_text(text.replace(old, new), encoding="utf-8")
    check_user_error(app, ["convert", path, tmp_path / "out"], mention)


def test_records() -> None:
    names = [record.name for record in available_models()]
    assert len(set(names)) == len(names) == len(PUBLISHED) + len(ZOO) + 6
    assert not available_models(commercial_ok=True)
    assert all(record.licence and record.paper and record.source for record in available_models())
    outcome = run_command(app, ["models", "--json"])
    lines = [json.loads(line) for line in outcome.out.splitlines()]
    assert {line["md5"] for line in lines if line["name"].startswith("vsr_trlrs3_base")} == {"ea3ec", "c00a7"}
    assert "WER" in run_command(app, ["models"]).out
    assert "commercial" in run_command(app, ["models", "--commercial-ok"]).err


def test_a_known_checksum_is_recognised(units: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    config = AVSRConfig.preset("tiny", "video", vocabulary=int(units[-1]))
    path = tmp_path / "any name.pth"
    torch.save(weights(config, "current"), path)
    record = WeightRecord("known", "avsr", "their page", "CC BY 4.0", True, "a paper", md5=_md5(hashlib, path)[:5])
    monkeypatch.setitem(records._records, "known", record)
    outcome = run_command(app, ["convert", path, tmp_path / "out", *units[:-1]])
    assert outcome.code == 0, outcome.err
    assert "known" in outcome.err and "CC BY 4.0" in outcome.err
    assert "# known" in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")


def _md5(hashlib: ModuleType, path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_a_published_name_says_how_to_get_it(talking: Path) -> None:
    check_user_error(
        app, ["transcribe", talking, "--model", "vsr_trlrs3_base_2025"], "not downloaded", "vsr_trlrs3_base.pth"
    )
