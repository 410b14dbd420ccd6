"""Training and test data of instrumental-variable methods, each in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from data_gen.formats.arrays_hdf5 import read_arrays, write_arrays
from sciml_cf.errors import DatasetError, check_count


@dataclass(frozen=True, eq=False, kw_only=True)
class _Samples:
    """Arrays of as many samples each; see the two kinds below."""

    law: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None

    kind: ClassVar[str]
    required: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        where = type(self).__name__
        for name in (*self.required, *self.optional):
            given = getattr(self, name)
            if given is not None or name in self.required:
                object.__setattr__(self, name, _numbers(where, name, given))
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))
        rows = len(self)
        for name, array in self.arrays.items():
            if len(array) != rows:
                raise ValueError(
                    f"{where}: `{name}` must have {rows} rows, as the treatment has; got {len(array)}. "
                    "One row is one sample."
                )

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.arrays["treatment"])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by name."""
        found = {name: getattr(self, name) for name in (*self.required, *self.optional)}
        return {name: array for name, array in found.items() if array is not None}

    def take(self, rows: Any) -> Self:
        """The samples of these rows: indices, a slice or a mask."""
        return replace(self, **{name: array[rows] for name, array in self.arrays.items()})

    def split(self, first: int, *, seed: int = 0) -> tuple[Self, Self]:
        """Two disjoint parts of all samples, drawn by one seeded permutation, in the order of the whole.

        Args:
            first: samples of the first part, fewer than all.
            seed: of the permutation.

        Raises:
            ValueError: one of the parts would be empty.
        """
        where = f"{type(self).__name__}.split"
        check_count(where, "first", first)
        check_count(where, "seed", seed, minimum=0)
        if first >= len(self):
            raise ValueError(f"{where}: `first` must be below the {len(self)} samples there are; got {first}.")
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(np.sort(order[:first])), self.take(np.sort(order[first:]))

    def save(self, path: str | Path) -> Path:
        """Write one HDF5 file that says what it holds: arrays, law, parameters, seed, versions and a checksum.

        It appears under its name when it is whole; one that is there is replaced. h5py and xarray open it directly.
        """
        facts = {"law": self.law, "parameters": dict(self.parameters), "seed": self.seed}
        return write_arrays(path, self.arrays, kind=self.kind, facts=facts)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file of ``save``.

        Raises:
            DatasetError: it is missing, truncated, of another kind, or not what was written.
        """
        arrays, facts = read_arrays(path, kind=cls.kind)
        known = {one.name for one in fields(cls)}
        try:
            if not {*arrays, *facts} <= known:
                raise ValueError(f"unknown entries {', '.join(sorted({*arrays, *facts} - known))}")
            return cls(**arrays, **facts)
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{cls.__name__}.load: {path} does not hold {cls.kind} ({error}).") from None


@dataclass(frozen=True, eq=False, kw_only=True)
class InstrumentalData(_Samples):
    """Samples to learn a structural function from, where the treatment and the outcome share hidden causes.

    ::

        outcome = f(treatment, covariates) + e,      E[e | instrument, covariates] = 0,      E[e | treatment] != 0

    Arrays may be given as anything that numpy takes, and torch tensors too; they become float32 or float64 (what they
    are, if they are one of these). Booleans and integers become float64.

    Attributes:
        treatment: ``(n,)`` or ``(n, ...)``, such as ``(n, 64, 64)`` of images.
        instrument: ``(n,)`` or ``(n, ...)``.
        outcome: ``(n,)`` or ``(n, outputs)``.
        covariates: ``(n,)`` or ``(n, ...)``, causes of treatment and outcome that are seen; None without any.
        structural: f at the treatments, free of noise, as the outcome is shaped; None where it is not known.
        law: how the samples come about, in words.
        parameters: the numbers of the law, by name; plain values.
        seed: of the random draws, or None.

    Raises:
        ValueError: lengths differ, an array is empty or has NaN or Inf, or the shape of an outcome does not fit.
        TypeError: an array is not of numbers.
    """

    treatment: np.ndarray
    instrument: np.ndarray
    outcome: np.ndarray
    covariates: np.ndarray | None = None
    structural: np.ndarray | None = None

    kind = "instrumental data"
    required = ("treatment", "instrument", "outcome")
    optional = ("covariates", "structural")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_outputs("InstrumentalData", "outcome", self.outcome)
        if self.structural is not None and self.structural.shape != self.outcome.shape:
            raise ValueError(
                f"InstrumentalData: `structural` must be shaped as the outcome, {self.outcome.shape}; "
                f"got {self.structural.shape}."
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class StructuralData(_Samples):
    """Treatments at which the structural function is known, to measure an estimate of it on.

    Attributes:
        treatment: ``(n,)`` or ``(n, ...)``.
        structural: ``(n,)`` or ``(n, outputs)``, f at the treatments (and covariates).
        covariates: ``(n,)`` or ``(n, ...)``, or None.
        law: as in ``InstrumentalData``.
        parameters: as in ``InstrumentalData``.
        seed: as in ``InstrumentalData``.

    Raises:
        ValueError, TypeError: as for ``InstrumentalData``.
    """

    treatment: np.ndarray
    structural: np.ndarray
    covariates: np.ndarray | None = None

    kind = "structural data"
    required = ("treatment", "structural")
    optional = ("covariates",)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_outputs("StructuralData", "structural", self.structural)


def _numbers(where: str, name: str, given: Any) -> np.ndarray:
    """An array of floating numbers, all finite."""
    if hasattr(given, "detach"):
        given = given.detach().cpu()
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{where}: `{name}` must be an array of numbers; got {array.dtype}. Encode words as numbers.")
    if array.ndim == 0 or array.size == 0:
        raise ValueError(f"{where}: `{name}` must have a row for each sample, at least one; got shape {array.shape}.")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{where}: `{name}` must be finite; got NaN or Inf in {np.count_nonzero(~finite)} of {len(array)} rows, "
            f"the first of them row {int(finite.argmin())}. Leave these samples out."
        )
    return array


def _check_outputs(where: str, name: str, array: np.ndarray) -> None:
    if array.ndim > 2:
        raise ValueError(f"{where}: `{name}` must be (n,) or (n, outputs); got {array.shape}.")
