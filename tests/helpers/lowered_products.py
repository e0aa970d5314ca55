"""The products in programs for another platform: how exactly their factors are kept."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax

PRODUCT = re.compile(r"stablehlo\.(dot_general|convolution)")
FLOAT = re.compile(r"x(bf16|f32|f64)>")


def lowered_products(function: Callable[..., Any], *arguments: Any, platform: str = "cuda") -> Counter[str]:
    """How many products of matrices and convolutions a program has, by the types of its factors and their precision.

    Such as {"f32 HIGHEST": 3}. Backward passes count, too: a `linear_map` is opaque in a jaxpr.
    """
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    return Counter(_describe(line) for line in text.splitlines() if PRODUCT.search(line))


def _describe(line: str) -> str:
    kept = re.findall(r"HIGHEST|HIGH|DEFAULT", line)
    first, second, *_ = FLOAT.findall(line)
    return " ".join(dict.fromkeys([first, second, *kept]))
