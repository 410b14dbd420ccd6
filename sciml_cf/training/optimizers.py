"""Optimizers of the backbone: by name or user-supplied, with their rate and the treatment of gradients."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from sciml_cf.training.clipping import clip_by_unit
from sciml_cf.training.config import FitConfig
from sciml_cf.training.distributed import mean
from sciml_cf.training.real_views import RealViews
from sciml_cf.training.schedules import learning_rate

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
MakeSchedule = Callable[[torch.optim.Optimizer], LRScheduler]
_COMPLEX = ("sgd", "adam", "adamw")  # of the names, those that take complex parameters as they are
_LOG = logging.getLogger(__name__)


class Descent:
    """The optimizer of a model's backbone and all that its steps need.

    Args:
        fabric: of Lightning.
        model: moved to its device; its parameters that require a gradient are the backbone.
        config: with the defaults written out (``FitConfig.resolved``).
        optimizer: makes a user-supplied optimizer, in place of the one that the configuration names. Complex
            parameters come to it as real ones of shape ``(..., 2)``.
        schedule: makes torch's schedule for it, in place of the configuration's; it advances with every step.

    Raises:
        ValueError: no parameter requires a gradient and no head is solved; or the optimizer holds other parameters.
        TypeError: what was made is no optimizer, or no schedule.
        ImportError: the optimizer's package is missing.

    Attributes:
        model: the model for forward passes, wrapped under torchrun.
        described: entries of run.json that replace those of the configuration.
        asks_again: whether a step evaluates the loss several times (L-BFGS): it is taken by ``minimise``.
    """

    def __init__(
        self,
        fabric: Any,
        model: nn.Module,
        config: FitConfig,
        optimizer: MakeOptimizer | None = None,
        schedule: MakeSchedule | None = None,
    ) -> None:
        self._fabric, self._raw_model, self._config = fabric, fabric.to_device(model), config
        parameters = [one for one in model.parameters() if one.requires_grad]
        self._moves = bool(parameters)
        if not self._moves:
            _check_head_is_solved(config)
            parameters = [nn.Parameter(torch.zeros(1))]
        if config.weight_decay and config.method != "l2":
            _LOG.info("fit: weight decay acts on the backbone alone: the head is solved and has none")
        self._views, made = _made(parameters, config, optimizer)
        self._rates: list[float] = [group["lr"] for group in made.param_groups]
        self._schedule = None if schedule is None else _own_schedule(made, schedule)
        own = {} if optimizer is None else {"optimizer": _name_of(made), "learning_rate": self.peak_rate}
        self.described = own if self._schedule is None else {**own, "schedule": _name_of(self._schedule)}
        self.asks_again = _needs_closure(made)
        self.model, self._optimizer = fabric.setup(model, made) if self._moves else (model, made)

    @property
    def peak_rate(self) -> float:
        """The learning rate that a schedule starts from, of the first group of parameters."""
        return float(self._rates[0])

    @property
    def rate(self) -> float:
        """The present learning rate, that of the first group of parameters."""
        return float(self._optimizer.param_groups[0]["lr"])

    def set_rate(self, step: int, steps_per_epoch: int, errors: Sequence[float]) -> None:
        """Take the rate of a step, see ``learning_rate``; a schedule of torch's keeps its own."""
        if self._schedule is None:
            for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
                group["lr"] = learning_rate(self._config, step, steps_per_epoch, errors, rate=rate)

    def __call__(self, loss: Tensor) -> None:
        """Move the backbone down a loss."""
        self._drop_gradients()
        if loss.requires_grad and self._moves:
            self._gather_gradients(loss)
            self._optimizer.step()
            self._advance()

    def minimise(self, loss_at: Callable[[], Tensor]) -> Tensor:
        """One step of an optimizer that evaluates the loss several times; the first value, detached.

        Args:
            loss_at: the loss of the backbone as it then is, with its graph.
        """
        if not self._moves:
            return loss_at().detach()

        def closure() -> Any:
            self._drop_gradients()
            loss = loss_at()
            self._gather_gradients(loss)
            return mean(loss.detach())  # the same in every process, as line searches must decide alike

        first: Any = self._optimizer.step(closure)
        self._advance()
        return torch.as_tensor(first).detach()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        schedule = {} if self._schedule is None else {"schedule": self._schedule.state_dict()}
        return {"optimizer": self._optimizer.state_dict(), **schedule}

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self._optimizer.load_state_dict(content["optimizer"])
        if self._schedule is not None:
            self._schedule.load_state_dict(content["schedule"])

    def _drop_gradients(self) -> None:
        self._optimizer.zero_grad()
        self._views.drop_gradients()

    def _gather_gradients(self, loss: Tensor) -> None:
        """The backward pass, and what is done to gradients before the step."""
        config = self._config
        self._fabric.backward(loss)
        if config.adaptive_clip is not None:
            clip_by_unit(self._raw_model, config.adaptive_clip)
        self._views.take_gradients()
        if config.clip is not None:
            self._fabric.clip_gradients(self.model, self._optimizer, max_norm=config.clip, error_if_nonfinite=False)

    def _advance(self) -> None:
        if self._schedule is not None:
            self._schedule.step()


