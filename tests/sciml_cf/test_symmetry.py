import numpy as np
import pytest
import torch

from data_gen import PeriodicGrid, cole_hopf
from sciml_cf.training.symmetry import Reflected, Shifted, Symmetrised, reflect, shift
from tests.problems import Points
from tests.problems import Shifted as Rolled


def test_reflection_is_minus_the_field_at_minus_x():
    x = 2 * torch.pi * torch.arange(16) / 16

    def field(x):
        return torch.sin(x) + 0.3 * torch.cos(2 * x + 0.4)

    torch.testing.assert_close(reflect(field(x)), -field(-x), atol=1e-6, rtol=0)
    assert torch.equal(reflect(reflect(field(x))), field(x))


def test_the_solution_of_a_reflected_burgers_field_is_the_reflected_solution():
    x = PeriodicGrid(64, 2 * np.pi).points
    u0 = np.sin(x) + 0.5 * np.cos(2 * x)
    u0 -= u0.mean()
    settings = {"viscosity": 0.1, "time": 1.0, "extent": 2 * np.pi}
    solve = [cole_hopf(fields, **settings) for fields in (u0[None], reflect(torch.from_numpy(u0)).numpy()[None])]
    np.testing.assert_allclose(reflect(torch.from_numpy(solve[0])).numpy(), solve[1], atol=1e-12)


def test_items_are_reflected_whole_and_about_half_the_time():
    data = Rolled(1)
    both = Reflected(data)
    torch.manual_seed(0)
    kinds = []
    for _ in range(200):
        item = both[0]
        same = torch.equal(item["x"], data.x[0])
        kinds.append(same)
        assert torch.equal(item["y"], data.y[0] if same else reflect(data.y[0]))
    assert 70 < sum(kinds) < 130 and len(both) == 1


def test_only_fields_on_a_line_can_be_reflected():
    with pytest.raises(ValueError, match=r"`data` must have items \(channels, points\); got \(3,\)"):
        Reflected(Points(4))


@pytest.mark.parametrize("points", [16, 15])
def test_a_shift_is_that_of_the_field_and_by_whole_cells_a_roll(points):
    x = 2 * torch.pi * torch.arange(points, dtype=torch.float64) / points

    def field(x):
        return torch.sin(x) + 0.3 * torch.cos(7 * x + 0.4) + 2

    expected = field(x + 0.37 * 2 * torch.pi / points)
    torch.testing.assert_close(shift(field(x), 0.37), expected, atol=1e-12, rtol=0)
    noise = torch.randn(2, points, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(shift(noise, 3.0), torch.roll(noise, -3, dims=-1), atol=1e-5, rtol=0)


def test_items_are_shifted_whole_by_a_new_part_of_a_cell_each_time():
    data = Rolled(1)
    torch.manual_seed(0)
    parts = []
    for _ in range(20):
        item = Shifted(data)[0]
        steps = torch.linspace(0, 1, 101).tolist()
        distances = [(shift(data.x[0], step) - item["x"]).abs().max().item() for step in steps]
        nearest = steps[int(np.argmin(distances))]
        torch.testing.assert_close(item["y"], shift(data.y[0], nearest), atol=0.1, rtol=0)
        parts.append(nearest)
    assert len(set(parts)) > 10 and len(Shifted(data)) == 1
    with pytest.raises(ValueError, match=r"Shifted: `data` must have items \(channels, points\); got \(3,\)"):
        Shifted(Points(4))


def test_a_symmetrised_model_is_equivariant_and_keeps_one_that_was():
    torch.manual_seed(0)
    model = torch.nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular", dtype=torch.float64)
    fields = torch.randn(4, 1, 12, dtype=torch.float64)
    both = Symmetrised(model)
    assert not torch.allclose(model(reflect(fields)), reflect(model(fields)))
    torch.testing.assert_close(both(reflect(fields)), reflect(both(fields)), rtol=0, atol=1e-12)
    torch.testing.assert_close(Symmetrised(both)(fields), both(fields), rtol=0, atol=1e-12)


def test_symmetrising_lowers_the_error_over_samples_and_their_reflections():
    torch.manual_seed(1)
    model = torch.nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", dtype=torch.float64)
    fields = torch.randn(8, 1, 12, dtype=torch.float64)
    fields = torch.cat([fields, reflect(fields)])
    target = fields.roll(2, -1) + fields.roll(-2, -1)  # has the symmetry: odd, and even in x
    with torch.no_grad():
        errors = [(f(fields) - target).square().mean().item() for f in (Symmetrised(model), model)]
    assert errors[0] < errors[1]
