"""Readers: each turns a corpus as it is distributed, or any folder, into a manifest with `scan(root)`. What cannot
be used is left out and listed with its reason in the manifest's `skipped`."""

from __future__ import annotations
