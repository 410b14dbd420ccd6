"""Texts of equations: what is read from them, and what is refused in one line that names the place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_gen import DatasetSpec, Equation, PeriodicGrid
from data_gen.cli.flags import UsageError
from data_gen.cli.generate import generate_command
from data_gen.equations import is_known
from data_gen.formulas.syntax import read_formula

#: A text, and the piece of it that the message names.
MALFORMED = [
    ("u_t =", "'u_t =' at character 1"),
    ("= u_xx", "'=' at character 1"),
    ("u = u_xx", "'u' at character 1"),
    ("x_t = x", "'x_t' at character 1"),
    ("u_t == u_xx", "'=' at character 6"),
    ("u_t = u_xx = 0", "'=' at character 12"),
    ("u_t = u u_x", "'u_x' at character 9"),
    ("u_t = 2u", "'2' at character 7"),
    ("u_t = u_xx +", "its end at character 13"),
    ("u_t = (u_xx", "'(' at character 7"),
    ("u_t = u_xx)", "')' at character 11"),
    ("u_t = u_tt", "'u_tt' at character 7"),
    ("u_t = u_xw", "'u_xw' at character 7"),
    ("u_t = nu*v_xx", "'v_xx' at character 10"),
    ("u_t = u_xx; u_t = u", "'u_t' at character 13"),
    ("u_t = u; v_t = v;; w_t = w", "';' at character 18"),
    ("u_t = u/u_x", "'u_x' at character 9"),
    ("u_t = sin(u)", "'u' at character 11"),
    ("u_t = u^2.5", "'2.5' at character 9"),
    ("u_t = u^-1", "'-1' at character 9"),
    ("u_t = u^u", "'u' at character 9"),
    ("u_t = sin(x, y)", "',' at character 12"),
    ("u_t = sin()", "'sin()' at character 7"),
    ("u_t = sin", "'sin' at character 7"),
    ("u_t = tanh(x)", "'tanh' at character 7"),
    ("u_t = t*u", "'t' at character 7"),
    ("u_t = u_xx + 1/0", "'1/0'"),
    ("u_t = 1e999*u", "'1e999' at character 7"),
    ("u_t = (0-1)^0.5*u", "'(0-1)^0.5'"),
    ("u_t = u // 2", "'u // 2' at character 7"),
    ("u_t = u | u", "'|' at character 9"),
    ("u_t = a^x*u", "'x' at character 9"),
]
HOSTILE = [
    ("u_t = u.real", "'u.real' at character 7"),
    ("u_t = (u).__class__", "'.__class__' at character 10"),
    ("u_t = (u)._x", "'._x' at character 10"),
    ("u_t = __import__", "'__import__' at character 7"),
    ("u_t = __import__(u)", "'__import__' at character 7"),
    ("u_t = exec(u)", "'exec' at character 7"),
    ("u_t = (u)(u)", "'u' at character 8"),
    ("u_t = lambda: u", "':' at character 13"),
    ("u_t = (u := u)", "':' at character 10"),
    ("u_t = (yield)", "'yield' at character 8"),
    ("u_t = u if u else u", "'u if u else u' at character 7"),
    ("u_t = u or u", "'u or u' at character 7"),
    ("u_t = None", "'None' at character 7"),
    ("u_t = True*u", "'True' at character 7"),
    ("u_t = 1j*u", "'1j' at character 7"),
    ("u_t = [u]", "'[' at character 7"),
    ('u_t = "u"', "'\"' at character 7"),
    ("u_t = u # u", "'#' at character 9"),
    ("u_t = é*u", "'é' at character 7"),
    ("u_t = u\x00", "at character 8"),
    ("u_t = sin(*x)", "'*x' at character 11"),
    ("u_t = 9**9**9**9", "'9**9**9**9'"),
    ("u_t = ((u^12)^12)^12", "(u^12)^12"),
    ("u_t = (u + u_x + u_xx + 1)^12", "'(u + u_x + u_xx + 1)^12'"),
    ("u_t = u_" + "x" * 21, "at character 7"),
    ("u_t = " + "lap(" * 45 + "u" + ")" * 45, "'lap("),
    ("u_t = " + "(" * 900 + "u" + ")" * 900, "at character 7"),
    ("u_t = " + "-" * 1900 + "u", "at character"),
    ("u_t = " + "2^" * 900 + "2", "at character"),
    ("u_t = " + "u+" * 900 + "u", "at character 7"),
    ("u_t = " + "9" * 1900 + "*u", "at character 7"),
    ("u_t = " + "u" * 3000, "'u_t = uuuuuuuuuuuuuu'"),
]


@pytest.mark.parametrize(("text", "place"), [*MALFORMED, *HOSTILE], ids=lambda word: word[:30])
def test_a_wrong_text_is_refused_in_one_line_with_the_place(text: str, place: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^Equation\.parse: `text` must [^\n]+\.$") as found:
        DatasetSpec(text, resolution=16, parameters={"a": 1.0, "nu": 1.0} if "a^x" in text or "nu" in text else {})
    assert place in str(found.value) and len(str(found.value)) < 400
    with pytest.raises(ValueError, match=r"^Equation\.parse: `text` must [^\n]+\.$"):
        generate_command([text, "--out", str(tmp_path / "f.h5"), "--resolution", "16"])
    assert list(tmp_path.iterdir()) == []


def test_no_text_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but ``ast.parse`` sees a text: ``eval``, ``exec`` and ``compile`` are not called."""
    import ast
    import builtins

    parse, parsed = ast.parse, []
    monkeypatch.setattr(ast, "parse", lambda code, mode: parsed.append(code) or parse(code, mode=mode))
    read_formula.cache_clear()
    assert read_formula("u_t = -(u^2)_x").sides and parsed == ["-(u**2)._x"]
    for name in ("eval", "exec"):
        monkeypatch.setattr(builtins, name, None)
    assert read_formula("u_t = -(u^2)_xx").sides


