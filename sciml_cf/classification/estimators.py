"""Estimators with scikit-learn's interface: any torch backbone under a head in closed form."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sciml_cf.classification.methods import (
    METHODS,
    classification_loss,
    has_probabilities,
    is_closed_form,
    solve_on,
    train_step,
)
from sciml_cf.errors import TrainingDiverged, check_choice, check_count, check_positive
from sciml_cf.head import Automatic, ClosedFormLoss, Kalman, PerFeature, Proximal, Ridge

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state, compute_class_weight
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "sciml_cf.classification.estimators: `scikit-learn` must be installed, version 1.6 or later; got "
        f"{error}. Run: pip install 'sciml-cf[sklearn]'."
    ) from error

_ROWS = 4096  # of a forward pass in a prediction
_RATES = {"adam": 3e-3, "sgd": 0.1}
_REGRESSION: dict[str, Any] = {
    "l2": None,
    "ridge": Ridge,
    "proximal": Proximal,
    "kalman": Kalman,
    "per-feature": PerFeature,
    "automatic": Automatic,
}


class _Estimator(ABC, BaseEstimator):
    """The settings, the loop and the outputs that both estimators share."""

    def __init__(
        self,
        method: str = "proximal",
        *,
        backbone: nn.Module | Callable[[int], nn.Module] | None = None,
        hidden: tuple[int, ...] = (128, 64),
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
        """What ``method`` may be."""

    # The loop.

    def _check_settings(self) -> None:
        name = type(self).__name__
        check_choice(name, "method", self.method, self._methods())
        check_choice(name, "algorithm", self.algorithm, (1, 2))
        check_choice(name, "optimizer", self.optimizer, tuple(_RATES))
        check_count(name, "batch_size", self.batch_size)
        check_count(name, "epochs", self.epochs)
        if self.learning_rate is not None:
            check_positive(name, "learning_rate", self.learning_rate)
        for width in self.hidden:
            check_count(name, "hidden", width)

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
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), allow_nd=self.backbone is not None, **options)
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
            for _ in range(self.epochs):
                self._epoch(inputs, targets, given, optimizer, order)
            self.model_.eval()
            if is_closed_form(self.method):
                solve_on(self.model_, self._loss, _batches(inputs, targets, given, self.batch_size))

    def _epoch(self, inputs: Tensor, targets: Tensor, weights: Tensor | None, optimizer: Any, order: Any) -> None:
        self.model_.train()
        total = 0.0
        for x, y, w in _batches(inputs, targets, weights, self.batch_size, order):
            loss = train_step(self.model_, self._loss, optimizer, x, y, w, algorithm=self.algorithm)  # pyright: ignore
            total += float(loss) * len(x) / len(inputs)
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
        axes = (0, *range(2, X.ndim))  # one mean a channel
        shape = (X.shape[1], *[1] * (X.ndim - 2))
        self._mean, self._std = np.zeros(shape, X.dtype), np.ones(shape, X.dtype)
        if self.scale_inputs:
            spread = weights is None
            rows = None if spread else np.broadcast_to(weights.reshape(-1, *[1] * (X.ndim - 1)), X.shape)
            mean = np.average(X, axis=axes, weights=rows, keepdims=True)
            std = np.sqrt(np.average((X - mean) ** 2, axis=axes, weights=rows))
            self._mean = mean[0].astype(X.dtype)
            self._std = np.where(std > 1e-12 * np.abs(mean).reshape(std.shape), std, 1).reshape(shape).astype(X.dtype)

    def _build(self, X: np.ndarray, outputs: int) -> None:
        dtype = torch.from_numpy(np.empty(0, X.dtype)).dtype
        if self.backbone is None:
            backbone: nn.Module = _perceptron(X.shape[1], self.hidden)
        elif isinstance(self.backbone, nn.Module):
            backbone = copy.deepcopy(self.backbone)
        else:
            backbone = self.backbone(X.shape[1])
        backbone = backbone.to(dtype)
        with torch.no_grad():
            features = backbone.eval()(self._inputs(X[:2]))
        if features.ndim != 2:
            raise ValueError(
                f"{type(self).__name__}: `backbone` must return features (samples, features); got "
                f"{tuple(features.shape)}. End it with nn.Flatten() or a pooling."
            )
        layer = nn.Linear(features.shape[1], outputs).to(dtype)
        self.model_ = nn.Sequential(backbone, layer)
        self._loss = self._make_loss(layer)
        self.loss_curve_: list[float] = []

    def _make_optimizer(self) -> torch.optim.Optimizer:
        parameters = [parameter for parameter in self.model_.parameters() if parameter.requires_grad]
        rate = _RATES[self.optimizer] if self.learning_rate is None else self.learning_rate
        parameters = parameters or [nn.Parameter(torch.zeros(1))]  # no hidden layer: the head is all there is
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, rate)
        return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True)

    def _inputs(self, X: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray((X - self._mean) / self._std))

    def _outputs(self, X: Any) -> np.ndarray:
        """(samples, outputs) of the model."""
        check_is_fitted(self)
        dtype = self._mean.dtype
        X = validate_data(self, X, dtype=dtype, allow_nd=self.backbone is not None, reset=False)
        self.model_.eval()
        with torch.no_grad():
            parts = [self.model_(x) for x in self._inputs(X).split(_ROWS)]
        return torch.cat(parts).numpy()


def _has_probabilities(self: ClosedFormClassifier) -> bool:
    if has_probabilities(self.method):
        return True
    raise AttributeError(
        f"ClosedFormClassifier: `predict_proba` must have method 'cross-entropy' or 'cross-entropy-closed-form'; got "
        f"{self.method!r}, whose outputs are no logits. Use decision_function, or sklearn's CalibratedClassifierCV."
    )


class ClosedFormClassifier(ClassifierMixin, _Estimator):
    """A classifier whose last layer is solved in closed form, over any torch backbone.

    Training is that of ``ClosedFormLoss`` with batches drawn anew each epoch; at the end the head is solved once more,
    on all samples. Its scikit-learn interface works with pipelines, grid searches and cross-validation.

    Probabilities: methods of cross-entropy give the softmax that they fit. The squared loss gives none, for its outputs
    are no logits and no scaling of them is right in general; ``decision_function`` has them as they are, and
    ``CalibratedClassifierCV(ClosedFormClassifier())`` makes probabilities on samples held out.

    Args:
        method: "proximal" (squared loss), "cross-entropy-closed-form", or another of
            ``sciml_cf.classification.methods.METHODS``; "l2" and "cross-entropy" train every layer by gradients.
        backbone: module that maps a batch (samples, ...) to features (samples, F), copied before it is trained, or a
            function that makes one from the number of columns (channels). By default a perceptron.
        hidden: widths of that perceptron's layers, the last one F.
        strength: of the rule, beside a mean loss; by default the rule's own.
        algorithm: 1 or 2, see ``sciml_cf.classification.methods.train_step``.
        optimizer: of the backbone, "adam" or "sgd" (Nesterov momentum 0.9).
        learning_rate: by default 3e-3 for adam, 0.1 for sgd.
        batch_size: samples a step, fewer where there are fewer.
        epochs: passes over the samples.
        scale_inputs: take off the mean of each column (channel), and divide by its standard deviation.
        warm_start: go on from the last fit with this one's samples, if they have the same columns and classes.
        class_weight: None, "balanced", or a dict from class to weight.
        smoothing: of the labels, see CrossEntropy.
        random_state: of the initial weights and the order of the samples; an integer gives the same model each time.
    Attributes:
        classes_: the labels, sorted.
        model_: torch module from scaled inputs to outputs, its last layer the head.
        loss_curve_: mean loss of each epoch.

    Example::

        ClosedFormClassifier("cross-entropy-closed-form", random_state=0).fit(X, y).predict_proba(X)
    """

    def __init__(
        self,
        method: str = "proximal",
        *,
        backbone: nn.Module | Callable[[int], nn.Module] | None = None,
        hidden: tuple[int, ...] = (128, 64),
        strength: float | None = None,
        algorithm: int = 2,
        optimizer: str = "adam",
        learning_rate: float | None = None,
        batch_size: int = 128,
        epochs: int = 100,
        scale_inputs: bool = True,
        warm_start: bool = False,
        class_weight: Any = None,
        smoothing: float = 0.0,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            method,
            backbone=backbone,
            hidden=hidden,
            strength=strength,
            algorithm=algorithm,
            optimizer=optimizer,
            learning_rate=learning_rate,
            batch_size=batch_size,
            epochs=epochs,
            scale_inputs=scale_inputs,
            warm_start=warm_start,
            random_state=random_state,
        )
        self.class_weight = class_weight
        self.smoothing = smoothing

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ClosedFormClassifier:
        """Train on samples (n, columns), or (n, ...) with a backbone of one's own, and their labels (n,).

        Raises:
            ValueError: a setting, the samples, the labels or the weights cannot be used.
            TrainingDiverged: the loss left the finite range; the estimator is then as it was before.
        """
        self._check_settings()
        with self._whole():
            X, y, weights = self._validated(X, y, sample_weight)
            check_classification_targets(y)
            classes, labels = np.unique(y, return_inverse=True)
            again = self._goes_on
            if again and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    f"ClosedFormClassifier: `y` must have the classes of the fit before with warm_start; got {classes}."
                )
            self.classes_ = classes
            if self.class_weight is not None:
                own = compute_class_weight(self.class_weight, classes=classes, y=y)[labels]
                X, labels, weights = self._counted(X, labels, own if weights is None else own * weights)
            self._train(X, torch.from_numpy(labels), weights, max(2, len(classes)), again)
        return self

    def _counted(self, X: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
        """Samples whose class counts, as those whose own weight is above zero."""
        keep = weights > 0
        if not keep.any() or not (weights >= 0).all():
            raise ValueError(
                "ClosedFormClassifier: `class_weight` must not be negative, nor zero for all classes of `y`; got "
                f"{self.class_weight!r}."
            )
        return (X, labels, weights) if keep.all() else (X[keep], labels[keep], weights[keep])

    def decision_function(self, X: Any) -> np.ndarray:
        """Outputs (n, classes); for two classes (n,), that of the second less that of the first."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) <= 2 else outputs

    def predict(self, X: Any) -> np.ndarray:
        """Labels (n,): the class of the largest output."""
        found = self._own_outputs(X).argmax(axis=1)
        return self.classes_[found]

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (n, classes), the softmax of the outputs."""
        return torch.from_numpy(self._own_outputs(X)).softmax(1).numpy()

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of ``predict_proba``."""
        return torch.from_numpy(self._own_outputs(X)).log_softmax(1).numpy()

    def _own_outputs(self, X: Any) -> np.ndarray:
        """(n, classes): without the output that a single class leaves over."""
        outputs = self._outputs(X)
        return outputs[:, : len(self.classes_)]

    def _make_loss(self, layer: nn.Linear) -> ClosedFormLoss:
        return classification_loss(layer, self.method, strength=self.strength, smoothing=self.smoothing)  # pyright: ignore

    def _methods(self) -> tuple[str, ...]:
        return tuple(METHODS)


