"""The versions of installed packages."""

from importlib import metadata

NOT_INSTALLED = "not installed"


def version_of(package: str) -> str:
    """The version of a package; of one that runs from its folder, as this one may, NOT_INSTALLED."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
