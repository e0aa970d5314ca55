"""Links of the pages to files beside docs/, which are part of the repository and not of the site.

On a code host they lead to the file. The site carries a copy of the file, and shows a link to a folder as text.
"""

import os
from pathlib import Path
from typing import Any

from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class RepositoryLinks(SphinxTransform):
    """Resolves the links of Markdown that lead out of docs/; one that leads nowhere is left for Sphinx to report."""

    default_priority = 5  # before Sphinx collects the files that it copies

    def apply(self, **kwargs: Any) -> None:
        """Replaces them in one page."""
        for link in list(self.document.findall(addnodes.pending_xref)):
            path = self._target(link) if link["reftype"] == "myst" else None
            if path is None or not path.exists() or path.is_relative_to(self.env.srcdir):
                continue
            link.replace_self(link.children if path.is_dir() else self._copy(path, link))

    def _target(self, link: addnodes.pending_xref) -> Path:
        if link["refdomain"] == "doc":  # MyST took it for a page of the site, and the suffix off
            return Path(self.env.srcdir, link["reftarget"] + ".md")
        return Path(os.path.normpath(self._folder(link) / link["reftarget"].partition("#")[0]))

    def _copy(self, path: Path, link: addnodes.pending_xref) -> addnodes.download_reference:
        target = os.path.relpath(path, self._folder(link))
        return addnodes.download_reference(
            "",
            "",
            *link.children,
            refdomain="",
            reftype="download",
            reftarget=target,
            refdoc=link["refdoc"],
            refexplicit=True,
        )

    def _folder(self, link: addnodes.pending_xref) -> Path:
        return Path(self.env.doc2path(link["refdoc"])).parent


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_transform(RepositoryLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