@pytest.mark.parametrize(
    ("text", "fields", "parameters", "dims"),
    [
        ("u_t = -u*u_x + 0.1*u_xx", ("u",), (), (1, 2, 3)),
        ("  u_t=nu * u_xx\n + a ", ("u",), ("nu", "a"), (1, 2, 3)),
        ("h_t = u_xy; u_t = h;", ("h", "u"), (), (2, 3)),
        ("rho_t = sin(z)*D_max*lap(rho)", ("rho",), ("D_max",), (3,)),
        ("u_t = sin(2*pi*x/L)*exp(-e)", ("u",), ("e",), (1, 2, 3)),
    ],
)
def test_fields_parameters_and_dimensions(
    text: str, fields: tuple[str, ...], parameters: tuple[str, ...], dims: tuple[int, ...]
) -> None:
    formula = read_formula(text)
    assert (formula.fields, formula.parameters, formula.dims) == (fields, parameters, dims)
    equation = Equation.parse(text, dict.fromkeys(parameters, 1.0))
    assert (equation.channels, equation.num_dims, tuple(equation.parameters)) == (fields, dims[0], parameters)
    assert equation.name == equation.formula == " ".join(text.split())


def test_the_linear_part_is_the_symbol() -> None:
    k = np.array([0.0, 1.0, 2.5])
    law = Equation.parse("u_t = 0.3*(1 - u) - lap(u)*2^-1 - 2*(u_x + 3*u_xx)_xx - u_x + u_xxx/4", {})
    expected = -0.3 + k**2 / 2 - 2 * ((1j * k) ** 3 + 3 * k**4) - 1j * k + (1j * k) ** 3 / 4
    np.testing.assert_allclose(law.symbol(k), expected, rtol=1e-14)
    assert np.isrealobj(Equation.parse("u_t = u - u_xxxx + 2*u_xx", {}).symbol(k))
    assert Equation.parse("u_t = u*(1 - u) - u + u^2 + u_xx").nonlinear is None
    plane = Equation.parse("u_t = u_xxy; v_t = lap(v)")
    ky, kx = np.array([[1.0], [2.0]]), np.array([[3.0, 5.0]])
    both = plane.symbol(ky, kx)
    np.testing.assert_allclose(both, [-1j * kx**2 * ky, -(kx**2) - ky**2 + 0j], rtol=1e-14)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("u_t = u*u_x", lambda x: np.sin(x) * np.cos(x)),
        ("u_t = (u^2/2)_x", lambda x: np.sin(x) * np.cos(x)),
        ("u_t = u_x^2 - u_xx*u_x", lambda x: np.cos(x) ** 2 + np.sin(x) * np.cos(x)),
        ("u_t = u*(u^2)_x", lambda x: 2 * np.sin(x) ** 2 * np.cos(x)),
        ("u_t = (u*(u*u_x)_x)_x", lambda x: np.cos(x) * np.cos(2 * x) - 2 * np.sin(x) * np.sin(2 * x)),
        ("u_t = cos(x)*u - 2", lambda x: np.sin(x) * np.cos(x) - 2),
        ("u_t = (cos(x))_x", lambda x: -np.sin(x)),
        ("u_t = exp(sin(2*pi*x/L))", lambda x: np.exp(np.sin(x))),
        ("u_t = u^2/(2 + cos(x))", lambda x: np.sin(x) ** 2 / (2 + np.cos(x))),
        ("u_t = lap(u^2) + 0*u_x", lambda x: 2 * np.cos(2 * x)),
    ],
)
def test_all_else_is_evaluated_on_points(text: str, rate) -> None:
    grid = PeriodicGrid(64, 2 * np.pi)
    law = Equation.parse(text)
    assert law.nonlinear is not None
    modes = grid.to_modes(np.sin(grid.points)[None, None])
    found = grid.to_points(law.nonlinear(modes, grid))[0, 0]
    expected = rate(grid.points)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert law.homogeneous == ("(x" not in text and "x/L" not in text)


