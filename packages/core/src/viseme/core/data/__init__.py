"""Data: the manifest that every package trains from, readers of corpora and of the published label lists, batching by
frames, transforms, and the dataset over a prepared store."""

from __future__ import annotations

from viseme.core.data.batching import BatchSampler, bucket_batches, dynamic_batches, frame_count_batches
from viseme.core.data.cutting import cut_long
from viseme.core.data.dataset import ClipDataset, Item, item_generator
from viseme.core.data.labels import LabelRow, labels_to_manifest, manifest_to_labels, read_labels, write_labels
from viseme.core.data.loader import ClipLoader
from viseme.core.data.manifest import Manifest, ManifestRow
from viseme.core.data.packed import PackReport, VerifyReport, pack, verify
from viseme.core.data.recognition import RecognitionBatch, RecognitionItem, RecognitionTransform, collate_recognition
from viseme.core.data.shards import read_packed
from viseme.core.data.transforms import (
    NoiseBank,
    audio_eval,
    audio_train,
    draw_time_masks,
    match_audio,
    time_mask,
    video_eval,
    video_train,
)

__all__ = [
    "Manifest",
    "ManifestRow",
    "LabelRow",
    "read_labels",
    "write_labels",
    "labels_to_manifest",
    "manifest_to_labels",
    "BatchSampler",
    "bucket_batches",
    "dynamic_batches",
    "frame_count_batches",
    "ClipDataset",
    "cut_long",
    "pack",
    "PackReport",
    "verify",
    "VerifyReport",
    "read_packed",
    "ClipLoader",
    "Item",
    "item_generator",
    "RecognitionBatch",
    "RecognitionItem",
    "RecognitionTransform",
    "collate_recognition",
    "NoiseBank",
    "audio_eval",
    "audio_train",
    "draw_time_masks",
    "match_audio",
    "time_mask",
    "video_eval",
    "video_train",
]
