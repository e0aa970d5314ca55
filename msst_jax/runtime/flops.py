"""Floating-point operations of a traced program, where the compiler counts none: of its products and convolutions."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import partial_eval


def count_flops(jaxpr: core.Jaxpr) -> float:
    """Two for each multiplication of matrix products and convolutions, in all that the program calls.

    A loop of known length counts as often as it runs, one of unknown length once, of the branches of a condition the
    largest. Element-wise operations, a few percent of those of a VGG, are left out.
    """
    return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation: core.JaxprEqn) -> float:
    name = equation.primitive.name
    if name == "dot_general":
        return _product_flops(equation)
    if name == "conv_general_dilated":
        return _convolution_flops(equation)
    if name == "linear_map":
        return _linear_map_flops(equation)
    inner = [count_flops(jaxpr) for jaxpr in _called(equation.params)]
    if name == "cond":
        return max(inner, default=0.0)
    return sum(inner) * (equation.params["length"] if name == "scan" else 1)


def _linear_map_flops(equation: core.JaxprEqn) -> float:
    """Of an `ops.linear_map`, which is traced when it is compiled, without the results that nobody asks for."""
    count, operands = equation.params["count"], [variable.aval for variable in equation.invars]
    traced = jax.make_jaxpr(equation.params["forward"])(tuple(operands[:count]), tuple(operands[count:]))
    wanted = [not isinstance(variable, core.DropVar) for variable in equation.outvars]
    return count_flops(partial_eval.dce_jaxpr(traced.jaxpr, wanted)[0])


def _product_flops(equation: core.JaxprEqn) -> float:
    contracted, _ = equation.params["dimension_numbers"]
    shape = _shape(equation.invars[0])
    return 2.0 * math.prod(_shape(equation.outvars[0])) * math.prod(shape[axis] for axis in contracted[0])


def _convolution_flops(equation: core.JaxprEqn) -> float:
    """Two for each weight of the kernel that meets an output; holes in the input are counted, too."""
    kernel, numbers = _shape(equation.invars[1]), equation.params["dimension_numbers"]
    reach = math.prod(kernel[axis] for axis in numbers.rhs_spec[1:])
    return 2.0 * math.prod(_shape(equation.outvars[0])) * reach


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(variable.aval.shape)


def _called(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    for value in params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, core.ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, core.Jaxpr):
                yield each