def test_unusable_laws_and_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must not make short waves grow without bound.*rate 1e\+10|4e\+10"):
        Equation.parse("u_t = -u_xx")
    with pytest.raises(ValueError, match="must not make short waves grow without bound"):
        Equation.parse("u_t = u_xx - u_yy")
    with pytest.raises(ValueError, match="must have a linear part that can be computed; got one that overflows"):
        Equation.parse("u_t = 1e300*u_xx")
    assert Equation.parse("u_t = -u_xx - u_xxxx").symbol(np.array([0.5])) > 0
    with pytest.raises(ValueError, match=r"`parameters` of u_t = nu\*u_xx must be nu; got none"):
        Equation.parse("u_t = nu*u_xx")
    with pytest.raises(ValueError, match=r"`nu` must be a finite number; got nan"):
        Equation.parse("u_t = nu*u_xx", {"nu": np.nan})
    with pytest.raises(ValueError, match=r"`num_dims` of u_t = u_y must be one of 2, 3; got 1"):
        Equation.parse("u_t = u_y", num_dims=1)
    with pytest.raises(ValueError, match=r"`text` must be a text; got 3"):
        Equation.parse(3)  # type: ignore[arg-type]
    law = Equation.parse("u_t = sin(3*x)*u")
    assert law.nonlinear is not None
    with pytest.raises(ValueError, match=r"periodic on the domain, of length 5; got 'sin\(3\*x\)'"):
        law.nonlinear(np.ones((1, 1, 33)), PeriodicGrid(64, 5.0))


def test_names_of_files_that_are_no_texts_are_unknown() -> None:
    assert is_known("u_t = u_xx") and is_known("heat")
    assert not is_known("a=b") and not is_known("u_t = os.system(x)") and not is_known("heat equation")


@pytest.mark.parametrize("words", ["nu", "nu=", "=1", "nu=1 nu=2"])
def test_parameters_that_are_no_pairs_are_refused(words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`--parameters` must be words NAME=VALUE"):
        generate_command(["u_t = nu*u_xx", "--parameters", *words.split(), "--out", str(tmp_path / "f.h5")])
