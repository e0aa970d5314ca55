"""Versions are told of packages that are installed and of those that run from a folder."""

from importlib import metadata

from msst_jax.runtime.versions import NOT_INSTALLED, version_of


def test_a_checkout_that_is_not_installed_has_no_version_and_is_no_error() -> None:
    assert version_of("jax") == metadata.version("jax")
    assert version_of("nothing-of-this-name") == NOT_INSTALLED
