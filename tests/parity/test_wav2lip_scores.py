"""LSE-D, LSE-C and FID."""

from __future__ import annotations

import harness
import numpy as np
import pytest
import torch
from topic import Check, inputs

from viseme.core.metrics.frechet import frechet_distance
from viseme.core.metrics.sync import filterbank_energies, mfcc, scored_windows, shifted_distances, sync_score

SYSTEM = "wav2lip"


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "lse/scores"))
def test_scores(name: str, entry: dict) -> None:
    check, given = Check(SYSTEM, entry), inputs(SYSTEM, entry)
    lips, audio, shift = torch.from_numpy(given["im"]), torch.from_numpy(given["cc"]), int(given["vshift"])
    check.check("dists", shifted_distances(lips, audio, shift))
    score = sync_score(lips, audio, shift)
    for array, value in {
        "mdist": score.distances,
        "lse_d": score.lse_d,
        "lse_c": score.lse_c,
        "offset": score.offset,
        "fconf": score.confidences,
        "fconf_med9": score.smooth_confidences,
    }.items():
        check.check(array, value)
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "lse/mfcc"))
def test_mfcc(name: str, entry: dict) -> None:
    check, config, wave = Check(SYSTEM, entry), entry["config"], inputs(SYSTEM, entry)["wave"]
    coefficients = mfcc(wave)
    starts = [config["mfcc_frames_per_video_frame"] * frame for frame in config["window_video_frames"]]
    bands, energy = filterbank_energies(wave)
    check.check("mfcc", coefficients)
    check.check("mfcc_windows", np.stack([coefficients[:, start : start + config["window"]] for start in starts]))
    check.check("fbank", bands)
    check.check("fbank_energy", energy)
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "lse/length"))
def test_scored_length(name: str, entry: dict) -> None:
    check = Check(SYSTEM, entry)
    check.check(
        "scored_frames", [scored_windows(*case) for case in inputs(SYSTEM, entry)["frames_and_samples"].tolist()]
    )
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "fid"))
def test_frechet_distance(name: str, entry: dict) -> None:
    check, given = Check(SYSTEM, entry), inputs(SYSTEM, entry)
    check.check("distance", frechet_distance(given["first"], given["second"]))
    check.finish()
