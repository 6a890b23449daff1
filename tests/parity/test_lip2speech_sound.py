"""Sound as both lip-to-speech systems see it, Griffin-Lim, and speech metrics, against published answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from lip2speech_vectors import Comparison, arrays, entries, fills, vectors

from viseme.core.metrics import estoi, pesq, stoi
from viseme.core.metrics.speech import to_8k
from viseme.core.signal import (
    MULTITASK_MEL,
    VCA_GRID_MEL,
    VCA_LRS_MEL,
    GriffinLim,
    MelSpec,
    inverse_preemphasis,
    istft,
    mel_basis,
    peak_normalise,
    stft,
)
from viseme.lip2speech.sound import Inverter, analyse, log_spectrogram

SPECS = (VCA_LRS_MEL, VCA_GRID_MEL, MULTITASK_MEL)


def mel_spec(config: dict) -> MelSpec:
    """The named constant with the entry's FFT and band limits; another geometry is made from it."""
    for spec in SPECS:
        wanted = (config["n_fft"], config.get("fmin", spec.fmin), config.get("fmax", spec.fmax))
        if (spec.n_fft, spec.fmin, spec.fmax) == wanted:
            return spec
    names = {"n_fft": "n_fft", "hop": "hop", "win": "win", "fmin": "fmin", "fmax": "fmax", "mels": "n_mels"}
    return dataclasses.replace(
        VCA_LRS_MEL, **{ours: config[theirs] for theirs, ours in names.items() if theirs in config}
    )


@pytest.mark.parametrize(("name", "entry"), entries("stft"))
def test_spectrograms(name: str, entry: dict) -> None:
    compare, spec = Comparison(name, entry), mel_spec(entry["config"])
    compare.given("audio")
    audio = torch.from_numpy(compare.stored["audio"])
    # A band near the floor of 1e-5 shows the float32 rounding of the published convolution, magnified by the logarithm.
    logs = {"atol": 1e-4, "fraction": 0.998, "atol_rest": 2e-3}
    peak = peak_normalise(audio)
    emphasised = spec.emphasise(peak)
    mel, magnitude = analyse(audio, spec)
    compare.check("peak_normalised", peak)
    compare.check("preemphasised", emphasised)
    compare.check("magnitude", magnitude, rtol=1e-5)
    compare.check("mel_basis", mel_basis(spec.rate, spec.n_fft, spec.n_mels, spec.fmin, spec.fmax), rtol=1e-5)
    compare.check("log_mel", spec.compression.log(spec.basis() @ magnitude), **logs)
    compare.check("mel", mel[:, None], **logs)
    compare.check("spec", log_spectrogram(magnitude)[:, None], **logs)
    stored_mel = torch.from_numpy(compare.stored["mel"][:, 0])
    compare.check("log_mel_denormalised", spec.compression.unscale(stored_mel), atol=1e-4)
    compare.check("deemphasised", inverse_preemphasis(emphasised))
    transformed = stft(emphasised, spec.n_fft, spec.hop, spec.win)
    compare.check("istft_roundtrip", istft(transformed, spec.n_fft, spec.hop, spec.win), rtol=1e-5)
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("griffin_lim"))
def test_griffin_lim(name: str, entry: dict) -> None:
    compare, config, given = Comparison(name, entry), entry["config"], fills(entry)
    inputs = {"magnitude", "mel", "spec"} & compare.stored.keys()
    compare.given(*inputs)
    magnitude, mel, spectrogram = (
        torch.from_numpy(compare.stored[key]) if key in inputs else None for key in ("magnitude", "mel", "spec")
    )
    assert magnitude is not None and mel is not None
    phase = given["phase_uniform"]
    for key in [key for key in compare.stored if key.startswith("wav_iter")]:
        iterations = int(key.removeprefix("wav_iter"))
        solver = GriffinLim(config["n_fft"], config["hop"], config["win"], iterations=iterations)
        compare.check(key, solver(magnitude, phase_uniform=phase), rtol=1e-5 if iterations < 10 else 1e-3)
    # These two differ in nothing that is stored beside them: the name says whose mel it is.
    spec = VCA_GRID_MEL if "grid" in name else mel_spec(config)
    back = Inverter(spec, iterations=60, momentum=0.0, mel_inverse="transpose")
    shape = compare.stored["inverse_mel"].shape
    compare.check("inverse_mel", back.of_mel(mel[:, 0], phase_uniform=phase).reshape(shape), rtol=1e-3)
    if spectrogram is None:
        linear = back.of_magnitude(magnitude, phase_uniform=phase)
    else:
        linear = back.of_log_spectrogram(spectrogram[:, 0], phase_uniform=phase)
    compare.check("inverse_spec", linear.reshape(shape), rtol=1e-3)
    for row, columns in enumerate(given.get("batch_lengths", ())):
        # The batch is of the utterances of the system's `stft` entry, the first of which is this entry's.
        others = torch.from_numpy(arrays(sibling := name.replace("griffin_lim", "stft"), vectors()[sibling])["mel"])
        one = back.of_mel(others[row, 0, :, :columns], phase_uniform=given[f"phase_uniform_b{row}"][0])
        compare.check(f"inverse_mel_batch{row}", one, rtol=1e-3)
    compare.finish()


@pytest.mark.parametrize(("name", "entry"), entries("metrics"))
def test_metrics(name: str, entry: dict) -> None:
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    compare = Comparison(name, entry)
    compare.given("reference", "degraded")
    reference, degraded = compare.stored["reference"], compare.stored["degraded"]
    compare.check("stoi", stoi(reference, degraded), atol=1e-4)
    compare.check("estoi", estoi(reference, degraded), atol=1e-4)
    for key in [key for key in compare.stored if key.startswith("pesq_")]:
        compare.check(key, pesq(reference, degraded, key.removeprefix("pesq_")), atol=1e-2)
    for key in [key for key in compare.stored if key.startswith("reference_8k_")]:
        compare.check(key, to_8k(np.asarray(reference), key.removeprefix("reference_8k_")), rtol=1e-5)
    compare.finish()
