"""A data file, native or foreign, as a torch dataset of input and output fields, at a dividing resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_gen.equation import Equation
from data_gen.formats import Facts, Source, open_source
from data_gen.formats.every_time import TIME
from data_gen.formats.overrides import STEPS
from data_gen.header import Header
from sciml_cf.datasets.choices import Sampling, Split
from sciml_cf.datasets.conditions import condition_values, range_of
from sciml_cf.datasets.geometry import Geometry, law_of_one
from sciml_cf.datasets.missing import filled, known_values, target_means
from sciml_cf.datasets.open_file import OpenFile
from sciml_cf.datasets.reading import SampleReader, check_sampling
from sciml_cf.datasets.splits import SPLIT_SEED, rows_of_split
from sciml_cf.datasets.steps import Steps, arranged_by
from sciml_cf.datasets.views import View
from sciml_cf.errors import check_choice, check_count, in_one_line

_BLOCK_ROWS = 64  # samples of which the linear part of the equation is solved at a time


class FieldDataset(Geometry, Dataset[dict[str, Tensor]]):
    """Items ``{"x": (C, *N), "y": (C', *N)}`` of one split at the resolution asked for, in memory or read when asked
    for.

    With ``facts.condition`` the inputs have a constant channel for each of these scalars, after their own.

    With ``facts.mask``, missing inputs are zeros, a last channel of the inputs is 1 where they are known, and the items
    have "weights" ``(*N)``, which are 1 where the target is known and else 0.

    Args:
        path: a dataset file written by ``data_gen.generate``, or any that ``data_gen.formats.open_source`` opens.
        split: "train", "validation", "test" or "all".
        resolution: grid points along the last axis, a divisor of the stored resolution; the other axes are taken
            coarser by the same factor. None keeps the stored one.
        sampling: "strided" takes every k-th point, as the paper does; "fourier" cuts the spectrum.
        inputs: names of stored fields, joined along the channel axis; by default the file's own.
        targets: names of stored fields, likewise.
        input_time: stored time of the inputs; by default the file's own, or 0.
        target_time: stored time of the targets; by default the file's own, or the last one.
        unroll: how many outputs of a model, each of ``facts.output_steps``, a target holds.
        split_seed: seed of the permutation that splits the samples.
        facts: what a file of another format does not say about itself.
        format: its format, by default recognized from its content.
        lazy: read samples from the file when they are asked for, in this process or in those that get a copy, and
            check them then; only where values may be missing, the targets are passed over at once. The file must not
            change.

    Raises:
        DatasetError: the file is missing, unreadable, lacks something that ``facts`` must give, or holds values that
            are not finite.
        ValueError: the resolution does not divide the stored one; a name, time or condition is unknown.

    Attributes:
        x: ``(S, C, *N)``, all inputs, in the default dtype; in float64 where float32 would round away the differences
            between grid points (a mean far above the deviation) or overflow, which one line of the log says. Of a lazy
            dataset they are views (sciml_cf.datasets.views), which read the parts that are taken from them.
        y: ``(S, C', *N)``, all targets, likewise.
        known: ``(S, *N)``, true where the target is known; None without ``facts.mask``.
        indices: ``(S,)`` the samples' row numbers in the file.
        conditions: the scalars of each sample that its inputs have channels for, ``(S,)`` float64 by name.
        stored_resolution: points along the last axis of the file's own grid.
        blocks: of a lazy dataset the numbers of the samples with which blocks start that are best read together; None
            of one in memory.
    """

    x: Tensor
    y: Tensor
    known: Tensor | None
    blocks: np.ndarray | None = None

    def __init__(
        self,
        path: str | Path,
        split: Split,
        *,
        resolution: int | None = None,
        sampling: Sampling = "strided",
        inputs: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        input_time: float | None = None,
        target_time: float | None = None,
        unroll: int = 1,
        split_seed: int = SPLIT_SEED,
        facts: Facts | None = None,
        format: str | None = None,
        lazy: bool = False,
    ) -> None:
        check_choice("FieldDataset", "split", split, ("train", "validation", "test", "all"))
        check_choice("FieldDataset", "sampling", sampling, ("strided", "fourier"))
        check_count("FieldDataset", "unroll", unroll)
        self.path, self.split, self.split_seed = Path(path), split, split_seed
        if unroll > 1:  # windows are cut then, and the run records it
            facts = replace(facts or Facts(), stride=(facts.stride if facts else None) or 1)
        self.facts, self.format, self.unroll, self.lazy = facts, format, unroll, lazy
        self.masked = facts is not None and facts.mask is not None
        try:
            file = OpenFile(self.path, format=format, facts=_unrolled(facts, unroll))
        except ValueError as error:
            if unroll == 1:
                raise
            raise ValueError(f"FieldDataset: `unroll` must fit the trajectories; got {unroll} ({error})") from None
        try:
            self._describe(file.source, resolution, sampling)
            self._durations = self._durations_of(file.source, input_time, target_time)
            self._reader = self._reader_of(file, inputs, targets, (input_time, target_time), sampling)
            self._num_states = self._reader.channels("x")
            self._take_fields()
        except BaseException:
            file.close()
            raise
        if not lazy:
            file.close()

    def _describe(self, data: Source, resolution: int | None, sampling: Sampling) -> None:
        """Take over what the file says, and which of its samples and points are asked for."""
        self._checksum = None if self.lazy else self._checksum_of(data)
        self._take_grid("FieldDataset", data.header, data.equation, resolution)
        check_sampling(sampling, self.periodic, self._header.boundary, self._header.shape)
        data.check_rows(data.num_samples)
        self.indices = rows_of_split(data, self.split, self.split_seed)
        self.windows_of_a_trajectory = getattr(data, "rows_together", 1)
        self.conditions = self._conditions_of(data)

    def _reader_of(
        self,
        file: OpenFile,
        inputs: Sequence[str] | None,
        targets: Sequence[str] | None,
        times: tuple[float | None, float | None],
        sampling: Sampling,
    ) -> SampleReader:
        data = file.source
        default = data.input_name if times[0] is None else data.target_name  # the input's name has one time
        reader = SampleReader(
            file,
            self.indices,
            {"x": tuple(inputs or (default,)), "y": tuple(targets or (data.target_name,))},
            {"x": times[0], "y": times[1]},
            sampling=sampling,
            resolution=self.resolution,
            stride=self._stride,
            masked=self.masked,
        )
        if self.conditions:
            reader.constants = np.stack([*self.conditions.values()], axis=1)
        return reader

    def _take_fields(self) -> None:
        """Fill x, y and known: with all samples, or with views that read them."""
        every = np.arange(len(self.indices))
        if self.lazy:
            if self.masked and self._reader.fill is None:
                self._reader.measure_fill()
            self.x, self.y, self.known = self._views()
            self.blocks = self._reader.blocks
            return
        x, y = self._reader.batch(every, "x")["x"], self._reader.fields(every, "y")[0]
        self.known = None
        if self.masked:
            self.known = torch.from_numpy(known_values(y))
            self._reader.check_known(every, y)
            y = filled(y, target_means([y]))
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def _views(self) -> tuple[Any, Any, Any]:
        """x, y and known as views; they offer what this package uses of tensors."""
        points = tuple(axis.size for axis in self.coordinates)

        def view(name: str, kind: str, channels: tuple[int, ...], dtype: torch.dtype) -> View:
            shape = (len(self.indices), *channels, *points)
            return View(shape, dtype, lambda rows: torch.from_numpy(self._reader.batch(rows, kind)[name]))

        reader = self._reader
        wide = self._num_states + len(self.conditions) + self.masked
        x, y = ((reader.channels(kind), reader.dtype(kind)) for kind in ("x", "y"))
        known = view("known", "y", (), torch.bool) if self.masked else None
        return view("x", "x", (wide,), x[1]), view("y", "y", (y[0],), y[1]), known

    def __getstate__(self) -> dict[str, Any]:
        """Plain values; a lazy dataset goes to another process without its fields, which that one reads for itself."""
        left = {"_equation", *(("x", "y", "known") if self.lazy else ())}
        kept = {name: value for name, value in self.__dict__.items() if name not in left}
        return {**kept, "_header": self._header.to_json()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._header = Header.from_json(state["_header"])
        self._equation = self._header.make_equation()
        if self.lazy:
            self.x, self.y, self.known = self._views()

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        """Split, samples, shapes, fields, grid, precision and path; reads nothing."""

        def text() -> str:
            shapes = ", ".join(f"{name} {tuple(getattr(self, name).shape[1:])}" for name in ("x", "y"))
            types = " and ".join(dict.fromkeys(str(part.dtype).rpartition(".")[2] for part in (self.x, self.y)))
            where = "read when asked for" if self.lazy else "in memory"
            return (
                f"{self.split}, {len(self)} samples of {self._header.name}: {shapes}; {self._header.fields_in_words}; "
                f"{self._grid_in_words()}; {types}, {where}; from {self.path}"
            )

        return in_one_line(self, text)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if self.lazy:
            return self.__getitems__([range(len(self))[index]])[0]
        item = {"x": self.x[index], "y": self.y[index]}
        return item if self.known is None else {**item, "weights": self.known[index].to(self.y.dtype)}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """Items by their numbers, of a lazy dataset read together."""
        if not self.lazy:
            return [self[index] for index in indices]
        batch = self.batch(np.asarray(indices))
        return [{name: values[place] for name, values in batch.items()} for place in range(len(indices))]

    def batch(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """Items by their numbers ``(B,)``, in any order, as one batch ``{"x": (B, C, *N), "y": (B, C', *N)}``."""
        if self.lazy:
            distinct, place = np.unique(numbers, return_inverse=True)
            read = {name: torch.from_numpy(part) for name, part in self._reader.batch(distinct).items()}
        else:
            place = np.asarray(numbers)
            read = {"x": self.x, "y": self.y} | ({} if self.known is None else {"known": self.known})
        same = self.lazy and np.array_equal(place, np.arange(len(place)))
        found = read if same else {name: part[torch.from_numpy(place.reshape(-1))] for name, part in read.items()}
        if "known" in found:
            found["weights"] = found.pop("known").to(found["y"].dtype)
        return found

    @property
    def checksum(self) -> str:
        """That of the fields, equal for equal ones; that of a foreign file costs a pass over it."""
        if self._checksum is None:
            self._checksum = self._checksum_of(self._reader.file.source)
        return self._checksum

    def _checksum_of(self, data: Source) -> str:
        """That of the fields with targets of one output, whatever the roll-out in training."""
        if self.unroll == 1:
            return data.checksum
        with open_source(self.path, format=self.format, facts=self.facts) as single:
            return single.checksum

    def _first_law(self) -> Equation | None:
        with open_source(self.path, format=self.format, facts=self.facts) as source:
            laws = getattr(source, "equations", None)
            return self._equation if laws is None else law_of_one(laws(slice(0, 1)))

    def _conditions_of(self, data: Source) -> dict[str, np.ndarray]:
        names = () if self.facts is None else self.facts.condition
        return {name: values[self.indices] for name, values in condition_values(data, names).items()}

    def _durations_of(self, data: Source, input_time: float | None, target_time: float | None) -> np.ndarray:
        """``(S,)``, time from each input to its target."""
        if TIME in data.table:
            return data.table[TIME][self.indices]
        first = data.times[0] if input_time is None else input_time
        last = data.times[-1] if target_time is None else target_time
        return np.full(len(self.indices), last - first)

    @property
    def windows(self) -> dict[str, dict[str, int]]:
        """Description of windows for run.json, so that data are cut for the run as they were for its training."""
        if self.facts is None or not self.facts.cuts_windows:
            return {}
        return {"windows": {name: getattr(self.facts, name) or 1 for name in STEPS}}

    @property
    def states(self) -> Tensor:
        """``(S, C, *N)``, the inputs without the channels of conditions and of the mask."""
        return self._channels(slice(self._num_states))

    @property
    def steps(self) -> Steps | None:
        """How states and their channels are arranged, for a model that maps states to later ones; None for others."""
        header, given = self._header, self.facts or Facts()
        if header.steady or given.takes_every_time:
            return None
        if given.cuts_windows:
            return arranged_by(given, len(header.inputs) // (given.input_steps or 1))
        return Steps(components=len(header.channels)) if header.inputs == header.channels else None

    @property
    def time_step(self) -> float | None:
        """Time from one state to the next, as a model makes it; None where it makes no steps."""
        if self.steps is None or np.ptp(self._durations):
            return None
        return float(self._durations[0]) / (self.steps.outputs * self.unroll)

    @property
    def described(self) -> dict[str, Any]:
        """Description of the data for run.json, so that other data are cut in the same way."""
        conditions = {"conditions": range_of(self.conditions)} if self.conditions else {}
        step = {} if self.time_step is None else {"time_step": self.time_step}
        return {"problem": self.problem, **self.ends, **self.windows, **conditions, **step}

    @property
    def unchanged(self) -> Tensor | None:
        """``(S, C', *N)``, the last state of each input in the place of each state of the target; None for other
        fields.
        """
        steps = self.steps
        if self.one_field:
            return self.states
        return None if steps is None or self.unroll > 1 else self._channels(list(steps.residual))

    def _channels(self, chosen: slice | list[int]) -> Tensor:
        """Some channels of the inputs, ``(S, C', *N)``."""
        if isinstance(self.x, Tensor):
            return self.x[:, chosen]
        return self.x.map(lambda x: x[:, chosen])

    @property
    def one_field(self) -> bool:
        """Whether input and target are one field at two times."""
        header = self._header
        return header.inputs == header.channels and bool((self._durations > 0).all()) and self._same_shape

    @property
    def _same_shape(self) -> bool:
        return self.states.shape == self.y.shape

    def linear_solution(self) -> Tensor | None:
        """What the linear part of the equation alone makes of the inputs (for Burgers the heat kernel); None if x
        is not one field of the shape of y, or the equation or its grid is unknown.

        ::

            y_k = exp(L(k) t) x_k
        """
        if not self._same_shape or self._equation is None or self._equation.steady or not self.periodic:
            return None
        if self._equation.num_dims != self._header.num_dims:
            return None
        if self.lazy:
            shape = (len(self), *self.states.shape[1:])
            view = View(shape, self.y.dtype, lambda rows: self._solved(rows, self.states[rows]))
            return cast(Tensor, view)
        every = np.arange(len(self))
        blocks = np.split(every, range(_BLOCK_ROWS, len(every), _BLOCK_ROWS))
        return torch.cat([self._solved(rows, self.states[rows]) for rows in blocks])

    def _solved(self, rows: np.ndarray, states: Tensor) -> Tensor:
        """The linear part of the equation alone, from the states of some samples to their targets' times."""
        grid = self.grid
        rates = cast(Equation, self._equation).symbol(*grid.wavevector)
        durations = self._durations[rows].reshape(-1, 1, *[1] * grid.num_dims)
        modes = grid.to_modes(states.double().numpy())
        return torch.from_numpy(grid.to_points(np.exp(rates * durations) * modes)).to(self.y.dtype)


def _unrolled(facts: Facts | None, unroll: int) -> Facts | None:
    """The same, with so many outputs one after the other in a target."""
    if unroll == 1 or facts is None:
        return facts
    return replace(facts, output_steps=(facts.output_steps or 1) * unroll)