class ClosedFormRegressor(RegressorMixin, _Estimator):
    """A regressor whose last layer is solved in closed form, over any torch backbone.

    As ``ClosedFormClassifier``, with the mean squared error. Targets are scaled to mean zero and standard deviation one
    for the training, each column on its own, so that a strength means the same whatever their unit.

    Args:
        method: "proximal", "ridge", "kalman", "per-feature", "automatic", or "l2" (every layer by gradients).
        backbone, hidden, strength, algorithm, optimizer, learning_rate, batch_size, epochs, scale_inputs, warm_start,
            random_state: as in ``ClosedFormClassifier``.
    Attributes:
        model_, loss_curve_: as in ``ClosedFormClassifier``; the model's outputs are scaled targets.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ClosedFormRegressor:
        """Train on samples (n, columns), or (n, ...) with a backbone of one's own, and targets (n,) or (n, outputs).

        Raises:
            ValueError: a setting, the samples, the targets or the weights cannot be used.
            TrainingDiverged: the loss left the finite range; the estimator is then as it was before.
        """
        self._check_settings()
        with self._whole():
            X, y, weights = self._validated(X, y, sample_weight, multi_output=True, y_numeric=True)
            again = self._goes_on
            targets = np.asarray(y, dtype=X.dtype).reshape(len(y), -1)
            if again and (targets.shape[1] != len(self._target_mean) or (y.ndim == 1) != self._one_target):
                raise ValueError(
                    f"ClosedFormRegressor: `y` must have the shape of the fit before with warm_start; got {y.shape}."
                )
            self._one_target = y.ndim == 1
            if not again:
                self._target_mean = np.average(targets, axis=0, weights=weights)
                spread = np.sqrt(np.average((targets - self._target_mean) ** 2, axis=0, weights=weights))
                self._target_std = np.where(spread > 0, spread, 1.0)
            scaled = torch.from_numpy(((targets - self._target_mean) / self._target_std).astype(X.dtype))
            self._train(X, scaled, weights, targets.shape[1], again)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Targets (n,) or (n, outputs), as they were given."""
        values = self._outputs(X) * self._target_std + self._target_mean
        return values[:, 0] if self._one_target else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _make_loss(self, layer: nn.Linear) -> ClosedFormLoss:
        rule = _REGRESSION[self.method]
        if rule is None:
            plain = ClosedFormLoss(layer, Proximal(), initial="keep")
            plain.head.detach()
            return plain
        return ClosedFormLoss(layer, rule() if self.strength is None else rule(strength=self.strength))

    def _methods(self) -> tuple[str, ...]:
        return tuple(_REGRESSION)


def _perceptron(inputs: int, hidden: tuple[int, ...]) -> nn.Module:
    widths = (inputs, *hidden)
    pairs = zip(widths, hidden, strict=False)
    return nn.Sequential(*[part for a, b in pairs for part in (nn.Linear(a, b), nn.ReLU())])


def _batches(
    inputs: Tensor, targets: Tensor, weights: Tensor | None, size: int, order: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """All samples in batches of equal size or one less, shuffled if an order is given."""
    count = len(inputs)
    places = torch.arange(count) if order is None else torch.randperm(count, generator=order)
    for part in places.tensor_split(-(-count // size)):
        yield inputs[part], targets[part], None if weights is None else weights[part]
