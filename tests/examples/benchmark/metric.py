"""How many dimensions a code really uses: the participation ratio of its variances."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def participation_ratio(z: Float[np.ndarray, "n d"]) -> float:
    """(sum of eigenvalues)^2 / sum of their squares, of the covariance of z: d for a sphere, 1 for a line.

    Raises:
        ValueError: fewer than two codes, or numbers that are not finite.
    """
    if len(z) < 2 or not np.isfinite(z).all():
        raise ValueError(f"expected two or more codes of finite numbers, found {z.shape}")
    values = np.linalg.eigvalsh(np.cov(z.astype(np.float64), rowvar=False).reshape(z.shape[1], z.shape[1]))
    return float(values.sum() ** 2 / (values**2).sum())
