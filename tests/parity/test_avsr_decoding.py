"""CTC prefix scores and beam search against the published ones: token lists exactly, scores to their tolerance."""

from __future__ import annotations

import harness
import pytest
import torch

from viseme.avsr.model import AVSRModel
from viseme.avsr.published import convert
from viseme.core.decoding import BeamConfig, CTCPrefixScorer, beam_search
from viseme.core.layers.ctc import CTCHead
from viseme.core.layers.language_model import TransformerLM
from viseme.core.layers.transformer import TransformerDecoder

SYSTEM = "avsr"


def weights(entry: dict, module: str) -> dict[str, torch.Tensor]:
    state = harness.inputs.make_weights(harness.folder(SYSTEM), entry, module)
    return {name: torch.from_numpy(value) for name, value in state.items()}


def given_input(entry: dict, name: str) -> torch.Tensor:
    return torch.from_numpy(harness.inputs.make_input(harness.folder(SYSTEM), entry, name))


def build_ctc(state: dict[str, torch.Tensor]) -> CTCHead:
    vocabulary, dim = state["ctc_lo.weight"].shape
    head = CTCHead(dim, vocabulary)
    head.load_state_dict(state)
    return head.eval()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "ctc_prefix"))
@torch.no_grad()
def test_ctc_prefix(name: str, entry: dict) -> None:
    comparison, config = harness.Comparison(SYSTEM, entry), entry["config"]
    comparison.check("ctc_logp", build_ctc(weights(entry, "ctc"))(given_input(entry, "encoder_out")))

    logp, prefix, partial = (given_input(entry, key) for key in ("ctc_logp", "prefix", "partial_ids"))
    scorer = CTCPrefixScorer(logp[None], blank=config["blank"], eos=config["eos"])
    state = scorer.init_state()
    for step in range(len(prefix) + 1):
        full = scorer.score(state)
        comparison.check(f"full_step{step}", full[0])
        if step < len(partial):
            candidates = torch.cat((partial[step], partial.new_tensor([config["eos"]])))
            scores = torch.full_like(full[0], -1e10).scatter(
                1, candidates[None], scorer.score(state, candidates[None, None])[0]
            )
            comparison.check(f"partial_step{step}", scores)
        if step < len(prefix):
            state = scorer.advance(state, torch.zeros(1, 1, dtype=torch.long), prefix[step].view(1, 1))
    comparison.finish()


def split(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def build_scorers(entry: dict) -> tuple[TransformerDecoder, CTCHead, TransformerLM]:
    """From an entry whose weights are the scorers' own, or a whole recogniser's and the language model's."""
    size = entry["config"]["geometry"]
    vocabulary, own = entry["config"]["vocabulary"], "decoder" in entry["weights"]
    model = {} if own else weights(entry, "model")
    decoder = TransformerDecoder(
        vocabulary, size["decoder_dim"], size["decoder_heads"], size["decoder_units"], size["decoder_blocks"]
    )
    decoder.load_state_dict(weights(entry, "decoder") if own else split(model, "decoder."))
    lm_size = size["lm"]
    lm = TransformerLM(
        vocabulary, lm_size["embed"], lm_size["dim"], lm_size["heads"], lm_size["units"], lm_size["blocks"]
    )
    lm.load_state_dict(weights(entry, "lm"))
    return decoder.eval(), build_ctc(weights(entry, "ctc") if own else split(model, "ctc.")), lm.eval()


@torch.no_grad()
def encoder_output(entry: dict) -> torch.Tensor:
    """What a whole recogniser makes of the entry's video, (T, D)."""
    found = convert(weights(entry, "model"), attention=entry["config"]["geometry"]["attention"])
    model = AVSRModel(found.config).eval()
    model.load_state_dict(found.state)
    return model.encode(given_input(entry, "video").unsqueeze(2)).memory[0]


def beam_config(entry: dict, options: dict) -> BeamConfig:
    return BeamConfig(
        beam=options["beam_size"],
        ctc_weight=options["ctc_weight"],
        lm_weight=options["lm_weight"],
        penalty=options["length_penalty"],
        maxlenratio=options["max_length_ratio"],
        minlenratio=entry["config"]["search"]["min_length_ratio"],
        blank=entry["config"]["blank"],
        sos=entry["config"]["sos"],
        eos=entry["config"]["eos"],
    )


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        pytest.param(*p.values, id=p.id, marks=[pytest.mark.heavy] if "model" in p.values[1]["weights"] else [])
        for p in harness.entries(SYSTEM, "beam_search")
    ],
)
def test_beam_search(name: str, entry: dict) -> None:
    folder, (decoder, ctc, lm) = harness.folder(SYSTEM), build_scorers(entry)
    comparison = harness.Comparison(SYSTEM, entry)
    if "model" in entry["weights"]:
        comparison.check("encoder_out", encoder_output(entry))
    comparison.finish()
    wrong = []
    for section in entry["cases"].values():
        for number, case in enumerate(harness.inputs.read_cases(folder, section)):
            memory = given_input(entry, harness.inputs.case_input(section, "encoder_out", case))
            options = harness.inputs.given(case, section)
            assert options["frames"] == len(memory)
            hypotheses = beam_search(memory[None], None, decoder, ctc, lm, beam_config(entry, options))[0]
            best = hypotheses[: entry["config"]["n_best"]]
            got = {
                "n_ended": len(hypotheses),
                "hyps[].yseq": [h.tokens for h in best],
                "hyps[].score": [h.score for h in best],
                "hyps[].scores": [h.scores for h in best],
            }
            for answer, (want, spec) in harness.inputs.wanted(number, case, section).items():
                if problem := harness.inputs.disagreement(got[answer], want, spec):
                    wrong.append(f"case {number} ({options}), {answer}: {problem}")
    assert not wrong, "\n".join(wrong)
