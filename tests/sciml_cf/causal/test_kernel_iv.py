"""Kernel instrumental variables, against the formulas of the paper written out, and least squares."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist

from sciml_cf.causal import KernelIV, TwoStageLeastSquares, sine_test, sine_toy
from sciml_cf.causal.kernel_iv import KernelBasis


def observations(samples=60, seed=0):
    random = np.random.default_rng(seed)
    z, o, u = random.uniform(-2, 2, (samples, 1)), random.standard_normal((samples, 1)), random.standard_normal(samples)
    x = np.column_stack([z[:, 0] + 0.5 * u, 10 * z[:, 0] * o[:, 0] + 3 * u])
    y = np.sin(x[:, 0]) + o[:, 0] + 2 * u + 5
    return {"treatment": x, "instrument": z, "outcome": y, "covariates": o}


def halves(samples, seed=0, split=0.5):
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed)).numpy()
    first = round(split * samples)
    return order[:first], order[first:]


class Printed:
    """Algorithm 1 of Singh et al. and their two validation errors, by the matrices they write down."""

    def __init__(self, data, *, width=None, weights=None, mean=None):
        one, two = halves(len(data["outcome"]))
        x, z = (np.column_stack([data[name], data["covariates"]]) for name in ("treatment", "instrument"))
        self.vx, self.vz = (width or self.median)(x[one]), (width or self.median)(z[one])
        self.y1, self.y2 = (
            data["outcome"][rows] - (data["outcome"].mean() if mean is None else mean) for rows in (one, two)
        )
        self.x1, self.n, self.m = x[one], len(one), len(two)
        k = self.gaussian
        self.k_xx, self.k_zz = k(x[one], x[one], self.vx), k(z[one], z[one], self.vz)
        self.k_zw, self.k_xw = k(z[one], z[two], self.vz), k(x[one], x[two], self.vx)
        w = np.ones(len(x)) if weights is None else weights
        self.w1, self.w2 = w[one] / w[one].sum(), w[two] / w[two].sum()

    @staticmethod
    def median(rows):
        return np.array([np.median(pdist(column[:, None])) for column in rows.T])

    @staticmethod
    def gaussian(a, b, width):
        return np.exp(-cdist(a / width, b / width, "sqeuclidean") / 2)

    def gamma(self, strength):
        return np.linalg.solve(self.k_zz + strength * np.diag(1 / self.w1), self.k_zw)

    def alpha(self, first, second):
        middle = self.k_xx @ self.gamma(first)
        system = middle * self.w2 @ middle.T + second * self.k_xx
        return np.linalg.lstsq(system, middle * self.w2 @ self.y2, rcond=1e-15)[0]

    def first_error(self, strength):
        g = self.gamma(strength)
        each = 1 - 2 * (self.k_xw * g).sum(0) + (g * (self.k_xx @ g)).sum(0)
        return each @ self.w2

    def second_error(self, first, second):
        return np.square(self.y1 - self.k_xx @ self.alpha(first, second)) @ self.w1


NEW = np.random.default_rng(9).uniform(-2, 2, (8, 3))


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_printed_algorithm(weighted):
    data = observations()
    weights = np.random.default_rng(3).uniform(0.1, 3, 60) if weighted else None
    mean = np.average(data["outcome"], weights=weights)
    printed = Printed(data, weights=weights, mean=mean)
    found = KernelIV(strengths=(1e-2, 3e-3)).fit(**data, sample_weight=weights)
    np.testing.assert_allclose(found.treatment_widths_, printed.vx)
    np.testing.assert_allclose(found.instrument_widths_, printed.vz)
    expected = Printed.gaussian(NEW, printed.x1, printed.vx) @ printed.alpha(1e-2, 3e-3) + mean
    np.testing.assert_allclose(found.predict(NEW[:, :2], NEW[:, 2:]), expected, rtol=1e-6, atol=1e-6)
    assert found.strengths_ == (1e-2, 3e-3) and found.errors_ == ([], [])


@pytest.mark.parametrize("weighted", [False, True])
def test_the_strengths_are_chosen_as_printed(weighted):
    data = observations(80)
    weights = np.random.default_rng(3).uniform(0.1, 3, 80) if weighted else None
    strengths = 10.0 ** np.arange(-6, 1)
    printed = Printed(data, weights=weights, mean=np.average(data["outcome"], weights=weights))
    found = KernelIV(strengths=(strengths, strengths)).fit(**data, sample_weight=weights)
    errors = np.array([printed.first_error(strength) for strength in strengths])
    gaps = np.array(found.errors_[0]) - errors  # of the part that no strength changes
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-9)
    first = strengths[errors.argmin()]
    errors = np.array([printed.second_error(first, strength) for strength in strengths])
    unit = np.average(np.square(data["outcome"] - np.average(data["outcome"], weights=weights)), weights=weights)
    np.testing.assert_allclose(np.array(found.errors_[1]) * unit, errors, rtol=1e-6)
    assert found.strengths_ == (first, strengths[errors.argmin()])
    assert first not in (strengths[0], strengths[-1]), "the first choice is at an end, and could not be wrong"


def test_as_printed_the_outcome_is_not_centred():
    data = observations()
    printed = Printed(data, mean=0)
    found = KernelIV(strengths=(1e-2, 3e-3), center_outcome=False).fit(**data)
    expected = Printed.gaussian(NEW, printed.x1, printed.vx) @ printed.alpha(1e-2, 3e-3)
    np.testing.assert_allclose(found.predict(NEW[:, :2], NEW[:, 2:]), expected, rtol=1e-6, atol=1e-6)
    far = found.predict(np.full((1, 2), 1e4), np.zeros((1, 1)))
    assert far == pytest.approx(0, abs=1e-12)
    centred = KernelIV(strengths=(1e-2, 3e-3)).fit(**data).predict(np.full((1, 2), 1e4), np.zeros((1, 1)))
    assert centred == pytest.approx(data["outcome"].mean())


def test_joint_widths_are_one_for_each_block():
    data = observations()

    def joint(rows):
        blocks = [rows[:, :-1], rows[:, -1:]]
        return np.concatenate([np.full(block.shape[1], np.median(pdist(block))) for block in blocks])

    printed = Printed(data, width=joint)
    found = KernelIV(strengths=(1e-2, 1e-3), widths="joint").fit(**data)
    np.testing.assert_allclose(found.treatment_widths_, printed.vx)
    expected = Printed.gaussian(NEW, printed.x1, printed.vx) @ printed.alpha(1e-2, 1e-3) + data["outcome"].mean()
    np.testing.assert_allclose(found.predict(NEW[:, :2], NEW[:, 2:]), expected, rtol=1e-6, atol=1e-6)


def test_with_a_linear_kernel_and_no_ridge_it_is_two_stage_least_squares():
    random = np.random.default_rng(4)
    z, u = random.standard_normal((100, 3)), random.standard_normal((100, 1))
    x = z @ random.standard_normal((3, 2)) + u
    half = {"treatment": x, "instrument": z, "outcome": (x @ [1.0, -2.0] + 3 * u[:, 0] + 1)}
    one, two = halves(200)
    data = {}
    for name, values in half.items():  # both stages see the same rows
        data[name] = np.empty((200, *values.shape[1:]))
        data[name][one] = data[name][two] = values
    found = KernelIV(kernel="linear", strengths=(1e-12, 1e-12)).fit(**data)
    expected = TwoStageLeastSquares().fit(**half)
    np.testing.assert_allclose(found.predict(NEW[:, :2]), expected.predict(NEW[:, :2]), rtol=1e-6)


def test_products_of_coordinates_are_the_kernel():
    rows, new = np.random.default_rng(0).standard_normal((2, 40, 2))
    basis = KernelBasis.of("gaussian", torch.tensor(rows))
    k = Printed.gaussian(rows, np.vstack([rows, new]), 1)
    products = basis(torch.tensor(rows)) @ basis(torch.tensor(np.vstack([rows, new]))).T
    np.testing.assert_allclose(products, k, atol=1e-7)
    linear = KernelBasis.of("linear", torch.tensor(rows))
    assert linear.weights.shape == (40, 3)
    np.testing.assert_allclose(linear(torch.tensor(new)) @ linear(torch.tensor(rows)).T, 1 + new @ rows.T, atol=1e-9)


def test_it_finds_the_sine_that_regression_does_not():
    data, test = sine_toy(samples=2000), sine_test()
    arrays = {name: values for name, values in data.arrays.items() if name != "structural"}
    found = KernelIV().fit(**arrays)
    error = np.square(found.predict(test.treatment) - test.structural).mean()
    constant = np.square(data.outcome.mean() - test.structural).mean()
    x, y = data.treatment[:, 0], data.outcome
    direct = np.polyval(np.polyfit(x, y, 7), test.treatment[:, 0])
    assert error < 0.1 * constant and error < 0.15 * np.square(direct - test.structural).mean()


def test_units_do_not_matter_and_zero_weights_leave_rows_out():
    data = observations()
    other = {**data, "treatment": 1000 * data["treatment"] - 5, "outcome": 100 * data["outcome"]}
    first, second = (KernelIV().fit(**given) for given in (data, other))
    pair = [first.predict(NEW[:, :2], NEW[:, 2:]), second.predict(1000 * NEW[:, :2] - 5, NEW[:, 2:])]
    np.testing.assert_allclose(100 * pair[0], pair[1], rtol=1e-4, atol=1e-3)
    weights = (np.arange(60) % 3 > 0).astype(float)
    part = KernelIV().fit(**{name: values[weights > 0] for name, values in data.items()})
    given = KernelIV().fit(**data, sample_weight=weights)
    np.testing.assert_allclose(given.predict(NEW[:, :2], NEW[:, 2:]), part.predict(NEW[:, :2], NEW[:, 2:]), rtol=1e-6)


def test_outcomes_of_any_unit_count_alike():
    data = observations()
    several = np.column_stack([data["outcome"], data["treatment"].sum(1) ** 2])
    first = KernelIV().fit(**{**data, "outcome": several})
    second = KernelIV().fit(**{**data, "outcome": several * [1e6, 1e-6]})
    assert first.strengths_ == second.strengths_ and first.head_.shape[1] == 2
    pair = [one.predict(NEW[:, :2], NEW[:, 2:]) for one in (first, second)]
    np.testing.assert_allclose(pair[0] * [1e6, 1e-6], pair[1], rtol=1e-6)


def test_a_binary_column_has_a_width_and_a_constant_one_changes_nothing():
    data = observations()
    binary = (data["covariates"] > 1).astype(float)
    found = KernelIV(strengths=(1e-2, 1e-3)).fit(**{**data, "covariates": binary})
    assert found.treatment_widths_[-1] == 1
    constant = np.column_stack([binary, np.full(60, 3.0)])
    wider = KernelIV(strengths=(1e-2, 1e-3)).fit(**{**data, "covariates": constant})
    pair = [found.predict(NEW[:, :2], binary[:8]), wider.predict(NEW[:, :2], constant[:8])]
    np.testing.assert_allclose(*pair, rtol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"kernel": "cubic"}, "`kernel` must be one of 'gaussian', 'linear'; got 'cubic'"),
        ({"widths": 2.0}, "`widths` must be one of 'coordinate', 'joint'; got 2.0"),
        ({"split": 1.0}, "`split` must be a share between 0 and 1; got 1.0"),
        ({"split": 3}, "`split` must be a share between 0 and 1; got 3"),
        ({"seed": -1}, "`seed` must be an integer of at least 0; got -1"),
        ({"strengths": 0.1}, "`strengths` must be two, one or several for each stage; got 0.1"),
        ({"strengths": ([], 0.1)}, "`strengths` must be two, one or several for each stage; got"),
        ({"strengths": (0.1, [0.1, float("nan")])}, "`strengths` must be finite numbers above 0; got nan"),
        ({"strengths": (0, 0.1)}, "`strengths` must be finite numbers above 0; got 0"),
        ({"strengths": (True, 0.1)}, "`strengths` must be finite numbers above 0; got True"),
    ],
)
def test_unusable_settings_are_one_line(parameters, words):
    with pytest.raises(ValueError, match=f"^KernelIV.fit: {words}") as caught:
        KernelIV(**parameters).fit(**observations(10))
    assert "\n" not in str(caught.value)


def test_images_need_joint_widths():
    random = np.random.default_rng(0)
    data = {**observations(), "treatment": random.standard_normal((60, 16, 16))}
    with pytest.raises(ValueError, match="`widths` must make some rows of the treatment alike; .*Take 'joint'"):
        KernelIV().fit(**data)
    assert np.isfinite(KernelIV(widths="joint").fit(**data).predict(data["treatment"], data["covariates"])).all()
