"""The user's nets as feature maps, and batches of rows for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sciml_cf.causal.checks import Observations

_CHUNK = 1024  # rows of a forward pass without gradients


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of observations: treatment, instrument and covariates ``(n, ...)``, outcome ``(n, q)``, weights ``(n,)`` or
    None.
    """

    treatment: Tensor
    instrument: Tensor
    outcome: Tensor
    covariates: Tensor | None
    weights: Tensor | None

    @classmethod
    def of(cls, data: Observations, outcome: Tensor) -> Batch:
        """All observations, with another outcome ``(n, q)``."""
        return cls(data.treatment, data.instrument, outcome, data.covariates, data.weights)

    def __len__(self) -> int:
        return len(self.outcome)

    def take(self, index: Tensor | list[int] | slice) -> Batch:
        """Some of the rows."""
        return Batch(*(None if part is None else part[index] for part in self._parts()))  # pyright: ignore

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(None if part is None else part.to(device) for part in self._parts()))  # pyright: ignore

    def chunks(self) -> Iterator[Batch]:
        """All rows in order, so many at a time as a forward pass without gradients takes."""
        for start in range(0, len(self), _CHUNK):
            yield self.take(slice(start, start + _CHUNK))

    def with_inputs(self, treatment: Tensor, covariates: Tensor | None) -> Batch:
        """The same rows with other treatments and covariates."""
        return replace(self, treatment=treatment, covariates=covariates)

    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.treatment, self.instrument, self.outcome, self.covariates, self.weights


class Nets:
    """psi(treatment), phi(instrument, covariates) and xi(covariates), each ``(n, features)``.

    A treatment ``(n,)`` enters its net as ``(n, 1)``, and so do the others. The instrument net sees the covariates too,
    as stage 1 is an expectation given both: tables (n, k) side by side as one table, anything else as a second
    argument. Without a covariate net the covariates are their own features, flattened.
    """

    def __init__(self, function: str, treatment: nn.Module, instrument: nn.Module, covariate: nn.Module | None) -> None:
        self.function = function
        self.modules = {"treatment_net": treatment, "instrument_net": instrument}
        if covariate is not None:
            self.modules["covariate_net"] = covariate

    @property
    def device(self) -> torch.device:
        """Where the treatment net lives; the nets must be together."""
        parameter = next(self.modules["treatment_net"].parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def train_only(self, name: str | None) -> None:
        """Training mode for one net, evaluation mode for the others (batch norm and dropout heed it)."""
        for other, module in self.modules.items():
            module.train(other == name)

    def psi(self, batch: Batch) -> Tensor:
        """Features of the treatment."""
        return self._apply("treatment_net", batch.treatment)

    def phi(self, batch: Batch) -> Tensor:
        """Features of the instrument and the covariates."""
        if batch.covariates is None:
            return self._apply("instrument_net", batch.instrument)
        z, o = _columns(batch.instrument), _columns(batch.covariates)
        if z.ndim == o.ndim == 2:
            dtype = torch.promote_types(z.dtype, o.dtype)
            return self._apply("instrument_net", torch.cat([z.to(dtype), o.to(dtype)], dim=1))
        return self._apply("instrument_net", z, o)

    def xi(self, batch: Batch) -> Tensor | None:
        """Features of the covariates, None without any."""
        if batch.covariates is None:
            return None
        if "covariate_net" not in self.modules:
            return batch.covariates.flatten(1) if batch.covariates.ndim > 1 else batch.covariates[:, None]
        return self._apply("covariate_net", batch.covariates)

    @torch.no_grad()
    def probe(self, batch: Batch) -> tuple[int, int, int | None]:
        """Numbers of features of treatment, instrument and covariates, None without any; in evaluation mode.

        Raises:
            ValueError: a net cannot take its rows, or gives no table of features.
        """
        self.train_only(None)
        sizes = []
        for name, features in (("treatment_net", self.psi), ("instrument_net", self.phi), ("covariate_net", self.xi)):
            try:
                found = features(batch)
            except RuntimeError as error:
                reason = str(error).splitlines()[0][:160]
                raise ValueError(f"{self.function}: `{name}` must take the rows it is given; {reason}.") from error
            sizes.append(None if found is None else found.shape[1])
        return sizes[0], sizes[1], sizes[2]

    def _apply(self, name: str, *inputs: Tensor) -> Tensor:
        module = self.modules[name]
        parameter = next((p for p in module.parameters() if p.is_floating_point()), None)
        given = [_columns(one) for one in inputs]
        if parameter is not None:
            given = [one.to(parameter.dtype) for one in given]
        features = module(*given)
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(inputs[0]):
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(
                f"{self.function}: `{name}` must map {tuple(given[0].shape)} to features (n, F), one row each; got "
                f"{shape}. End it with a layer whose output is a table, such as nn.Flatten() or nn.Linear."
            )
        return features


def _columns(values: Tensor) -> Tensor:
    return values[:, None] if values.ndim == 1 else values
