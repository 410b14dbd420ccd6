"""The interface that all estimators share, as in scikit-learn."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from sciml_cf.causal.checks import r_squared


class Estimator(ABC):
    """An estimator of the structural function: ``fit``, ``predict``, ``score``, and parameters that can be cloned.

    The constructor stores its arguments as they are, under their names; what ``fit`` finds ends with an underscore.
    """

    @abstractmethod
    def fit(
        self, *, treatment: Any, instrument: Any, outcome: Any, covariates: Any = None, sample_weight: Any = None
    ) -> Self:
        """Estimate from observations, one a row: arrays or tensors ``(n, ...)``, outcomes ``(n,)`` or ``(n, q)``."""

    @abstractmethod
    def predict(self, treatment: Any, covariates: Any = None) -> Any:
        """The estimated structural function, ``(n,)`` or ``(n, q)`` as the outcome was: a tensor for a tensor, else
        numpy.
        """

    def score(self, treatment: Any, outcome: Any, covariates: Any = None) -> float:
        """R^2 of the predictions, the mean over outcomes; give structural values, as outcomes are confounded."""
        return r_squared(f"{type(self).__name__}.score", self.predict(treatment, covariates), outcome)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name (``deep`` is scikit-learn's and changes nothing)."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **parameters: Any) -> Self:
        """Change arguments of the constructor by name.

        Raises:
            ValueError: a name that the constructor does not have.
        """
        own = type(self).__name__
        for name, value in parameters.items():
            if name not in self._names():
                known = ", ".join(self._names())
                raise ValueError(f"{own}.set_params: `{name}` must be a parameter of {own}: {known}; got {value!r}.")
            setattr(self, name, value)
        return self

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What a fit finds inside this block is kept if it ends well; else all is as it was before, fitted or not."""
        before = self._found()
        try:
            yield
        except BaseException:  # an interrupt too
            for name in self._found():
                delattr(self, name)
            vars(self).update(before)
            raise

    def _found(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name.endswith("_")}

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls).parameters if name != "self"]
