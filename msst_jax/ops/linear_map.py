"""Tangents whose transposes are written by hand: fast gradients in reverse mode, and forward mode as well.

`jax.custom_vjp` takes gradients of one's own but has no forward mode; `jax.custom_jvp` has one, but its gradients are
what JAX transposes the tangents to. A function of the latter kind whose tangents are a `linear_map` has both. JAX's own
`jax.custom_derivatives.linear_call` is not enough: it has no rule for `vmap`, and none for second derivatives.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from msst_jax.ops.ambient_precision import with_ambient_precision

Arrays = tuple[jax.Array, ...]
Linear = Callable[[Arrays, Arrays], Arrays]
"""A function of (saved, arguments), linear in the latter."""


def linear_map(
    forward: Callable[..., jax.Array],
    backward: Callable[[Arrays, jax.Array], Arrays],
    saved: Arrays,
    tangents: Sequence[jax.Array | SymbolicZero],
) -> jax.Array:
    """`forward(saved, *tangents)`, of which reverse mode takes the transpose from backward(saved, gradient).

    Both are differentiated by JAX where second derivatives are asked for. They are traced late, when the gradient is
    asked for or even when it is compiled, and compute at the precision of products that is set here.

    Args:
      forward: linear in the tangents; it gets None in place of a symbolic zero.
      backward: the gradients of all tangents, linear in the gradient of the output.
      saved: what both are not linear in.
      tangents: as the rule of a `jax.custom_jvp` with `symbolic_zeros` gets them; at least one is no zero.
    """
    wanted = [not isinstance(tangent, SymbolicZero) for tangent in tangents]

    def push(saved: Arrays, arguments: Arrays) -> Arrays:
        remaining = iter(arguments)
        return (forward(saved, *(next(remaining) if want else None for want in wanted)),)

    def pull(saved: Arrays, gradients: Arrays) -> Arrays:
        # What no one asks for, as the optimization does for kernels, the compiler drops.
        return tuple(each for each, want in zip(backward(saved, *gradients), wanted, strict=True) if want)

    arguments = [tangent for tangent in tangents if not isinstance(tangent, SymbolicZero)]
    return _bind(saved, arguments, *map(with_ambient_precision, (push, pull)))[0]


def bilinear_jvp(
    product: Callable[[jax.Array, jax.Array], jax.Array],
    backward: Callable[[Arrays, jax.Array], Arrays],
    factors: Arrays,
    tangents: Sequence[jax.Array | SymbolicZero],
) -> tuple[jax.Array, jax.Array]:
    """The rule of a `jax.custom_jvp` for product(a, b), such as a convolution: its value and tangent.

    The tangent is a `linear_map` by the product itself.
    """

    def forward(factors: Arrays, a_tangent: jax.Array | None, b_tangent: jax.Array | None) -> jax.Array:
        a, b = factors
        summands = []
        if a_tangent is not None:
            summands.append(product(a_tangent, b))
        if b_tangent is not None:
            summands.append(product(a, b_tangent))
        return reduce(jnp.add, summands)

    return product(*factors), linear_map(forward, backward, factors, tangents)


# --- the primitive: how JAX evaluates, types, differentiates, transposes and batches it
_primitive = Primitive("linear_map")
_primitive.multiple_results = True


def _bind(saved: Sequence[Any], arguments: Sequence[Any], forward: Linear, transpose: Linear) -> list[Any]:
    return _primitive.bind(*saved, *arguments, forward=forward, transpose=transpose, count=len(saved))


@_primitive.def_impl
def _evaluate(*operands: Any, forward: Linear, transpose: Linear, count: int) -> list[Any]:
    return list(forward(operands[:count], operands[count:]))


@_primitive.def_abstract_eval
def _types(*operands: Any, forward: Linear, transpose: Linear, count: int) -> list[Any]:
    return jax.make_jaxpr(forward)(operands[:count], operands[count:]).out_avals


def _differentiate(
    operands: Sequence[Any], tangents: Sequence[Any], *, forward: Linear, transpose: Linear, count: int
) -> tuple[list[Any], list[Any]]:
    """The map of the arguments' tangents, plus JAX's own derivative by what is saved."""
    saved, arguments = tuple(operands[:count]), tuple(operands[count:])
    moved = [index for index in range(count) if not isinstance(tangents[index], ad.Zero)]
    outputs = _bind(saved, arguments, forward, transpose)
    summands = []
    if not all(isinstance(tangent, ad.Zero) for tangent in tangents[count:]):
        summands.append(_bind(saved, [ad.instantiate_zeros(each) for each in tangents[count:]], forward, transpose))
    if moved:

        def of_moved(*values: Any) -> Arrays:
            now = list(saved)
            for index, value in zip(moved, values, strict=True):
                now[index] = value
            return forward(tuple(now), arguments)

        summands.append(jax.jvp(of_moved, [saved[i] for i in moved], [tangents[i] for i in moved])[1])
    return outputs, [reduce(jnp.add, parts) for parts in zip(*summands, strict=True)]


def _transpose(
    gradients: Sequence[Any], *operands: Any, forward: Linear, transpose: Linear, count: int
) -> list[Any | None]:
    saved, arguments = operands[:count], operands[count:]
    pulled = _bind(saved, [ad.instantiate_zeros(each) for each in gradients], transpose, forward)
    asked = [ad.is_undefined_primal(argument) for argument in arguments]
    return [None] * count + [each if ask else None for each, ask in zip(pulled, asked, strict=True)]


def _batch(
    operands: Sequence[Any], axes: Sequence[int | None], *, forward: Linear, transpose: Linear, count: int
) -> tuple[list[Any], list[int]]:
    """Every argument becomes a batch, so that the transpose needs no sum over one that is not."""
    size = next(each.shape[axis] for each, axis in zip(operands, axes, strict=True) if axis is not None)
    arguments = [
        batching.bdim_at_front(each, axis, size) for each, axis in zip(operands[count:], axes[count:], strict=True)
    ]
    batched = [jax.vmap(function, in_axes=(tuple(axes[:count]), 0)) for function in (forward, transpose)]
    outputs = _bind(operands[:count], arguments, *batched)
    return outputs, [0] * len(outputs)


ad.primitive_jvps[_primitive] = _differentiate
ad.primitive_transposes[_primitive] = _transpose
batching.primitive_batchers[_primitive] = _batch
mlir.register_lowering(_primitive, mlir.lower_fun(_evaluate, multiple_results=True))
