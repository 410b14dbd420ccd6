"""Shared parts of the estimators with scikit-learn's interface: settings, the loop, and the outputs."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor, nn

from sciml_cf.classification.methods import check_method, is_closed_form
from sciml_cf.errors import TrainingDiverged, check_choice, check_count, check_positive
from sciml_cf.head import ClosedFormLoss, Rule
from sciml_cf.head.algorithms import Algorithm, make_algorithm
from sciml_cf.normalization import ChannelStatistics

_ROWS = 4096  # of a forward pass in a prediction
_RATES = {"adam": 3e-3, "sgd": 0.1}
_PRECISIONS = (np.float64, np.float32)
_Batch = tuple[Tensor, Tensor, Tensor | None]


class Estimator(ABC, BaseEstimator):
    """The settings, the loop and the outputs that both estimators share."""

    def __init__(
        self,
        method: str | Rule = "proximal",
        *,
        backbone: nn.Module | Callable[[int], nn.Module] | None = None,
        hidden: int | Sequence[int] = (128, 64),
        strength: float | None = None,
        algorithm: int = 2,
        optimizer: str = "adam",
        learning_rate: float | None = None,
        batch_size: int = 128,
        epochs: int = 100,
        scale_inputs: bool = True,
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.backbone = backbone
        self.hidden = hidden
        self.strength = strength
        self.algorithm = algorithm
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.scale_inputs = scale_inputs
        self.warm_start = warm_start
        self.random_state = random_state

    # What differs.

    @abstractmethod
    def _make_loss(self, layer: nn.Linear) -> ClosedFormLoss:
        """The loss that solves the head, for ``_methods`` that have one."""

    @abstractmethod
    def _methods(self) -> tuple[str, ...]:
        """The names that ``method`` may have."""

    # The loop.

    def _check_settings(self) -> None:
        name = type(self).__name__
        check_method(name, self.method, self._methods())
        check_choice(name, "algorithm", self.algorithm, (1, 2))
        check_choice(name, "optimizer", self.optimizer, tuple(_RATES))
        check_count(name, "batch_size", self.batch_size)
        check_count(name, "epochs", self.epochs)
        if self.learning_rate is not None:
            check_positive(name, "learning_rate", self.learning_rate)
        for width in _widths(name, self.hidden):
            check_count(name, "hidden", width)
        if not (self.backbone is None or callable(self.backbone)):
            raise TypeError(
                f"{name}: `backbone` must be a torch module, or a function from the number of columns to one; got "
                f"{self.backbone!r}."
            )

    @property
    def _goes_on(self) -> bool:
        return self.warm_start and hasattr(self, "model_")

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """What a fit makes inside this block is kept if it ends well; else all is as it was before, fitted or not."""
        before = dict(vars(self))
        if self._goes_on:  # which changes the model that is there
            names = ("model_", "_loss", "loss_curve_")
            before.update(zip(names, copy.deepcopy([before[name] for name in names]), strict=True))
        try:
            yield
        except BaseException:  # an interrupt too
            vars(self).clear()
            vars(self).update(before)
            raise

    def _validated(self, X: Any, y: Any, sample_weight: Any, **options: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        """Samples of positive weight, and their weights or None."""
        features: int | None = getattr(self, "n_features_in_", None) if self._goes_on else None
        with numbers_alone(type(self).__name__):
            X, y = validate_data(self, X, y, dtype=_PRECISIONS, allow_nd=self.backbone is not None, **options)
        if features is not None and X.shape[1] != features:
            raise ValueError(
                f"{type(self).__name__}: `X` must have the {features} features of the fit before with warm_start; got "
                f"{X.shape[1]} features. Set warm_start=False to start anew."
            )
        if sample_weight is None:
            return X, y, None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        keep = weights > 0
        if not keep.any():
            raise ValueError(f"{type(self).__name__}: `sample_weight` must not be zero everywhere; got no sample.")
        return X[keep], y[keep], weights[keep]

    def _train(self, X: np.ndarray, targets: Tensor, weights: np.ndarray | None, outputs: int, again: bool) -> None:
        """Train on inputs and targets; ``again`` goes on with the model that is there."""
        seed = self._seed()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if not again:
                self._scale(X, weights)
                self._build(X, outputs)
            given = None if weights is None else torch.tensor(weights)
            inputs = self._inputs(X)
            optimizer = self._make_optimizer()
            order = torch.Generator().manual_seed(seed + 1)
            algorithm = make_algorithm(self.algorithm, self.model_, self._loss)  # pyright: ignore
            for _ in range(self.epochs):
                self._epoch(algorithm, optimizer, _batches(inputs, targets, given, self.batch_size, order))
            self.model_.eval()
            if is_closed_form(self.method):
                algorithm.solve(_batches(inputs, targets, given, self.batch_size))

    def _epoch(self, algorithm: Algorithm, optimizer: torch.optim.Optimizer, batches: Iterator[_Batch]) -> None:
        self.model_.train()
        total, samples = 0.0, 0
        for x, y, w in batches:
            total += float(algorithm.step(x, y, w, descend=optimizer)) * len(x)
            samples += len(x)
        total /= samples
        if not np.isfinite(total):
            raise TrainingDiverged(
                f"{type(self).__name__}: `learning_rate` must keep the training stable; the loss is {total} in epoch "
                f"{len(self.loss_curve_) + 1}. Try a third of it."
            )
        self.loss_curve_.append(total)

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _scale(self, X: np.ndarray, weights: np.ndarray | None) -> None:
        shape = (X.shape[1], *[1] * (X.ndim - 2))  # one mean a channel
        self._mean, self._std = np.zeros(shape), np.ones(shape)
        if self.scale_inputs:
            mean, std = mean_and_deviation(X, weights)
            self._mean, self._std = mean.reshape(shape), std.reshape(shape)

    def _build(self, X: np.ndarray, outputs: int) -> None:
        dtype = torch.from_numpy(np.empty(0, X.dtype)).dtype
        backbone = self._new_backbone(X.shape[1]).to(dtype)
        features = features_of(type(self).__name__, backbone, self._inputs(X[:2]))
        layer = nn.Linear(features.shape[1], outputs).to(dtype)
        self.model_ = nn.Sequential(backbone, layer)
        self._loss = self._make_loss(layer)
        self.loss_curve_: list[float] = []

    def _new_backbone(self, columns: int) -> nn.Module:
        if self.backbone is None:
            return _perceptron(columns, _widths(type(self).__name__, self.hidden))
        if isinstance(self.backbone, nn.Module):
            return copy.deepcopy(self.backbone)
        made = self.backbone(columns)
        if not isinstance(made, nn.Module):
            raise TypeError(
                f"{type(self).__name__}: `backbone` must make a torch module; got a function that returns "
                f"{type(made).__name__}."
            )
        return made

    def _make_optimizer(self) -> torch.optim.Optimizer:
        parameters = [parameter for parameter in self.model_.parameters() if parameter.requires_grad]
        rate = _RATES[self.optimizer] if self.learning_rate is None else self.learning_rate
        parameters = parameters or [nn.Parameter(torch.zeros(1))]  # no hidden layer: the head is all there is
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, rate)
        return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True)

    def _inputs(self, X: np.ndarray, dtype: Any = None) -> Tensor:
        """X standardized, by default in the precision of X; the mean is subtracted in float64."""
        inputs = np.empty(X.shape, dtype or X.dtype)
        for start in range(0, len(X), _ROWS):
            inputs[start : start + _ROWS] = (X[start : start + _ROWS].astype(np.float64) - self._mean) / self._std
        return torch.from_numpy(inputs)

    def _outputs(self, X: Any) -> np.ndarray:
        """``(samples, outputs)`` of the model."""
        check_is_fitted(self)
        dtype = next(self.model_[-1].parameters()).detach().numpy().dtype
        X = validate_data(self, X, dtype=_PRECISIONS, allow_nd=self.backbone is not None, reset=False)
        self.model_.eval()
        with torch.no_grad():
            parts = [self.model_(x) for x in self._inputs(X, dtype).split(_ROWS)]
        return torch.cat(parts).numpy()


@contextmanager
def numbers_alone(function: str) -> Iterator[None]:
    """Inside this block columns become numbers; text among them is refused in one line."""
    try:
        yield
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise ValueError(
            f"{function}: `X`, and `y` of a regressor, must hold numbers; got text ({error}). Encode it first, for "
            "instance with sklearn.preprocessing.OrdinalEncoder."
        ) from error


def features_of(function: str, backbone: nn.Module, inputs: Tensor) -> Tensor:
    """Features ``(samples, F)`` of a few inputs, without gradients; the backbone is left in evaluation mode.

    Raises:
        ValueError: the backbone fails on the inputs, or does not give one row of features a sample.
    """
    try:
        with torch.no_grad():
            features = backbone.eval()(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"{function}: `backbone` must take samples (n, {', '.join(map(str, inputs.shape[1:]))}), those of `X`; got "
            f"an error ({' '.join(str(error).split())[:150]}). A function from the number of columns to a module fits "
            "any."
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(inputs):
        got = tuple(features.shape) if isinstance(features, Tensor) else f"a {type(features).__name__}"
        raise ValueError(
            f"{function}: `backbone` must return features (samples, features); got {got} for {len(inputs)} samples. "
            "End it with nn.Flatten() or a pooling."
        )
    return features


def _widths(function: str, hidden: object) -> tuple[Any, ...]:
    """Widths of the perceptron's layers: a sequence of them, or one."""
    if isinstance(hidden, Integral) and not isinstance(hidden, bool):
        return (hidden,)
    if isinstance(hidden, (tuple, list, np.ndarray)):
        return tuple(hidden)
    raise TypeError(f"{function}: `hidden` must be the widths of the layers, such as (128, 64); got {hidden!r}.")


def mean_and_deviation(values: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column or channel of ``(n, C, ...)``, ``(C,)`` float64; 1 where it is
    constant.
    """
    statistics = ChannelStatistics()
    for start in range(0, len(values), _ROWS):
        part = slice(start, start + _ROWS)
        own = None if weights is None else torch.from_numpy(weights[part])
        statistics.update(torch.from_numpy(values[part].astype(np.float64)), own)
    std = statistics.std.numpy()
    return statistics.mean.numpy(), np.where(std > 0, std, 1.0)


def _perceptron(inputs: int, hidden: tuple[int, ...]) -> nn.Module:
    widths = (inputs, *hidden)
    pairs = zip(widths, hidden, strict=False)
    return nn.Sequential(*[part for a, b in pairs for part in (nn.Linear(a, b), nn.ReLU())])


def _batches(
    inputs: Tensor, targets: Tensor, weights: Tensor | None, size: int, order: torch.Generator | None = None
) -> Iterator[_Batch]:
    """All samples in batches of equal size or one less, shuffled if an order is given."""
    count = len(inputs)
    places = torch.arange(count) if order is None else torch.randperm(count, generator=order)
    for part in places.tensor_split(-(-count // size)):
        yield inputs[part], targets[part], None if weights is None else weights[part]
