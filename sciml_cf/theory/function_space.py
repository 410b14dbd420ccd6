"""The solved loss as a function of the features alone. As in the paper, columns are points: Phi (d, n), Y (o, n)."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh

from sciml_cf.errors import NotPositiveDefinite


def solved_head(features: np.ndarray, targets: np.ndarray, *, penalty: float = 0.0) -> np.ndarray:
    """Head that minimises the sum of squares plus a pull to zero.

    ::

        W = Y Phi^T (Phi Phi^T + beta I)^-1

    Args:
        features: Phi (d, n), float64.
        targets: Y (o, n).
        penalty: beta >= 0, added to the SUM of squares (the strength of a rule times n).

    Returns:
        (o, d).

    Raises:
        ValueError: shapes disagree, or the penalty is negative.
        NotPositiveDefinite: no penalty and features of linearly dependent rows.

    References:
        arXiv:2510.04606, Eq. (19).
    """
    if features.ndim != 2 or targets.ndim != 2 or features.shape[1] != targets.shape[1]:
        raise ValueError(
            f"solved_head: `targets` must be (o, n) for features (d, n); got {targets.shape} and {features.shape}. "
            "Columns are points."
        )
    if not penalty >= 0:
        raise ValueError(f"solved_head: `penalty` must be at least 0; got {penalty!r}.")
    system = features @ features.T + penalty * np.eye(len(features))
    try:
        return cho_solve(cho_factor(system), features @ targets.T).T
    except LinAlgError as error:
        raise NotPositiveDefinite(
            f"solved_head: `features` must have linearly independent rows where nothing is penalised; "
            f"got {len(features)} rows of rank {np.linalg.matrix_rank(features)}. Give a penalty above 0."
        ) from error


def attained(features: np.ndarray, targets: np.ndarray, *, penalty: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The part of the targets that the solved head attains, and the rest.

    ::

        Y* = Y Phi^T (Phi Phi^T + beta I)^-1 Phi        Y_perp = Y - Y*

    Args:
        features: as in ``solved_head``.
        targets: as in ``solved_head``.
        penalty: as in ``solved_head``.

    Returns:
        Y* and Y_perp, (o, n) each. They are orthogonal for beta = 0 only.

    References:
        arXiv:2510.04606, Eq. (29).
    """
    reached = solved_head(features, targets, penalty=penalty) @ features
    return reached, targets - reached


def solved_loss(features: np.ndarray, targets: np.ndarray, *, penalty: float = 0.0) -> float:
    """The loss of the features at their own best head, the penalty included.

    ::

        L*(Phi) = |Y - W Phi|^2 + beta |W|^2      W = W*(Phi)

    Args:
        features: as in ``solved_head``.
        targets: as in ``solved_head``.
        penalty: as in ``solved_head``.

    References:
        arXiv:2510.04606, Eq. (20).
    """
    head = solved_head(features, targets, penalty=penalty)
    return float(np.sum((targets - head @ features) ** 2) + penalty * np.sum(head**2))


def solved_gradient(features: np.ndarray, targets: np.ndarray, *, penalty: float = 0.0) -> np.ndarray:
    """Gradient of the solved loss by the features: that at a held head (Theorem 1).

    ::

        grad = 2 W^T (W Phi - Y)

    Args:
        features: as in ``solved_head``.
        targets: as in ``solved_head``.
        penalty: as in ``solved_head``.

    Returns:
        (d, n).

    References:
        arXiv:2510.04606, Eq. (28), whose first line it is.
    """
    head = solved_head(features, targets, penalty=penalty)
    return 2 * head.T @ (head @ features - targets)


def steepest_curvature(features: np.ndarray, targets: np.ndarray, *, penalty: float = 0.0) -> tuple[float, np.ndarray]:
    """The lowest second derivative of the solved loss at some features, and its direction.

    The Hessian is made of central differences of the gradient; steps are 1e-5 of the features' root mean square, or
    of 1 where that is zero.

    Args:
        features: as in ``solved_head``.
        targets: as in ``solved_head``.
        penalty: as in ``solved_head``.

    Returns:
        The lowest eigenvalue, and its direction (d, n) of norm 1. At a critical point a negative one is a descent.
    """
    size = 1e-5 * (float(np.sqrt(np.mean(features**2))) or 1.0)
    columns = []
    for index in range(features.size):
        move = np.zeros(features.size)
        move[index] = size
        above, below = (
            solved_gradient(features + sign * move.reshape(features.shape), targets, penalty=penalty)
            for sign in (1, -1)
        )
        columns.append((above - below).ravel() / (2 * size))
    hessian = np.stack(columns)
    values, vectors = eigh((hessian + hessian.T) / 2)
    return float(values[0]), vectors[:, 0].reshape(features.shape)


def least_residual(targets: np.ndarray, num_features: int, within: np.ndarray | None = None) -> float:
    """The lowest share of the targets' square that so many features can leave, over all features of a space.

    ::

        min_Phi |Y_perp|^2 / |Y|^2 = 1 - (the d largest eigenvalues of Q^T Y^T Y Q) / |Y|^2      Q: basis of the space

    Args:
        targets: Y (o, n).
        num_features: d.
        within: (k, n), rows that span the functions on the points which features can be; None for all of them.

    References:
        Eckart and Young (1936), Psychometrika 1, 211.
    """
    inside = targets
    if within is not None:
        _, size, right = np.linalg.svd(within, full_matrices=False)
        inside = targets @ right[size > 1e-12 * size[0]].T
    largest = np.linalg.svd(inside, compute_uv=False)[:num_features]
    return float(max(0.0, 1 - np.sum(largest**2) / np.sum(targets**2)))
