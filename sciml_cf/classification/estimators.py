"""Estimators with scikit-learn's interface: any torch backbone under a head in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

try:
    from sklearn.base import ClassifierMixin, RegressorMixin
    from sklearn.utils import compute_class_weight
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import validate_data as _of_version_1_6  # noqa: F401
except ImportError as error:
    raise ImportError(
        "sciml_cf.classification.estimators: `scikit-learn` must be installed, version 1.6 or later; got "
        f"{error}. Run: pip install 'sciml-cf[sklearn]'."
    ) from error

from sciml_cf.classification.estimator_base import Estimator, mean_and_deviation, numbers_alone
from sciml_cf.classification.methods import METHODS, classification_loss, gradient_loss, has_probabilities
from sciml_cf.head import ClosedFormLoss, Rule
from sciml_cf.head.registry import rule_names, rule_of


def _has_probabilities(self: ClosedFormClassifier) -> bool:
    if has_probabilities(self.method):
        return True
    raise AttributeError(
        f"ClosedFormClassifier: `predict_proba` must have method 'cross-entropy' or 'cross-entropy-closed-form'; got "
        f"{self.method!r}, whose outputs are no logits. Use decision_function, or sklearn's CalibratedClassifierCV."
    )


class ClosedFormClassifier(ClassifierMixin, Estimator):
    """A classifier whose last layer is solved in closed form, over any torch backbone.

    Training is that of ``ClosedFormLoss`` with batches drawn anew each epoch; at the end the head is solved once more,
    on all samples. Its scikit-learn interface works with pipelines, grid searches and cross-validation.

    Probabilities: methods of cross-entropy give the softmax that they fit. The squared loss gives none, for its outputs
    are no logits and no scaling of them is right in general; ``decision_function`` has them as they are, and
    ``CalibratedClassifierCV(ClosedFormClassifier())`` makes probabilities on samples held out.

    Args:
        method: "proximal" (squared loss), "cross-entropy-closed-form", or another of
            ``sciml_cf.classification.methods.METHODS``, among them every rule's name; "l2" and "cross-entropy" train
            every layer by gradients. Or a rule with settings of its own, such as ``SampledGCV(dependent=4.0)``.
        backbone: module that maps a batch ``(samples, ...)`` to features ``(samples, F)``, copied before it is trained,
            or a function that makes one from the number of columns (channels). By default a perceptron.
        hidden: widths of that perceptron's layers, the last one F; a number is the width of a single layer.
        strength: of a rule by name, on a mean loss; by default the rule's own.
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

    Example:
        ::

            ClosedFormClassifier("cross-entropy-closed-form", random_state=0).fit(X, y).predict_proba(X)
    """

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
        """Train on samples ``(n, columns)``, or ``(n, ...)`` with a user-supplied backbone, and their labels ``(n,)``.

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
        """Outputs ``(n, classes)``; for two classes ``(n,)``, that of the second less that of the first."""
        outputs = self._outputs(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) <= 2 else outputs

    def predict(self, X: Any) -> np.ndarray:
        """Labels ``(n,)``: the class of the largest output."""
        found = self._own_outputs(X).argmax(axis=1)
        return self.classes_[found]

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities ``(n, classes)``, the softmax of the outputs."""
        return torch.from_numpy(self._own_outputs(X)).softmax(1).numpy()

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of ``predict_proba``."""
        return torch.from_numpy(self._own_outputs(X)).log_softmax(1).numpy()

    def _own_outputs(self, X: Any) -> np.ndarray:
        """``(n, classes)``: without the output that a single class leaves over."""
        outputs = self._outputs(X)
        return outputs[:, : len(self.classes_)]

    def _make_loss(self, layer: nn.Linear) -> ClosedFormLoss:
        return classification_loss(layer, self.method, strength=self.strength, smoothing=self.smoothing)

    def _methods(self) -> tuple[str, ...]:
        return tuple(METHODS)


class ClosedFormRegressor(RegressorMixin, Estimator):
    """A regressor whose last layer is solved in closed form, over any torch backbone.

    As ``ClosedFormClassifier``, with the mean squared error. Targets are scaled to mean zero and standard deviation one
    for the training, each column on its own, so that a strength means the same whatever their unit.

    Args:
        method: "proximal", or another rule by its name, or a rule; "l2" trains every layer by gradients.
        backbone: as in ``ClosedFormClassifier``.
        hidden: as in ``ClosedFormClassifier``.
        strength: as in ``ClosedFormClassifier``.
        algorithm: as in ``ClosedFormClassifier``.
        optimizer: as in ``ClosedFormClassifier``.
        learning_rate: as in ``ClosedFormClassifier``.
        batch_size: as in ``ClosedFormClassifier``.
        epochs: as in ``ClosedFormClassifier``.
        scale_inputs: as in ``ClosedFormClassifier``.
        warm_start: as in ``ClosedFormClassifier``.
        random_state: as in ``ClosedFormClassifier``.

    Attributes:
        model_: as in ``ClosedFormClassifier``; its outputs are scaled targets.
        loss_curve_: as in ``ClosedFormClassifier``.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ClosedFormRegressor:
        """Train on samples ``(n, columns)``, or ``(n, ...)`` with a user-supplied backbone, and targets ``(n,)`` or
        ``(n, outputs)``.

        Raises:
            ValueError: a setting, the samples, the targets or the weights cannot be used.
            TrainingDiverged: the loss left the finite range; the estimator is then as it was before.
        """
        self._check_settings()
        with self._whole():
            X, y, weights = self._validated(X, y, sample_weight, multi_output=True, y_numeric=True)
            again = self._goes_on
            with numbers_alone("ClosedFormRegressor"):
                targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
            if again and (targets.shape[1] != len(self._target_mean) or (y.ndim == 1) != self._one_target):
                raise ValueError(
                    f"ClosedFormRegressor: `y` must have the shape of the fit before with warm_start; got {y.shape}."
                )
            self._one_target = y.ndim == 1
            if not again:
                self._target_mean, self._target_std = mean_and_deviation(targets, weights)
            scaled = torch.from_numpy(((targets - self._target_mean) / self._target_std).astype(X.dtype))
            self._train(X, scaled, weights, targets.shape[1], again)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Targets ``(n,)`` or ``(n, outputs)``, as they were given, in float64."""
        values = self._outputs(X) * self._target_std + self._target_mean
        return values[:, 0] if self._one_target else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _make_loss(self, layer: nn.Linear) -> ClosedFormLoss:
        if self.method == "l2":
            return gradient_loss(layer)
        return ClosedFormLoss(layer, rule_of("ClosedFormRegressor", self.method, strength=self.strength))

    def _methods(self) -> tuple[str, ...]:
        return ("l2", *rule_names())
