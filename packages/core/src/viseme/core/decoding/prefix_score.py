"""CTC prefix scores (Graves 2008; Hori et al. 2017), batched over clips, hypotheses and candidates.

Shapes: C clips, N hypotheses per clip, M candidates per hypothesis, T frames, V vocabulary, R rows (C*N).

The forward variables r^n and r^b of a prefix g end in a non-blank and in a blank. The score of g followed by c needs no
recursion, only the forward variables of g:

    psi(g c) = log sum_t exp(phi_{t-1}(g, c)) p_t(c),
    phi(g, c) = r^b if c repeats the last unit of g, else log(exp r^n + exp r^b)

so all candidates are scored by one logsumexp over frames, and the recursion runs only for the prefixes that survive.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CTCPrefixScorer", "PrefixState", "LOG_ZERO"]

LOG_ZERO = -1e10  # what the published implementation writes for the logarithm of 0
CHUNK_ELEMENTS = 1 << 22  # 16 MB of float32: of a whole vocabulary's candidates so many are scored at a time


@dataclass
class PrefixState:
    """Forward variables of C*N prefixes of one length.

    Attributes:
        nonblank, blank: r^n and r^b, (C, N, T).
        score: psi(g), the log-probability that the output begins with g, (C, N).
        last: the last unit, (C, N); -1 of the empty prefix.
        length: units in the prefixes, sos not counted.
    """

    nonblank: Tensor
    blank: Tensor
    score: Tensor
    last: Tensor
    length: int


class CTCPrefixScorer:
    """Scores of the units that may follow each prefix.

    A prefix that no alignment can emit (too long for its clip, a repeat without room for a blank, a blank in it) has
    score `LOG_ZERO`, and so has everything that follows it.

    Args:
        logp_CTV: log-posteriors per frame.
        lengths_C: frames of each clip; None when none is padded.
        blank, eos: ids.
    """

    def __init__(self, logp_CTV: Tensor, lengths_C: Tensor | None = None, *, blank: int = 0, eos: int) -> None:
        self.blank, self.eos = blank, eos
        self.logp_CVT = logp_CTV.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        if lengths_C is not None:
            frames_T = torch.arange(logp_CTV.shape[1], device=logp_CTV.device)
            padding_C1T = (frames_T >= lengths_C.to(logp_CTV.device).unsqueeze(1)).unsqueeze(1)
            # A frame of certain blank leaves every score as it is, so padded clips need no cases of their own.
            self.logp_CVT.masked_fill_(padding_C1T, LOG_ZERO)
            self.logp_CVT[:, blank].masked_fill_(padding_C1T[:, 0], 0.0)

    def init_state(self) -> PrefixState:
        """The empty prefix of every clip."""
        blank_C1T = self.logp_CVT[:, self.blank].cumsum(-1).unsqueeze(1)
        score_C1 = blank_C1T.new_zeros(blank_C1T.shape[:2])
        last_C1 = torch.full_like(score_C1, -1, dtype=torch.long)
        return PrefixState(torch.full_like(blank_C1T, LOG_ZERO), blank_C1T, score_C1, last_C1, 0)

    def score(self, state: PrefixState, candidates_CNM: Tensor | None = None) -> Tensor:
        """log p(next unit | prefix): psi(g c) - psi(g).

        Args:
            candidates_CNM: units to score; None for the whole vocabulary.

        Returns:
            (C, N, M), or (C, N, V). At eos: that the output ends here. At blank: `LOG_ZERO` - psi(g).
        """
        if candidates_CNM is None:
            psi_CNM = self._whole_vocabulary(state)
            candidates_CNM = torch.arange(self.logp_CVT.shape[1], device=psi_CNM.device).view(1, 1, -1)
        else:
            psi_CNM = self._score_units(state, candidates_CNM)
        ends_CN = torch.logaddexp(state.nonblank[..., -1], state.blank[..., -1])
        psi_CNM = torch.where(candidates_CNM == self.eos, ends_CN.unsqueeze(-1), psi_CNM)
        impossible_CNM = (psi_CNM < LOG_ZERO / 2) | (candidates_CNM == self.blank)
        return psi_CNM.masked_fill(impossible_CNM, LOG_ZERO) - state.score.unsqueeze(-1)

    def _whole_vocabulary(self, state: PrefixState) -> Tensor:
        clips, hypotheses, frames = state.blank.shape
        vocabulary = self.logp_CVT.shape[1]
        width = max(1, CHUNK_ELEMENTS // max(1, clips * hypotheses * frames))
        units_V = torch.arange(vocabulary, device=self.logp_CVT.device)
        chunks = [self._score_units(state, units_M.expand(clips, hypotheses, -1)) for units_M in units_V.split(width)]
        return torch.cat(chunks, dim=-1)

    def _score_units(self, state: PrefixState, units_CNM: Tensor) -> Tensor:
        """psi(g c) of units that are neither blank nor eos, (C, N, M)."""
        first = state.length  # no alignment has g's last unit before frame length - 1
        if first >= self.logp_CVT.shape[2]:
            return torch.full_like(units_CNM, LOG_ZERO, dtype=self.logp_CVT.dtype)
        before_CNT = self._before(state.nonblank, state.blank, state.length)[..., first:]
        psi_CNM = (before_CNT.unsqueeze(2) + self._rows(units_CNM)[..., first:]).logsumexp(-1)
        if state.length:
            repeat_CNT = self._shift(state.blank, state.length)[..., first:]
            repeat_CNT = repeat_CNT + self._rows(state.last)[..., first:]
            repeats_CNM = units_CNM == state.last.unsqueeze(-1)
            psi_CNM = torch.where(repeats_CNM, repeat_CNT.logsumexp(-1).unsqueeze(-1), psi_CNM)
        return psi_CNM

    def _rows(self, units: Tensor) -> Tensor:
        """Log-posteriors over time of units (C, ...): (C, ..., T)."""
        clips, vocabulary, frames = self.logp_CVT.shape
        offset = torch.arange(clips, device=units.device) * vocabulary
        rows = (units + offset.view(-1, *[1] * (units.dim() - 1))).flatten()
        return self.logp_CVT.view(-1, frames).index_select(0, rows).view(*units.shape, frames)

    def _before(self, nonblank_CNT: Tensor, blank_CNT: Tensor, length: int) -> Tensor:
        """phi_{t-1} at frame t for a unit that does not repeat the last one."""
        return self._shift(torch.logaddexp(nonblank_CNT, blank_CNT), length)

    @staticmethod
    def _shift(phi_CNT: Tensor, length: int) -> Tensor:
        """phi_{t-1} at frame t. Before frame 0 stands the empty prefix with certainty, and no other."""
        start = torch.full_like(phi_CNT[..., :1], LOG_ZERO if length else 0.0)
        return torch.cat((start, phi_CNT[..., :-1]), dim=-1)

    def advance(
        self,
        state: PrefixState,
        parents_CN: Tensor,
        units_CN: Tensor,
        clips_C: Tensor | None = None,
        scored_CN: Tensor | None = None,
    ) -> PrefixState:
        """The prefixes that survive: of clip `clips_C[c]`, hypothesis `parents_CN[c, n]` followed by `units_CN[c, n]`.

        Args:
            clips_C: the clips to go on with (the scorer forgets the others); None for all.
            scored_CN: False where the unit was not among the candidates, so that the prefix counts as impossible.
        """
        nonblank, blank, score, last = state.nonblank, state.blank, state.score, state.last
        if clips_C is not None:
            nonblank, blank, score, last = nonblank[clips_C], blank[clips_C], score[clips_C], last[clips_C]
            self.logp_CVT = self.logp_CVT[clips_C]
        clips, hypotheses, frames = *parents_CN.shape, blank.shape[-1]
        index_CNT = parents_CN.unsqueeze(-1).expand(-1, -1, frames)
        nonblank_CNT, blank_CNT = nonblank.gather(1, index_CNT), blank.gather(1, index_CNT)
        repeats_CN = units_CN == last.gather(1, parents_CN)
        unit_CNT = self._rows(units_CN)

        phi_CNT = torch.where(repeats_CN.unsqueeze(-1), blank_CNT, torch.logaddexp(nonblank_CNT, blank_CNT))
        terms_CNT = self._shift(phi_CNT, state.length)[..., state.length :] + unit_CNT[..., state.length :]
        psi_CN = (
            terms_CNT.logsumexp(-1) if terms_CNT.shape[-1] else torch.full_like(score.gather(1, parents_CN), LOG_ZERO)
        )

        blank_CT = self.logp_CVT[:, self.blank]
        emitted_TQR = torch.stack((unit_CNT, blank_CT.unsqueeze(1).expand_as(unit_CNT))).flatten(1, 2).permute(2, 0, 1)
        forward_TQR = self._forward(phi_CNT.flatten(0, 1).T, emitted_TQR.contiguous(), state.length)
        nonblank_CNT, blank_CNT = forward_TQR.permute(1, 2, 0).unflatten(1, (clips, hypotheses)).contiguous()

        impossible_CN = (psi_CN < LOG_ZERO / 2) | (units_CN == self.blank)
        if scored_CN is not None:
            impossible_CN = impossible_CN | ~scored_CN
        nonblank_CNT = nonblank_CNT.masked_fill(impossible_CN.unsqueeze(-1), LOG_ZERO)
        blank_CNT = blank_CNT.masked_fill(impossible_CN.unsqueeze(-1), LOG_ZERO)
        psi_CN = psi_CN.masked_fill(impossible_CN, LOG_ZERO)
        return PrefixState(nonblank_CNT, blank_CNT, psi_CN, units_CN, state.length + 1)

    @staticmethod
    def _forward(phi_TR: Tensor, emitted_TQR: Tensor, length: int) -> Tensor:
        """r^n and r^b of the longer prefixes, (T, 2, R), from phi of the shorter and both units' log-posteriors."""
        forward_TQR = torch.full_like(emitted_TQR, LOG_ZERO)
        if length == 0:
            forward_TQR[0, 0] = emitted_TQR[0, 0]
        # Row t holds what r_t of each kind is joined with at t+1: phi for r^n, r^b itself for r^b; both meet r^n.
        joined_TQR = torch.stack((phi_TR, torch.full_like(phi_TR, LOG_ZERO)), dim=1)
        start = max(length, 1)
        forward, joined, emitted = forward_TQR.unbind(0), joined_TQR.unbind(0), emitted_TQR.unbind(0)
        nonblank, blank, joined_blank = (
            forward_TQR[:, 0].unbind(0),
            forward_TQR[:, 1].unbind(0),
            joined_TQR[:, 1].unbind(0),
        )
        for t in range(start, len(forward)):
            torch.logaddexp(nonblank[t - 1], joined[t - 1], out=forward[t])
            forward[t].add_(emitted[t])
            joined_blank[t].copy_(blank[t])
        return forward_TQR
