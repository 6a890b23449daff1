"""Fixtures that tests of all packages share; the workspace's conftest.py loads them."""

from __future__ import annotations

from pathlib import Path

import pytest

__all__ = ["embedded_corpus"]


@pytest.fixture(scope="session")
def embedded_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic corpus in LRS3 layout with its `manifest.csv`: 20 clips, of which 2 are for testing."""
    pytest.importorskip("espeakng_loader", reason="the embedded corpus speaks with espeak-ng (viseme-core[synthetic])")
    from viseme.core.synthetic import make_corpus

    root = tmp_path_factory.mktemp("embedded") / "corpus"
    make_corpus(root, 20, seed=7, workers=1, size_px=128)
    return root
