"""RAVEn's beam search with its language model: token lists exactly, scores to their tolerance."""

from __future__ import annotations

import harness
import pytest
import torch
from raven_answers import SYSTEM, check_geometry, given, weights

from viseme.core.decoding import BeamConfig, beam_search
from viseme.raven.published import convert

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("name, entry", harness.entries(SYSTEM, "beam_search"))
@torch.no_grad()
def test_beam_search(name: str, entry: dict) -> None:
    folder, config = harness.folder(SYSTEM), entry["config"]
    compare = harness.Comparison(SYSTEM, entry)
    lm = convert(weights(entry, "lm"), decoder_heads=config["geometry"]["lm"]["heads"]).build()
    models = {}
    for overlay in entry["weights"]["model"]["overlays"]:
        found = convert(weights(entry, "model", overlay), decoder_heads=config["geometry"]["decoder_heads"])
        geometry = {key: value for key, value in config["geometry"].items() if key != "lm"}
        check_geometry(found, {**config, "geometry": geometry})
        models[overlay] = found.build()
    compare.check("feat", next(iter(models.values())).encode(given(entry, config["modality"])).memory[0])
    compare.finish()
    wrong = []
    for section in entry["cases"].values():
        for number, case in enumerate(harness.inputs.read_cases(folder, section)):
            options = harness.inputs.given(case, section)
            model = models[options["overlay"]]
            memory = given(entry, harness.inputs.case_input(section, "encoder_out", case))
            search = BeamConfig(
                beam=options["beam_size"],
                ctc_weight=options["ctc_weight"],
                lm_weight=options["lm_weight"],
                penalty=options["length_penalty"],
                maxlenratio=options["max_length_ratio"],
                minlenratio=config["search"]["min_length_ratio"],
                blank=config["blank"],
                sos=config["sos"],
                eos=config["eos"],
            )
            hypotheses = beam_search(memory[None], None, model.decoder, model.ctc, lm, search)[0]
            best = hypotheses[: config["n_best"]]
            got = {
                "n_ended": len(hypotheses),
                "nbest[].yseq": [h.tokens for h in best],
                "nbest[].score": [h.score for h in best],
                "nbest[].scores": [h.scores for h in best],
            }
            for answer, (want, spec) in harness.inputs.wanted(number, case, section).items():
                if problem := harness.inputs.disagreement(got[answer], want, spec):
                    wrong.append(f"case {number} ({options}), {answer}: {problem}")
    assert not wrong, "\n".join(wrong)
