"""Formulas of the gallery: every equation has one in LaTeX that the site can set, and a letter for each parameter."""

from __future__ import annotations

import pytest

from data_gen.equations import equation_dims, equation_in, equation_names
from docsite.formulas import LETTERS, latex, legend


@pytest.mark.parametrize("name", equation_names())
def test_every_equation_has_a_formula_in_latex(name: str) -> None:
    mathml = pytest.importorskip("docsite.mathml").mathml
    for dims in equation_dims(name) or (None,):
        law = equation_in(name, dims)()
        laws = latex(law.formula, law.parameters)
        assert set(law.parameters) <= set(LETTERS) and all("<math" in mathml(one, block=True)[0] for one in laws)
        letters = [LETTERS[name] for name in law.parameters]
        assert len(set(letters)) == len(letters)


def test_words_become_signs_and_laws_lines() -> None:
    assert latex("u_t + (u^2/2)_x = viscosity * u_xx", ["viscosity"]) == [r"u_{t} + (u^2/2)_{x} = \nu \, u_{xx}"]
    assert latex("u_t = v, v_t = f(x, y) Lap u") == ["u_{t} = v", r"v_{t} = f(x, y) \Delta u"]
    assert latex("-div(a grad u) = source, u = 0 on the walls", ["source"]) == [
        r"-\nabla\cdot (a \nabla u) = f",
        r"u = 0 \;\text{on the walls}",
    ]
    assert legend({"viscosity": 0.1, "speed_y": -2.0}) == r"$\nu$ `viscosity` = 0.1, $c_y$ `speed_y` = -2"


def test_other_words_stay_words() -> None:
    assert latex("u_t = wall_stress u", ["wall_stress"]) == [r"u_{t} = \text{wall stress} u"]
    assert latex("u_t = stress u") == [r"u_{t} = \text{stress} u"]
