"""Gradient flow of the features under a constant kernel: the limit of wide networks that Theorem 4 speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.integrate import solve_ivp

from sciml_cf.errors import SolverDiverged, check_choice
from sciml_cf.theory.function_space import attained, solved_gradient, solved_head


@dataclass(frozen=True, eq=False)
class Flow:
    """Features along a flow, and what the solved head makes of them.

    Args:
        times: ``(T,)``.
        features: (T, d, n).
        targets: Y (o, n).
        penalty: beta.
    """

    times: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    penalty: float

    def residual(self) -> np.ndarray:
        """``(T,)``, ``|Y_perp|^2 / |Y|^2``."""
        rest = [attained(phi, self.targets, penalty=self.penalty)[1] for phi in self.features]
        return np.array([np.sum(part**2) for part in rest]) / np.sum(self.targets**2)

    def eigenvalues(self) -> np.ndarray:
        """(T, o), those of Y* Y*^T over ``|Y|^2``, ascending."""
        reached = [attained(phi, self.targets, penalty=self.penalty)[0] for phi in self.features]
        return np.array([np.linalg.eigvalsh(part @ part.T) for part in reached]) / np.sum(self.targets**2)

    def largest_fall(self) -> np.ndarray:
        """(o,), how far each eigenvalue ever falls below its own highest value before."""
        values = self.eigenvalues()
        return (np.maximum.accumulate(values, axis=0) - values).max(axis=0)


def kernel_flow(
    features: np.ndarray,
    targets: np.ndarray,
    kernel: np.ndarray,
    *,
    times: Sequence[float] | np.ndarray,
    penalty: float = 0.0,
    side: Literal["points", "features", "both"] = "points",
) -> Flow:
    """Flow of the features down the solved loss, seen through a constant kernel.

    ::

        points:    dPhi/dt = -grad L*(Phi) K       K (n, n), the neural tangent kernel between points
        features:  dPhi/dt = -K grad L*(Phi)       K (d, d), as Eq. (37) of the paper prints it
        both:      the same of vectors             K (d n, d n), any network's own kernel held constant

    In the limit of wide networks the kernel of d outputs is a kernel between points times the identity of the outputs,
    so it is at the right. LSODA, relative tolerance 1e-9.

    Args:
        features: Phi (d, n) at time zero.
        targets: Y (o, n).
        kernel: symmetric, positive semi-definite.
        times: rising, the first of them the start.
        penalty: beta >= 0, added to the sum of squares.
        side: where the kernel acts.

    Raises:
        ValueError: unknown side, or a kernel of another size.
        SolverDiverged: the integration failed.

    References:
        arXiv:2510.04606, Eq. (36) and (37); Jacot et al. (2018), theorem 2.
    """
    check_choice("kernel_flow", "side", side, ("points", "features", "both"))
    d, n = features.shape
    size = {"points": n, "features": d, "both": d * n}[side]
    if kernel.shape != (size, size):
        raise ValueError(f"kernel_flow: `kernel` must be ({size}, {size}) for side {side!r}; got {kernel.shape}.")

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        gradient = solved_gradient(flat.reshape(d, n), targets, penalty=penalty)
        if side == "points":
            return -(gradient @ kernel).ravel()
        return -(kernel @ (gradient if side == "features" else gradient.ravel())).ravel()

    span = (float(times[0]), float(times[-1]))
    done = solve_ivp(velocity, span, features.ravel(), method="LSODA", t_eval=times, rtol=1e-9, atol=1e-11)
    if not done.success:
        raise SolverDiverged(f"kernel_flow: `times` must be within reach; the integration stopped ({done.message}).")
    return Flow(np.asarray(done.t), done.y.T.reshape(-1, d, n), targets, penalty)


def rate_matrices(
    features: np.ndarray, targets: np.ndarray, kernel: np.ndarray, side: str = "points"
) -> tuple[np.ndarray, np.ndarray]:
    """The two positive semi-definite matrices of the proof, for beta = 0.

    ::

        d/dt Y* Y*^T = 2 (A B + B A)      points:   A = Y_perp K Y_perp^T    B = W W^T
                                          features: A = Y_perp Y_perp^T      B = W K W^T

    A product of two such matrices need not be one: nor need A B + B A.

    Args:
        features: as in ``kernel_flow``.
        targets: as in ``kernel_flow``.
        kernel: as in ``kernel_flow``.
        side: as in ``kernel_flow``.

    Returns:
        A and B, (o, o).

    References:
        arXiv:2510.04606, Eq. (39) and (40), with W = Y* Phi^T (Phi Phi^T)^-1.
    """
    head, rest = solved_head(features, targets), attained(features, targets)[1]
    if side == "points":
        return rest @ kernel @ rest.T, head @ head.T
    return rest @ rest.T, head @ kernel @ head.T