def _made(
    parameters: list[nn.Parameter], config: FitConfig, optimizer: MakeOptimizer | None
) -> tuple[RealViews, torch.optim.Optimizer]:
    """An optimizer, and the real views through which it moves complex parameters."""
    if optimizer is None and config.optimizer in _COMPLEX:
        return RealViews([]), named_optimizer(parameters, config)
    views = RealViews(parameters)
    if optimizer is None:
        return views, named_optimizer(views.parameters, config)
    return views, _own_optimizer(views.parameters, optimizer)


def named_optimizer(parameters: list[nn.Parameter], config: FitConfig) -> torch.optim.Optimizer:
    """The optimizer that a configuration names, on these parameters.

    Raises:
        ImportError: "soap" without the package pytorch_optimizer.
    """
    words: dict[str, Any] = {"lr": config.learning_rate}
    if config.weight_decay is not None:
        words["weight_decay"] = config.weight_decay
    if config.betas is not None:
        words["betas"] = tuple(config.betas)
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **words)
    if config.optimizer == "soap":
        return _soap()(parameters, **{"weight_decay": 0.0, **words})
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer](parameters, **words)


def check_optimizer(name: str) -> None:
    """Raise ImportError where the package of an optimizer is missing."""
    if name == "soap":
        _soap()


def _soap() -> Callable[..., torch.optim.Optimizer]:
    try:
        from pytorch_optimizer import SOAP  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            "fit: `optimizer` must be one whose package is installed; got 'soap' without pytorch_optimizer. Install "
            "it: pip install 'sciml-cf[soap]'."
        ) from None
    return SOAP


def _own_optimizer(parameters: list[nn.Parameter], make: MakeOptimizer) -> torch.optim.Optimizer:
    made = make(parameters)
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(
            f"fit: `optimizer` must map parameters to a torch.optim.Optimizer; got a {type(made).__name__}. Try "
            "lambda parameters: torch.optim.NAdam(parameters, lr=1e-3)."
        )
    known = {id(one) for one in parameters}
    others = sum(id(one) not in known for group in made.param_groups for one in group["params"])
    if others:
        raise ValueError(
            f"fit: `optimizer` must hold none but the parameters it is given, those of the backbone; got {others} "
            "others. Make it of its argument."
        )
    return made


def _own_schedule(optimizer: torch.optim.Optimizer, make: MakeSchedule) -> LRScheduler:
    made = make(optimizer)
    if not isinstance(made, LRScheduler):
        raise TypeError(
            f"fit: `schedule` must map an optimizer to a torch.optim.lr_scheduler.LRScheduler; got a "
            f"{type(made).__name__}."
        )
    if isinstance(made, ReduceLROnPlateau):
        raise ValueError(
            "fit: `schedule` must need no validation error; got ReduceLROnPlateau. Use the configuration's "
            "schedule='plateau'."
        )
    return made


def _needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step of the optimizer must be given a function that evaluates the loss."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _name_of(made: object) -> str:
    return f"{type(made).__module__.removeprefix('torch.')}.{type(made).__qualname__}"


def _check_head_is_solved(config: FitConfig) -> None:
    """Without parameters that require a gradient (a frozen backbone), only a head in closed form can be trained."""
    if config.method == "l2":
        raise ValueError(
            "fit: `model` must have parameters that require a gradient with method 'l2'; got none. Unfreeze some, or "
            "choose a method that solves the head."
        )
    _LOG.info("fit: the backbone has no parameter that requires a gradient; only the head is solved.")
