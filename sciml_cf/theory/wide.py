"""Networks of one hidden layer in the scaling of the tangent kernel, under gradient flow of the solved loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.integrate import solve_ivp

from sciml_cf.errors import SolverDiverged, check_choice
from sciml_cf.theory.flows import Flow
from sciml_cf.theory.function_space import attained, solved_gradient


@dataclass(frozen=True, eq=False)
class WideNet:
    """Features of a network with one hidden layer of ``width`` units.

    ::

        h = act(A x / sqrt(d_0) + a)        phi = B h / sqrt(width) + b

    All parameters are drawn from N(0, 1). Features are taken before an activation, where their limit is Gaussian.

    Args:
        x: (d_0, n), the points as columns.
        num_features: d.
        width: units of the hidden layer.
        seed: of the draw.
        activation: "tanh"; "linear" has no activation, and a kernel of low rank.

    Raises:
        ValueError: unknown activation.

    References:
        arXiv:2510.04606, Eq. (34); Jacot et al. (2018).
    """

    x: np.ndarray
    num_features: int
    width: int
    seed: int
    activation: Literal["tanh", "linear"] = "tanh"

    def __post_init__(self) -> None:
        check_choice("WideNet", "activation", self.activation, ("tanh", "linear"))

    def draw(self) -> np.ndarray:
        """Parameters A, a, B, b, flat."""
        m, d, d0 = self.width, self.num_features, len(self.x)
        return np.random.default_rng(self.seed).normal(size=m * d0 + m + d * m + d)

    def _parts(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        m, d, d0 = self.width, self.num_features, len(self.x)
        A, a, B, b = np.split(theta, np.cumsum([m * d0, m, d * m]))
        return A.reshape(m, d0), a, B.reshape(d, m), b

    def _hidden(self, A: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hidden values (m, n) and their slopes."""
        before = A @ self.x / np.sqrt(len(self.x)) + a[:, None]
        if self.activation == "linear":
            return before, np.ones_like(before)
        h = np.tanh(before)
        return h, 1 - h**2

    def features(self, theta: np.ndarray) -> np.ndarray:
        """Phi (d, n)."""
        A, a, B, b = self._parts(theta)
        return B @ self._hidden(A, a)[0] / np.sqrt(self.width) + b[:, None]

    def pull_back(self, theta: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Gradient by the parameters, flat, of what has the ``gradient`` (d, n) by the features."""
        A, a, B, _ = self._parts(theta)
        h, slope = self._hidden(A, a)
        root = np.sqrt(self.width)
        below = (B.T @ gradient) * slope / root
        return np.concatenate(
            [
                (below @ self.x.T / np.sqrt(len(self.x))).ravel(),
                below.sum(axis=1),
                (gradient @ h.T / root).ravel(),
                gradient.sum(axis=1),
            ]
        )

    def kernel(self, theta: np.ndarray) -> np.ndarray:
        """The tangent kernel of these parameters, (d n, d n)."""
        d, n = self.num_features, self.x.shape[1]
        rows = [self.pull_back(theta, unit.reshape(d, n)) for unit in np.eye(d * n)]
        jacobian = np.stack(rows)
        return jacobian @ jacobian.T

    def flow(
        self, targets: np.ndarray, *, times: Sequence[float] | np.ndarray, penalty: float = 0.0, until: float = 0.0
    ) -> tuple[Flow, np.ndarray]:
        """Gradient flow of the solved loss in the parameters, dtheta/dt = -grad L*(theta).

        An explicit Runge-Kutta method of order 5, relative tolerance 1e-6.

        Args:
            targets: Y (o, n).
            times: rising, the first of them the start.
            penalty: beta >= 0, added to the sum of squares.
            until: stop where the residual's share of ``|Y|^2`` falls to this; the flow then ends early.

        Returns:
            The flow of the features, and the parameters at its end.

        Raises:
            SolverDiverged: the integration failed.

        References:
            arXiv:2510.04606, Eq. (35).
        """

        def velocity(_: float, theta: np.ndarray) -> np.ndarray:
            return -self.pull_back(theta, solved_gradient(self.features(theta), targets, penalty=penalty))

        def above(_: float, theta: np.ndarray) -> float:
            rest = attained(self.features(theta), targets, penalty=penalty)[1]
            return float(np.sum(rest**2) / np.sum(targets**2) - until)

        above.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
        span = (float(times[0]), float(times[-1]))
        options = {"method": "RK45", "t_eval": times, "rtol": 1e-6, "atol": 1e-8}
        done = solve_ivp(velocity, span, self.draw(), events=above if until > 0 else None, **options)
        if not done.success:
            raise SolverDiverged(
                f"WideNet.flow: `times` must be within reach; the integration stopped ({done.message})."
            )
        path = np.stack([self.features(theta) for theta in done.y.T])
        return Flow(np.asarray(done.t), path, targets, penalty), done.y[:, -1]
