"""grad, value_and_grad, jacobian, hessian."""

import math

import pytest

from chainrule.errors import InputError, NotANumberError


def test_grad_and_value(engine):
    f = lambda x: 3 * x**2 - 4 * x + 5  # noqa: E731
    assert engine.grad(f)(3.0) == 14
    assert engine.value_and_grad(f)(3.0) == (20, 14)
    assert type(engine.grad(f)(3)) is float


def test_argnums_and_other_arguments(engine):
    f = lambda a, b, *, power=1: a * b**power  # noqa: E731
    assert engine.grad(f, argnums=1)(2.0, 3.0, power=2) == 12
    assert engine.grad(f, argnums=(1, 0))(2.0, 3.0) == (2, 3)
    with pytest.raises(InputError, match="argument 2"):
        engine.grad(f, argnums=2)(1.0, 2.0)


def test_grad_of_grad(engine):
    third = engine.grad(engine.grad(engine.grad(lambda x: engine.sin(x))))
    assert third(0.7) == pytest.approx(-math.cos(0.7), rel=1e-14)
    mixed = engine.grad(lambda x: engine.grad(lambda y: x * y**2)(3.0) * x)
    assert mixed(5.0) == 60  # d/dx 6 x**2


def test_the_inner_derivative_does_not_confuse_its_variable_with_the_outer(engine):
    # d/dx [ x * d/dy (x + y) ] = 1: "perturbation confusion" would give 2.
    assert engine.grad(lambda x: x * engine.grad(lambda y: x + y)(1.0))(1.0) == 1
    assert engine.grad(lambda x: x * engine.grad(lambda y: x * y)(x))(3.0) == 6


def test_a_function_that_ignores_its_argument_has_slope_zero(engine):
    assert engine.value_and_grad(lambda x: 7)(1.0) == (7, 0)
    assert engine.grad(lambda a, b: a, argnums=(0, 1))(1.0, 2.0) == (1, 0)
    assert engine.hessian(lambda a, b: 1)(1.0, 2.0) == [[0, 0], [0, 0]]
    assert engine.grad(engine.grad(lambda x: 2 * x))(1.0) == 0


def test_grad_leaves_the_arguments_alone(engine):
    x = engine.Value(3.0)
    slope = engine.grad(lambda v: v * v)(x)
    assert slope.data == 6
    assert isinstance(slope, engine.Value)
    assert not x.has_grad
    slope.backward()
    assert x.grad == 2


def test_jacobian(engine):
    def polar(r, angle):
        return r * engine.cos(angle), r * engine.sin(angle)

    rows = engine.jacobian(polar)(2.0, 0.5)
    assert rows[0] == pytest.approx([math.cos(0.5), -2 * math.sin(0.5)], rel=1e-15)
    assert rows[1] == pytest.approx([math.sin(0.5), 2 * math.cos(0.5)], rel=1e-15)
    assert engine.jacobian(lambda a, b: a * b)(2.0, 3.0) == [[3, 2]]
    assert engine.jacobian(lambda a, b: [a, 1.0])(2.0, 3.0) == [[1, 0], [0, 0]]


def test_hessian(engine):
    rosenbrock = lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2  # noqa: E731
    x, y = 0.3, -0.8
    assert engine.hessian(rosenbrock)(x, y) == [
        pytest.approx([2 - 400 * (y - 3 * x**2), -400 * x], rel=1e-14),
        pytest.approx([-400 * x, 200], rel=1e-14),
    ]


@pytest.mark.parametrize("wrong", ["a", None, [1.0], (1.0, 2.0)])
def test_what_is_returned_must_be_one_number(engine, wrong):
    with pytest.raises(NotANumberError, match="must return one number"):
        engine.grad(lambda x: wrong)(1.0)
    with pytest.raises(NotANumberError):
        engine.grad(lambda x: x)("a")


def test_dependence_on_values_around_the_function_is_kept(engine):
    w = engine.Value(2.0, label="w")
    penalty = engine.grad(lambda x: w * x**2)(3.0)  # 2 w x
    penalty.backward()
    assert (penalty.data, w.grad) == (12, 6)
    assert engine.gradients(engine.jacobian(lambda x: [w * x])(3.0)[0][0], w)[w] == 1
    assert engine.gradients(engine.hessian(lambda x: w * x**2)(3.0)[0][0], w)[w] == 2
    assert engine.grad(lambda x: engine.hessian(lambda y: x**2 * y**2)(1.0)[0][0])(3.0) == 12


def test_derivatives_are_taken_inside_no_grad_too(engine):
    with engine.no_grad():
        assert engine.grad(lambda x: x * x)(3.0) == 6
        assert engine.jacobian(lambda x: [x * x])(3.0) == [[6]]
        assert engine.hessian(lambda x: x**3)(3.0) == [[18]]
        assert (engine.Value(1.0) * 2).inputs == ()  # and recording is off again
        constant = engine.Value(3.0) * 1
    assert engine.grad(lambda x: x * x)(constant) == 6
    assert engine.grad(lambda x: x * x)(engine.Value(3.0, requires_grad=False)) == 6


@pytest.mark.parametrize("wrong", [(0, 0), -1, (0, -2), 2, "x", True, 0.0, None])
def test_argnums_must_name_arguments(engine, wrong):
    with pytest.raises(InputError, match="argnums"):
        engine.grad(lambda a, b: a * b, argnums=wrong)(2.0, 3.0)


def test_labels_and_the_sign_of_zero_go_in(engine):
    with pytest.raises(ValueError, match=r"temperature=-1\.0"):
        engine.grad(engine.log)(engine.Value(-1.0, label="temperature"))
    seen = []
    engine.grad(lambda x: seen.append(x.data) or x)(engine.Value(-0.0))
    assert math.copysign(1, seen[0]) == -1


def test_values_in_values_out_also_where_nothing_depends_on_them(engine):
    built = engine.Value(1.0) * 2
    assert isinstance(engine.grad(lambda x: 7)(built), engine.Value)


def test_outer_values_in_any_output_are_kept(engine):
    w = engine.Value(2.0)
    rows = engine.jacobian(lambda x, *, power: [x, w * x**power])(3.0, power=1)
    assert engine.gradients(rows[1][0], w)[w] == 1
