"""The Frechet distance between two sets of features: FID, where the features are Inception-v3's.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (NeurIPS 2017). N samples, D features.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from viseme.core.errors import CheckpointError, DataError
from viseme.core.layers.inception import InceptionV3

__all__ = ["InceptionFeatures", "frechet_distance"]


class InceptionFeatures:
    """FID's features of pictures, by the published weights (`pt_inception-2015-12-05-6726825d.pth`).

    Args:
        state: of the weights' file; the classifier in it (`fc`) is not needed.
        batch: pictures at once.

    Raises:
        CheckpointError: other weights.
    """

    def __init__(self, state: Mapping[str, Tensor], *, device: str | torch.device = "cpu", batch: int = 32) -> None:
        model = InceptionV3()
        wanted = model.state_dict()
        kept = {name: value for name, value in state.items() if not name.startswith(("fc.", "AuxLogits."))}
        counters = {name: value for name, value in wanted.items() if name.endswith("num_batches_tracked")}
        kept = counters | kept  # older files do not count batches
        if different := sorted(wanted.keys() ^ kept.keys()) or sorted(
            name for name in wanted if wanted[name].shape != kept[name].shape
        ):
            raise CheckpointError(
                "not the weights of Inception-v3", expected="pt_inception-2015-12-05-6726825d.pth", got=different[:3]
            )
        model.load_state_dict(kept)
        self.device, self.batch = torch.device(device), batch
        self.model = model.eval().requires_grad_(False).to(self.device)

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 RGB -> (N, 2048) float32."""
        made = []
        for start in range(0, len(frames), self.batch):
            pictures = torch.from_numpy(np.ascontiguousarray(frames[start : start + self.batch]))
            made.append(self.model(pictures.to(self.device).permute(0, 3, 1, 2).float() / 255).cpu().numpy())
        return np.concatenate(made) if made else np.zeros((0, 2048), np.float32)


def frechet_distance(first_ND: np.ndarray, second_ND: np.ndarray, eps: float = 1e-6) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with sample covariances.

    Args:
        first_ND, second_ND: samples in rows; at least two each.
        eps: added to both diagonals where the product of the covariances has no finite root.

    Raises:
        DataError: too few samples, or another number of features.
    """
    if min(len(first_ND), len(second_ND)) < 2 or first_ND.shape[1] != second_ND.shape[1]:
        raise DataError("two samples or more of the same features are needed", got=(first_ND.shape, second_ND.shape))
    first, second = first_ND.astype(np.float64), second_ND.astype(np.float64)
    difference = first.mean(0) - second.mean(0)
    covariance_1, covariance_2 = np.atleast_2d(np.cov(first, rowvar=False)), np.atleast_2d(np.cov(second, rowvar=False))
    root = linalg.sqrtm(covariance_1 @ covariance_2)
    if not np.isfinite(root).all():
        offset = eps * np.eye(len(covariance_1))
        root = linalg.sqrtm((covariance_1 + offset) @ (covariance_2 + offset))
    trace = np.trace(covariance_1) + np.trace(covariance_2) - 2 * np.trace(root.real)
    return float(difference @ difference + trace)
