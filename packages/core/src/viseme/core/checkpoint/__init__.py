"""Weights at rest: model directories (safetensors + config, checked when loaded), published checkpoints read without
running a line of what is in them, records of published weights (licence, paper, figures), and averaging."""

from __future__ import annotations

from .average import average_states, last_epochs
from .keys import check_keys
from .model_dir import ModelDir, load_model_dir, save_model_dir
from .reading import read_arrays_pickle, read_object, read_published
from .records import WeightRecord, announce, available_models, find_record, identify, register

__all__ = [
    "ModelDir",
    "WeightRecord",
    "announce",
    "available_models",
    "average_states",
    "check_keys",
    "find_record",
    "identify",
    "last_epochs",
    "load_model_dir",
    "read_arrays_pickle",
    "read_object",
    "read_published",
    "register",
    "save_model_dir",
]
