"""A network of two parameters, whose whole loss can be drawn (Figure 1 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sciml_cf.errors import check_choice

Activation = Literal["relu", "tanh"]


@dataclass(frozen=True, eq=False)
class TwoParameterNet:
    """f(x) = W act(theta x) on a few points, with a ridge on W.

    ::

        L(theta, W) = mean (y - W act(theta x))^2 + b W^2        W*(theta) = mean(act y) / (mean(act^2) + b)

    Args:
        x: ``(n,)``, the points.
        y: ``(n,)``, the values.
        strength: b >= 0, on the mean loss.
        activation: "relu", the paper's, or "tanh".

    Raises:
        ValueError: unknown activation.

    References:
        arXiv:2510.04606, Figure 1 and Eq. (2).
    """

    x: np.ndarray
    y: np.ndarray
    strength: float
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check_choice("TwoParameterNet", "activation", self.activation, ("relu", "tanh"))

    def features(self, theta: np.ndarray | float) -> np.ndarray:
        """act(theta x): ``(..., n)``."""
        product = np.asarray(theta)[..., None] * self.x
        return np.maximum(product, 0.0) if self.activation == "relu" else np.tanh(product)

    def loss(self, theta: np.ndarray | float, head: np.ndarray | float) -> np.ndarray:
        """L at parameters of any one shape."""
        error = self.y - np.asarray(head)[..., None] * self.features(theta)
        return np.mean(error**2, axis=-1) + self.strength * np.asarray(head) ** 2

    def best_head(self, theta: np.ndarray | float) -> np.ndarray:
        """W*(theta), of the shape of theta."""
        phi = self.features(theta)
        return np.mean(phi * self.y, axis=-1) / (np.mean(phi**2, axis=-1) + self.strength)

    def gradient(self, theta: float, head: float) -> tuple[float, float]:
        """Partial derivatives of L by theta and by W."""
        phi = self.features(theta)
        slope = (phi > 0) * self.x if self.activation == "relu" else (1 - phi**2) * self.x
        error = head * phi - self.y
        return float(2 * np.mean(error * head * slope)), float(2 * np.mean(error * phi) + 2 * self.strength * head)

    def joint_path(self, theta: float, head: float, *, rate: float, steps: int) -> np.ndarray:
        """Gradient descent of both parameters, Eq. (4): (steps + 1, 2) of theta and W."""
        path = [(theta, head)]
        for _ in range(steps):
            by_theta, by_head = self.gradient(theta, head)
            theta, head = theta - rate * by_theta, head - rate * by_head
            path.append((theta, head))
        return np.array(path)

    def solved_path(self, theta: float, *, rate: float, steps: int) -> np.ndarray:
        """Gradient descent of theta with the head solved at each step, Eq. (9): (steps + 1, 2) on the curve."""
        path = [(theta, float(self.best_head(theta)))]
        for _ in range(steps):
            theta -= rate * self.gradient(*path[-1])[0]
            path.append((theta, float(self.best_head(theta))))
        return np.array(path)
