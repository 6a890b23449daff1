"""How words are looked for in the encoder's output: best CTC path, or joint CTC/attention beam with a language model.

B clips, T frames, D channels, V units.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from viseme.avsr.exported import OnnxModel
from viseme.avsr.model import AVSRModel
from viseme.core.decoding import BeamConfig, FullScorer, Reading, beam_readings, beam_search, greedy_readings
from viseme.core.errors import ConfigError

__all__ = ["Search", "look"]


@dataclass(frozen=True)
class Search:
    """How to look for the words.

    Attributes:
        greedy: best CTC path; many times faster than the beam, a little less accurate.
        beam, ctc_weight, penalty, maxlenratio, minlenratio: of the joint CTC/attention beam search; defaults as
            published.
        lm_weight: of the language model, where there is one.
        nbest: hypotheses to report.
    """

    greedy: bool = False
    beam: int = 40
    ctc_weight: float = 0.1
    penalty: float = 0.0
    maxlenratio: float = 0.0
    minlenratio: float = 0.0
    lm_weight: float = 0.0
    nbest: int = 1

    def __post_init__(self) -> None:
        if self.nbest < 1:
            raise ConfigError("nbest must be at least 1", got=self.nbest)
        self.beam_config()

    def beam_config(self) -> BeamConfig:
        return BeamConfig(
            beam=self.beam,
            ctc_weight=self.ctc_weight,
            lm_weight=self.lm_weight,
            penalty=self.penalty,
            maxlenratio=self.maxlenratio,
            minlenratio=self.minlenratio,
            nbest=self.nbest,
        )


def look(
    model: AVSRModel | OnnxModel,
    memory_BTD: Tensor,
    logp_BTV: Tensor,
    lengths_B: Tensor,
    search: Search,
    language_model: FullScorer | None = None,
) -> list[list[Reading]]:
    """The best hypotheses of each clip, best first (at least one each).

    Args:
        model: its decoder takes part in the beam search.
        memory_BTD: encoder output.
        logp_BTV: CTC log-posteriors of it.
        lengths_B: frames of each clip.
        search: how to look.
        language_model: needed where `search.lm_weight` is not 0.

    Raises:
        ConfigError: a weight for a language model that is not there, or one over other units.
    """
    if search.greedy:
        return greedy_readings(logp_BTV, lengths_B, model.config.blank)
    return beam_readings(
        beam_search(memory_BTD, lengths_B, model.decoder, lambda _: logp_BTV, language_model, search.beam_config())
    )
