"""Command lines as the published software spells them, in our words: flags of 2025, Hydra keys of 2023 and 2024.

`avsr train`, `avsr evaluate` and `avsr transcribe` take either. What has no meaning here (a cluster job's number) is
left out, and said so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

__all__ = ["translated"]

KEYS = {
    "root_dir": "data.root_dir",
    "train_file": "data.train_file",
    "val_file": "data.val_file",
    "test_file": "data.test_file",
    "modality": "data.modality",
    "max_frames": "data.max_frames",
    "train_num_buckets": "data.num_buckets",
    "data.dataset.root_dir": "data.root_dir",
    "data.dataset.root": "data.root_dir",
    "data.dataset.label_dir": "data.label_dir",
    "data.dataset.train_file": "data.train_file",
    "data.dataset.val_file": "data.val_file",
    "data.dataset.test_file": "data.test_file",
    "num_workers": "data.num_workers",
    "num_nodes": "trainer.num_nodes",
    "gpus": "trainer.devices",
    "trainer.gpus": "trainer.devices",
    "max_epochs": "trainer.max_epochs",
    "warmup_epochs": "optim.warmup_epochs",
    "lr": "optim.lr",
    "weight_decay": "optim.weight_decay",
    "ctc_weight": "optim.ctc_weight",
    "optimizer.lr": "optim.lr",
    "optimizer.warmup_epochs": "optim.warmup_epochs",
    "optimizer.weight_decay": "optim.weight_decay",
    "trainer.resume_from_checkpoint": "ckpt_path",
    "group_name": "trainer.wandb_group",
}
"""Other spelling -> ours. A flag is looked up without its dashes: `--max-frames` is `max_frames`."""

SAME = ("exp_dir", "exp_name", "ckpt_path", "pretrained_model_path", "transfer_frontend", "transfer_encoder")
"""Spelt alike; as flags with dashes."""

WITHOUT_MEANING = {
    "slurm_job_id": "launchers are recognised by themselves",
    "trainer.replace_sampler_ddp": "batches are always split over the processes",
    "data.use_audio_normalise": "it never had an effect",
    "logger": "trainer.wandb=PROJECT reports to Weights & Biases",
    "train": "training is `avsr train`, testing is `avsr evaluate`",
}
RECORDING = ("infer_path", "file_path", "data_filename")
"""Keys that name a file to transcribe."""
CLEAN_SNR = 999999


def translated(argv: list[str]) -> list[str]:
    """A command line with published spellings in our words; others are left as they are."""
    match argv[:1]:
        case ["transcribe"]:
            return ["transcribe", *_transcription(argv[1:])]
        case ["train" | "evaluate" as verb]:
            return [verb, *_overrides(list(_joined(argv[1:])), verb)]
    return argv


def _joined(words: list[str]) -> Iterator[str]:
    """Published flags and their values as `key=value`; other words as they are."""
    flags = {f"--{key.replace('_', '-')}": key for key in (*KEYS, *SAME, "slurm_job_id", "decode_snr_target")}
    waiting: str | None = None
    for word in words:
        name, equals, value = word.partition("=")
        if waiting is not None:
            yield f"{flags[waiting]}={word}"
            waiting = None
        elif name in flags:
            if equals:
                yield f"{flags[name]}={value}"
            else:
                waiting = name
        else:
            yield word
    if waiting is not None:
        yield waiting  # without its value: the parser says so


def _overrides(words: list[str], verb: str) -> Iterator[str]:
    transfer = any(word.lower() == "transfer_frontend=true" for word in words)
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            yield word
        elif key in ("decode.snr_target", "decode_snr_target"):
            yield from _snr(value)
        elif key in WITHOUT_MEANING:
            _say(f"{key} has no meaning here: {WITHOUT_MEANING[key]}")
        elif key == "log_wandb":
            yield from ["trainer.wandb=auto_avsr"] if value.lower() in ("true", "1") else []
        elif key == "checkpoint.save_top_k":
            yield from (f"trainer.save_top_k={value}", f"average={value}")
        elif key == "transfer_frontend" and value.lower() in ("true", "false"):
            continue  # a switch until 2023: the file is the one that ckpt_path names
        elif key in ("ckpt_path", "pretrained_model_path") and transfer:
            yield f"transfer_frontend={value}"
        elif key in ("ckpt_path", "pretrained_model_path") and verb == "evaluate":
            yield f"evaluate.model={value}"
        else:
            yield f"{KEYS.get(key, key)}={value}"


def _snr(value: str) -> list[str]:
    """The published SNR of babble when testing; 999999 is clean."""
    try:
        clean = float(value) >= CLEAN_SNR
    except ValueError:
        clean = False
    if clean:
        return []
    return ["evaluate.noise_kinds=[babble]", f"evaluate.noise_snr_db=[{value}]", "evaluate.clean=false"]


def _transcription(words: list[str]) -> Iterator[str]:
    """Hydra keys of `infer.py` and `demo.py` as flags of `avsr transcribe`."""
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key.startswith("-"):
            yield word
        elif key in RECORDING:
            yield value
        elif key in ("data.modality", "modality"):
            yield from ("--modality", value)
        elif key in ("ckpt_path", "pretrained_model_path"):
            yield from ("--model", value)
        elif key == "gpu_idx":
            yield from ("--device", "cpu" if value.startswith("-") else f"cuda:{value}")
        elif key in ("trainer.num_nodes", "detector"):
            _say(f"{key} has no meaning here")
        else:
            yield word


def _say(text: str) -> None:
    print(f"avsr: {text}", file=sys.stderr)
