"""Data: the manifest that every package trains from, readers of corpora and of the published label lists, batching by
frames, transforms, and the dataset over a prepared store."""

from __future__ import annotations

from viseme.core.data.labels import LabelRow, labels_to_manifest, manifest_to_labels, read_labels, write_labels
from viseme.core.data.manifest import Manifest, ManifestRow

__all__ = [
    "Manifest",
    "ManifestRow",
    "LabelRow",
    "read_labels",
    "write_labels",
    "labels_to_manifest",
    "manifest_to_labels",
]
