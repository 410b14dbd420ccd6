"""A Kalman filter as textbooks have it, one observation at a time and with the whole covariance: the peer of rules."""

from __future__ import annotations

import numpy as np


def filter_rows(
    features: np.ndarray, targets: np.ndarray, mean: np.ndarray, covariance: np.ndarray, *, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Belief about a head after some rows, each one observation y = W^T phi + e.

    ::

        S = H P H^T + R      K = P H^T S^-1      m <- m + K (y - H m)      P <- P - K S K^T      H = I (x) phi^T

    Args:
        features: ``(n, F)``.
        targets: ``(n, C)``.
        mean: ``(F, C)``, of the belief before.
        covariance: (F C, F C), of the head's entries, output by output.
        noise: variance of each entry of e, above 0.

    Returns:
        Mean ``(F, C)`` and covariance (F C, F C).

    References:
        Sarkka, Bayesian Filtering and Smoothing (2013), theorem 4.2; arXiv:2510.04606, Eq. (22).
    """
    outputs = targets.shape[1]
    m, P = mean.T.reshape(-1).copy(), covariance.copy()
    for phi, y in zip(features, targets, strict=True):
        H = np.kron(np.eye(outputs), phi[None, :])
        S = H @ P @ H.T + noise * np.eye(outputs)
        K = np.linalg.solve(S, H @ P).T
        m += K @ (y - H @ m)
        P -= K @ S @ K.T
        P = (P + P.T) / 2
    return m.reshape(outputs, -1).T, P
