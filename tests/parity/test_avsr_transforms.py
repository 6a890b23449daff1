"""Transforms, noise and resampling against the published answers (kind `transforms`)."""

from __future__ import annotations

import functools

import harness
import numpy as np
import pytest
import torch

from viseme.core.data.transforms import (
    audio_eval,
    published_speed_index,
    time_mask_count,
    video_crop,
    video_eval,
)
from viseme.core.signal import layer_norm, mix_at_snr, resample


def channels_last(video: np.ndarray) -> np.ndarray:
    return video.transpose(0, 2, 3, 1)  # the vectors store (T, 3, H, W)


@pytest.mark.parametrize("name, entry", harness.entries("avsr", "transforms"))
def test_transforms(name: str, entry: dict) -> None:
    answers = harness.Comparison("avsr", entry)
    config, inputs = entry["config"], entry["inputs"]
    read = functools.partial(harness.inputs.make_input, harness.folder("avsr"), entry)
    look = {"crop": config["crop"], "mean": config["mean"], "std": config["std"], "grey": config["grey"]}

    if "video" in inputs:
        frames = channels_last(read("video"))
        answers.check("video_eval", video_eval(frames, **look))
        if "crop_top_left" in inputs:
            top, left = read("crop_top_left").tolist()
            masks = [tuple(span) for span in read("mask_start_stop").tolist()]
            answers.check("video_train_fixed", video_crop(frames, top, left, masks=masks, **look))
    if "gray" in inputs:
        answers.check("zoo_video_eval", video_eval(read("gray"), **look).transpose(0, 1))

    for suffix, mask in (("", "video_mask"), ("_audio", "audio_mask")):
        if f"n_mask_lengths{suffix}" in inputs:
            lengths = read(f"n_mask_lengths{suffix}").tolist()
            answers.check(f"n_mask_counts{suffix}", [time_mask_count(n, config[mask]["stride"]) for n in lengths])

    if "audio" in inputs:
        audio = torch.from_numpy(read("audio"))
        answers.check("audio_eval", audio_eval(audio, eps=config["audio_eps"]))
        answers.check("audio_eval_zoo", audio_eval(audio, eps=config["audio_eps_zoo"]))
        if "noise" in inputs:
            noise, start = torch.from_numpy(read("noise"))[0], int(read("noise_start"))
            snrs = read("snrs").tolist()
            noisy = [mix_at_snr(audio[:, 0], noise, snr, start=start)[:, None] for snr in snrs]
            answers.check("noisy", torch.stack(noisy))
            answers.check("noisy_normalised", torch.stack([layer_norm(x, config["audio_eps"]) for x in noisy]))
    if "silence" in inputs:
        answers.check("audio_eval_silence", audio_eval(read("silence"), eps=config["audio_eps"]))

    if "zoo_speed_pairs" in inputs:
        for i, (frames, speed) in enumerate(read("zoo_speed_pairs").tolist()):
            answers.check(f"zoo_speed_idx{i}", published_speed_index(int(frames), speed))

    for wave in (key for key in inputs if key.startswith("wave")):
        rate = int(wave.removeprefix("wave"))
        resampled = resample(torch.from_numpy(read(wave)), rate, config["sample_rate"])
        answers.check(f"resampled_{rate}", resampled.mean(0, keepdim=True))
    answers.finish()
