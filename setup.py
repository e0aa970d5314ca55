"""The packages of a wheel: every room of msst_jax, and three folders of the clone inside it; see pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["msst_jax*"]),
        "msst_jax.configs",
        "msst_jax.convert_weights",
        "msst_jax.convert_weights.pth",
        "msst_jax.examples",
    ]
)
