"""Random initial conditions whose solution is known at every time: solitons, fronts, vortices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np

from data_gen.equation import KnownSolution
from data_gen.errors import check_count, check_positive
from data_gen.exact_solutions.fronts import fisher_front
from data_gen.exact_solutions.solitons import kdv_solitons
from data_gen.exact_solutions.vortices import abc_flow, taylor_green
from data_gen.grids.periodic import PeriodicGrid
from data_gen.random_fields.streams import check_periodic, sample_stream

#: Largest value of a solution on the whole line at the place of its periodic images, about.
_NEGLIGIBLE = 1e-12
_REACH = -np.log(_NEGLIGIBLE)


def soliton_solutions(*, nonlinearity: float, dispersion: float) -> KnownSolution:
    """Solitons of the Korteweg-de Vries equation, one or two a sample, at random places and of random speeds.

    ::

        one:  c ~ U(slowest, fastest),   x_1 ~ U(0, L)
        two:  c_1 ~ U(lower two fifths of that range), c_2 ~ U(upper two fifths), the faster L / 4 behind the slower

    A sample is the sum of the whole line's solution and its periodic images (``kdv_solitons``), known up to the
    second meeting of two, to about 1e-12.
    """

    def fields(
        grid: PeriodicGrid,
        indices: Iterable[int],
        time: float,
        *,
        seed: int,
        count: Annotated[int, "solitons a sample, 1 or 2"] = 1,
        slowest: Annotated[float, "smallest speed, of the sign of `dispersion`"] = 1.0,
        fastest: Annotated[float, "largest speed"] = 2.0,
    ) -> np.ndarray:
        check(count=count, slowest=slowest, fastest=fastest)
        check_periodic("solitons", grid, seed, 1)
        length, gap = grid.extent, grid.extent / 4 if count == 2 else 0.0
        width = np.sqrt(dispersion / slowest)
        travel = (fastest - slowest) * time if count == 2 else 0.0
        if min(length - gap, length + gap - abs(travel)) < _REACH * width:
            raise ValueError(
                f"solitons: `extent` must leave room for {count} of speed {slowest:g} up to time {time:g}; got "
                f"{length:g}. Use at least {_REACH * width * 4 / (4 - count + 1) + abs(travel):.3g}, or a shorter time."
            )
        result = np.empty((len(indices := list(indices)), 1, grid.num_points))
        for row, index in enumerate(indices):
            stream = sample_stream(seed, index)
            place, draws = stream.random() * length, stream.random(count)
            share = draws if count == 1 else 0.4 * draws + np.array([0.0, 0.6])
            speeds = (slowest + share * (fastest - slowest)).tolist()
            centres = [place] if count == 1 else [place + gap, place]
            reached = [place + speed * time for speed in (0.0, *speeds)]
            images = range(int(np.floor(min(reached) / length)) - 1, int(np.ceil(max(reached) / length)) + 2)
            result[row, 0] = sum(
                kdv_solitons(
                    grid.points + image * length,
                    time,
                    speeds=speeds,
                    centres=centres,
                    nonlinearity=nonlinearity,
                    dispersion=dispersion,
                )
                for image in images
            )
        return result

    def check(*, count: int, slowest: float, fastest: float) -> None:
        check_count("solitons", "count", count)
        check_positive("solitons", "slowest / dispersion", slowest / dispersion)
        check_positive("solitons", "fastest / slowest", fastest / slowest)
        if count > 2 or not abs(slowest) < abs(fastest):
            got = f"{count}, {slowest!r}, {fastest!r}"
            raise ValueError(f"solitons: `count` must be 1 or 2 and `slowest` below `fastest`; got {got}.")

    return KnownSolution(fields, check)


def front_solutions(*, diffusivity: float, rate: float) -> KnownSolution:
    """Pairs of fronts of the Fisher-KPP equation that move apart from the middle between them.

    ::

        u = f(x - x_0 - w - c t) f(x_0 - x - w - c t),   w ~ U(narrowest, widest) L,   x_0 ~ U(0, L)

    with f of ``fisher_front``, a solution up to the difference of each front from 0 or 1 at the other's place.
    """
    steepness = np.sqrt(rate / (6 * diffusivity))
    speed = 5 * np.sqrt(rate * diffusivity / 6)

    def fields(
        grid: PeriodicGrid,
        indices: Iterable[int],
        time: float,
        *,
        seed: int,
        narrowest: Annotated[float, "smallest half-width, of the extent"] = 0.2,
        widest: Annotated[float, "largest half-width, of the extent"] = 0.25,
    ) -> np.ndarray:
        check(narrowest=narrowest, widest=widest)
        check_periodic("fronts", grid, seed, 1)
        length = grid.extent
        left = min(2 * steepness * narrowest * length, 4 * steepness * ((0.5 - widest) * length - speed * time))
        if left < _REACH:
            need = max(_REACH / (2 * steepness * narrowest), (_REACH / (4 * steepness) + speed * time) / (0.5 - widest))
            raise ValueError(
                f"fronts: `extent` must keep the two fronts apart up to time {time:g}; got {length:g}. Use at least "
                f"{need:.3g}, or a shorter time."
            )
        result = np.empty((len(indices := list(indices)), 1, grid.num_points))
        for row, index in enumerate(indices):
            stream = sample_stream(seed, index)
            place, half = stream.random() * length, stream.uniform(narrowest, widest) * length
            x = np.mod(grid.points - place + length / 2, length) - length / 2
            front = {"diffusivity": diffusivity, "rate": rate, "centre": half}
            result[row, 0] = fisher_front(x, time, **front) * fisher_front(-x, time, **front)
        return result

    def check(*, narrowest: float, widest: float) -> None:
        check_positive("fronts", "narrowest", narrowest)
        check_positive("fronts", "widest", widest)
        if not narrowest < widest < 0.5:
            raise ValueError(
                f"fronts: `narrowest` must be below `widest`, below 0.5; got {narrowest!r} and {widest!r}."
            )

    return KnownSolution(fields, check)


def vortex_solutions(*, viscosity: float) -> KnownSolution:
    """Vortices of Taylor and Green of random size, strength and place, which only decay (``taylor_green``).

    w = A 2 k cos(k (x - x_0)) cos(k (y - y_0)) e^(-2 nu k^2 t),  k = 2 pi m / L,  m ~ {1..K},  A ~ U(0, amplitude)
    """

    def fields(
        grid: PeriodicGrid,
        indices: Iterable[int],
        time: float,
        *,
        seed: int,
        max_mode: Annotated[int, "largest mode K"] = 4,
        amplitude: Annotated[float, "largest speed A of the flow"] = 1.0,
    ) -> np.ndarray:
        check(max_mode=max_mode, amplitude=amplitude)
        check_periodic("vortices", grid, seed, 1, max_mode=max_mode)
        if grid.lengths:
            raise ValueError(f"vortices: `extent` must be the same along both axes; got {grid.lengths}.")
        result = np.empty((len(indices := list(indices)), 1, *grid.shape))
        for row, index in enumerate(indices):
            stream = sample_stream(seed, index)
            mode, size = int(stream.integers(1, max_mode + 1)), amplitude * stream.random()
            x0, y0 = stream.random(2) * grid.extent
            settings = {"viscosity": viscosity, "extent": grid.extent, "mode": mode}
            x, y = grid.axis_points[1] - x0, grid.axis_points[0][:, None] - y0
            result[row, 0] = size * taylor_green(x, y, time, **settings)
        return result

    def check(*, max_mode: int, amplitude: float) -> None:
        check_count("vortices", "max_mode", max_mode)
        check_positive("vortices", "amplitude", amplitude)

    return KnownSolution(fields, check)


def beltrami_solutions(*, viscosity: float) -> KnownSolution:
    """Flows of Arnold, Beltrami and Childress of random strength, size, handedness and place (``abc_flow``).

    k = +-2 pi m / L,  m ~ {1..K},  A, B, C ~ U(-amplitude, amplitude)
    """

    def fields(
        grid: PeriodicGrid,
        indices: Iterable[int],
        time: float,
        *,
        seed: int,
        max_mode: Annotated[int, "largest mode K"] = 2,
        amplitude: Annotated[float, "largest amplitude of a component"] = 1.0,
    ) -> np.ndarray:
        check(max_mode=max_mode, amplitude=amplitude)
        check_periodic("beltrami", grid, seed, 3, max_mode=max_mode)
        if grid.lengths:
            raise ValueError(f"beltrami: `extent` must be the same along all axes; got {grid.lengths}.")
        result = np.empty((len(indices := list(indices)), 3, *grid.shape))
        for row, index in enumerate(indices):
            stream = sample_stream(seed, index)
            mode = int(stream.integers(1, max_mode + 1)) * (1 if stream.random() < 0.5 else -1)
            sizes = tuple((amplitude * (2 * stream.random(3) - 1)).tolist())
            axes = zip(grid.axis_points, stream.random(3), strict=True)
            z, y, x = np.meshgrid(*(points - place * grid.extent for points, place in axes), indexing="ij")
            result[row] = abc_flow(x, y, z, time, viscosity=viscosity, amplitudes=sizes, extent=grid.extent, mode=mode)
        return result

    def check(*, max_mode: int, amplitude: float) -> None:
        check_count("beltrami", "max_mode", max_mode)
        check_positive("beltrami", "amplitude", amplitude)

    return KnownSolution(fields, check)
