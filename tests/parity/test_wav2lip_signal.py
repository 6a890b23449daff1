"""Wav2Lip's mel front-end and the sync metric's MFCC."""

from __future__ import annotations

from dataclasses import replace

import harness
import pytest
import torch
from topic import Check, inputs

from viseme.core.signal import DecibelRange, MelSpec, inverse_preemphasis, preemphasis

SYSTEM = "wav2lip"


def spec_of(entry: dict) -> MelSpec:
    config = entry["config"]
    compression = DecibelRange(config["min_level_db"], config["ref_level_db"], config["max_abs_value"])
    return MelSpec(
        rate=config["sample_rate"],
        n_fft=config["n_fft"],
        hop=config["hop"],
        win=config["win"],
        n_mels=config["n_mels"],
        fmin=config["fmin"],
        fmax=config["fmax"],
        compression=compression,
        preemphasis=config["preemphasis"],
    )


def signal(entry: dict, name: str) -> torch.Tensor:
    return torch.from_numpy(inputs(SYSTEM, entry)[name])


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "mel/basis"))
def test_basis(name: str, entry: dict) -> None:
    check = Check(SYSTEM, entry)
    check.check("mel_basis", spec_of(entry).basis())
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "mel/mel", "mel/steps"))
def test_spectrogram(name: str, entry: dict) -> None:
    check, spec, wave = Check(SYSTEM, entry), spec_of(entry), signal(entry, "wave")
    compression = spec.compression
    assert isinstance(compression, DecibelRange)
    check.check("mel", spec(wave))
    check.check("preemphasised", preemphasis(wave, spec.preemphasis))
    check.check("stft_abs", spec.magnitude(wave))
    check.check("mel_magnitude", spec.mel_magnitude(wave))
    check.check("mel_db", compression.decibels(spec.mel_magnitude(wave)))
    check.check("linear", spec.linear(wave))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "mel/denormalise", "mel/normalise"))
def test_scale(name: str, entry: dict) -> None:
    check, compression = Check(SYSTEM, entry), spec_of(entry).compression
    assert isinstance(compression, DecibelRange)
    given = {key: torch.from_numpy(value) for key, value in inputs(SYSTEM, entry).items()}
    if "mel" in given:
        check.check("db", compression.unscale(given["mel"]))
    if "db" in given:
        check.check("out", compression.scale(given["db"]))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "mel/inverse_preemphasis"))
def test_inverse_preemphasis(name: str, entry: dict) -> None:
    check = Check(SYSTEM, entry)
    check.check("wave", inverse_preemphasis(signal(entry, "wave"), entry["config"]["preemphasis"]))
    check.finish()


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "mel/mel"))
def test_one_sided_range_is_the_symmetric_one_moved(name: str, entry: dict) -> None:
    spec, wave = spec_of(entry), signal(entry, "wave")
    compression = spec.compression
    assert isinstance(compression, DecibelRange)
    one_sided = replace(spec, compression=replace(compression, symmetric=False))
    torch.testing.assert_close(2 * one_sided(wave) - compression.peak, spec(wave), atol=1e-4, rtol=0)
