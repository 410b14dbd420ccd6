"""Solitons and traveling waves: each satisfies its equation, and has the speed, height and limits of its kind."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from data_gen import fisher_front, kdv_solitons

X = np.linspace(-30, 30, 601)


def hirota(x: float, time: float, speeds: list[float], centres: list[float]) -> float:
    """Two solitons by differentiating log F twice, in 40 digits."""
    with mpmath.workdps(40):
        k, n = (mpmath.sqrt(c) for c in speeds)

        def log_f(y: mpmath.mpf) -> mpmath.mpf:
            e1 = mpmath.exp(k * (y - centres[0] - speeds[0] * mpmath.mpf(time)))
            e2 = mpmath.exp(n * (y - centres[1] - speeds[1] * mpmath.mpf(time)))
            return mpmath.log(1 + e1 + e2 + ((k - n) / (k + n)) ** 2 * e1 * e2)

        return float(2 * mpmath.diff(log_f, x, 2))


def test_one_soliton_has_its_closed_form() -> None:
    u = kdv_solitons(X, 0.7, speeds=[1.7], centres=[-2.0], nonlinearity=3.0, dispersion=0.5)
    s = np.sqrt(1.7 / 0.5) / 2 * (X + 2 - 1.7 * 0.7)
    np.testing.assert_allclose(u, 3 * 1.7 / 3.0 / np.cosh(s) ** 2, rtol=1e-12)
    back = kdv_solitons(-X, 0.7, speeds=[-1.7], centres=[2.0], nonlinearity=-3.0, dispersion=-0.5)
    np.testing.assert_allclose(back, u, rtol=1e-12)


@pytest.mark.parametrize("time", [-4.0, 0.0, 0.4, 5.0])
def test_two_solitons_equal_many_digits(time: float) -> None:
    settings = {"speeds": [1.0, 2.5], "centres": [1.0, -1.0]}
    u = kdv_solitons(np.array([-7.3, 0.2, 3.1, 9.0]), time, **settings)
    truth = [hirota(x, time, **settings) for x in (-7.3, 0.2, 3.1, 9.0)]
    np.testing.assert_allclose(u, truth, rtol=1e-11)


def test_two_solitons_part_with_the_known_shift() -> None:
    kappa = np.sqrt([1.0, 4.0])
    shift = 2 * np.log((kappa[1] + kappa[0]) / (kappa[1] - kappa[0])) / kappa
    far = np.linspace(-100, 100, 8001)
    after = kdv_solitons(far, 15.0, speeds=[1.0, 4.0], centres=[0.0, 0.0])
    alone = [kdv_solitons(far, 15.0, speeds=[c], centres=[x]) for c, x in ((1.0, 0.0), (4.0, shift[1]))]
    np.testing.assert_allclose(after, sum(alone), atol=1e-12)
    before = kdv_solitons(far, -15.0, speeds=[1.0, 4.0], centres=[0.0, 0.0])
    alone = [kdv_solitons(far, -15.0, speeds=[c], centres=[x]) for c, x in ((1.0, shift[0]), (4.0, 0.0))]
    np.testing.assert_allclose(before, sum(alone), atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speeds": [1.0, 1.0]}, "`speeds` must be 1 to 8 different numbers of the sign of `dispersion`"),
        ({"speeds": [-1.0, 1.0]}, "`speeds` must be"),
        ({"speeds": []}, "`speeds` must be"),
        ({"centres": [0.0]}, "`centres` must be 2 finite numbers"),
        ({"centres": [0.0, np.nan]}, "`centres` must be 2 finite numbers"),
        ({"nonlinearity": 0.0}, "must not be 0"),
        ({"time": np.inf}, "`time` must be a finite number"),
    ],
)
def test_solitons_refuse_bad_arguments(changes: dict, message: str) -> None:
    arguments = {"time": 0.0, "speeds": [1.0, 2.0], "centres": [0.0, 0.0], **changes}
    with pytest.raises(ValueError, match=message):
        kdv_solitons(X, arguments.pop("time"), **arguments)


def test_front_satisfies_fisher_kpp_in_many_digits() -> None:
    with mpmath.workdps(40):
        d, r = mpmath.mpf("0.3"), mpmath.mpf("1.7")

        def front(x: mpmath.mpf, t: mpmath.mpf) -> mpmath.mpf:
            return (1 + mpmath.exp(mpmath.sqrt(r / (6 * d)) * (x - 5 * mpmath.sqrt(r * d / 6) * t))) ** -2

        for x in (-2.0, 0.1, 1.5):
            u, t = front(x, mpmath.mpf("0.4")), mpmath.mpf("0.4")
            rate = mpmath.diff(lambda s, x=x: front(x, s), t)
            curvature = mpmath.diff(lambda y, t=t: front(y, t), x, 2)
            assert abs(rate - d * curvature - r * u * (1 - u)) < 1e-15
            assert fisher_front(np.array(x), 0.4, diffusivity=0.3, rate=1.7) == pytest.approx(float(u), rel=1e-12)


def test_front_joins_its_limits_without_overflow() -> None:
    u = fisher_front(np.array([-1e4, 1.0, 1e4]), 0.0, diffusivity=1.0, rate=1.0, centre=1.0)
    np.testing.assert_allclose(u, [1.0, 0.25, 0.0], atol=1e-13)
    with pytest.raises(ValueError, match="fisher_front: `diffusivity` must be a finite number above 0"):
        fisher_front(X, 0.0, diffusivity=0.0, rate=1.0)
