import numpy as np
import pytest
import torch

from data_gen import PeriodicGrid, cole_hopf
from sciml_cf.training.symmetry import Reflected, Symmetrised, reflect
from tests.problems import Points, Shifted


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
    data = Shifted(1)
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
