"""Published command lines, word for word."""

from __future__ import annotations

import pytest

from viseme.core.cli import compose
from viseme.lip2speech.published_keys import KEYS, SWITCHES, translated


def test_a_published_training_command(capsys: pytest.CaptureFixture) -> None:
    line = "train recipe=vca_lrs2 --data /data/LRS2-BBC --data_name LRS2 --checkpoint_dir runs/x --batch_size 80"
    line += " --epochs 200 --augmentations True --dataparallel --gpu 0,1,2,3 --window_size 50 --lr 0.0001"
    cfg = compose("viseme.lip2speech", translated(line.split())[1:])
    assert (cfg.data.data, cfg.data.data_name, cfg.checkpoint_dir) == ("/data/LRS2-BBC", "LRS2", "runs/x")
    assert (cfg.data.batch_size, cfg.trainer.max_epochs, cfg.data.augmentations) == (80, 200, True)
    assert (cfg.data.window_size, cfg.optim.lr) == (50, 1e-4)
    said = capsys.readouterr().err
    assert "--gpu" in said and "--dataparallel" in said


def test_a_published_multitask_command() -> None:
    line = "train recipe=multitask_lrs3 --data /data/LRS3-TED --visual_front_checkpoint a.ckpt --asr_checkpoint b.ckpt"
    line += (
        " --eval_step 3000 --output_content_loss --mask_prob 0.5 --conf_layer 12 --num_head 8 --output_content_on 0.7"
    )
    cfg = compose("viseme.lip2speech", translated(line.split())[1:])
    assert (cfg.visual_front_checkpoint, cfg.asr_checkpoint) == ("a.ckpt", "b.ckpt")
    assert cfg.objective.output_content_loss is True and cfg.model.layers == 12
    assert cfg.trainer.checkpoint_every_steps == 3000


def test_a_published_test_command() -> None:
    line = "evaluate recipe=vca_grid --grid /data/grid --subject unseen --checkpoint best --save_mel False"
    cfg = compose("viseme.lip2speech", translated(line.split())[1:])
    assert (cfg.data.data, cfg.data.data_name, cfg.data.subject) == ("/data/grid", "GRID", "unseen")
    assert cfg.evaluate.model == "best" and cfg.checkpoint is None


def test_every_key_exists() -> None:
    for recipe in ("vca_grid", "multitask_lrs2"):
        cfg = compose("viseme.lip2speech", [f"recipe={recipe}", "data.data=x"])
        for key in (*KEYS.values(), *(switch.split("=")[0] for switch in SWITCHES.values())):
            group, _, name = key.rpartition(".")
            if key not in ("model.temperature", "model.layers", "model.heads"):
                assert name in (cfg[group] if group else cfg), key


def test_ours_stay() -> None:
    assert translated(["train", "data=store", "optim.lr=1"]) == ["train", "data=store", "optim.lr=1"]
    assert translated(["speak", "--data", "x"]) == ["speak", "--data", "x"]
