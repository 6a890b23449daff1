"""Command lines as the published scripts spell them, in our words.

`lip2speech train` and `lip2speech evaluate` take either: `--window_size 50` is `data.window_size=50`. What has no
meaning here is left out, and said so.
"""

from __future__ import annotations

import sys

__all__ = ["translated"]

KEYS = {
    "data": "data.data",
    "grid": "data.data",
    "data_name": "data.data_name",
    "subject": "data.subject",
    "checkpoint_dir": "checkpoint_dir",
    "checkpoint": "checkpoint",
    "visual_front_checkpoint": "visual_front_checkpoint",
    "asr_checkpoint": "asr_checkpoint",
    "batch_size": "data.batch_size",
    "epochs": "trainer.max_epochs",
    "eval_step": "trainer.checkpoint_every_steps",
    "window_size": "data.window_size",
    "min_window_size": "data.min_window_size",
    "max_window_size": "data.max_window_size",
    "max_timesteps": "data.max_timesteps",
    "augmentations": "data.augmentations",
    "workers": "data.workers",
    "seed": "trainer.seed",
    "lr": "optim.lr",
    "weight_decay": "optim.weight_decay",
    "temp": "model.temperature",
    "mask_prob": "objective.mask_probability",
    "conf_layer": "model.layers",
    "num_head": "model.heads",
    "output_content_on": "objective.output_content_on",
}
"""Published flag -> ours."""

SWITCHES = {"output_content_loss": "objective.output_content_loss=true", "save_wav": "evaluate.save_wav=true"}
"""Flags that need no value; a value after them is looked at."""

WITHOUT_MEANING = {
    "gpu": "trainer.devices=N says how many devices",
    "dataparallel": "trainer.devices=N trains with DDP",
    "start_epoch": "a run goes on where it stopped by itself (ckpt_path)",
    "f_min": "model.mel names the audio front-end",
    "f_max": "model.mel names the audio front-end",
    "mode": "evaluate tests data.test_split",
    "save_mel": "`speak --save-mel` writes them",
    "model": "it never had an effect",
    "resnet": "it never had an effect",
    "warmup": "it never had an effect",
}


def translated(argv: list[str]) -> list[str]:
    """A command line with published flags in our words; others are left as they are."""
    if argv[:1] not in (["train"], ["evaluate"]):
        return argv
    words, made = list(argv[1:]), []
    while words:
        flag, equals, value = words.pop(0).partition("=")
        name = flag.removeprefix("--")
        if not flag.startswith("--") or name not in {*KEYS, *SWITCHES, *WITHOUT_MEANING}:
            made.append(flag + equals + value)
            continue
        if not equals and words and not words[0].startswith("--") and (name in KEYS or "=" not in words[0]):
            value = words.pop(0)
        if name in WITHOUT_MEANING:
            print(f"lip2speech: --{name} is left out: {WITHOUT_MEANING[name]}", file=sys.stderr)
        elif name in SWITCHES:
            made += [SWITCHES[name]] if value.lower() not in ("false", "0") else []
        elif name == "checkpoint" and argv[0] == "evaluate":
            made.append(f"evaluate.model={value}")
        else:
            made.append(f"{KEYS[name]}={value}")
            made += ["data.data_name=GRID"] if name == "grid" else []
    return [argv[0], *made]
