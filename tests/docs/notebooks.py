"""The notebooks under docs/; `python -m tests.docs.notebooks [NAME...]` executes them and stores their outputs."""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.docs.markdown import ROOT

NOTEBOOKS = tuple(sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")))
CELL_SECONDS = 600  # of a cell that hangs
TRANSPORT = "tcp" if os.name == "nt" else "ipc"  # sockets are files where they can be
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read(path: Path) -> NotebookNode:
    """A notebook as it is stored."""
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that are executed: those of code that is there."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def prose(notebook: NotebookNode) -> str:
    """What stands between the code, as one page of Markdown."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook with the outputs of a clean kernel in a folder; a cell that raises is a CellExecutionError."""
    executed = nbformat.from_dict(notebook)
    settings = {"metadata": {"path": str(folder)}}
    with tempfile.TemporaryDirectory() as sockets:  # whose names must be short
        places = {"transport": TRANSPORT, "connection_file": f"{sockets}/kernel.json"}
        kernel = AsyncKernelManager(kernel_name=KERNEL["name"], **places)
        client = NotebookClient(executed, km=kernel, timeout=CELL_SECONDS, resources=settings, coalesce_streams=True)
        client.execute(cleanup_kc=True)
    return stripped(executed)


def stripped(notebook: NotebookNode) -> NotebookNode:
    """Without what differs from one run or machine to the next and is no output: times, versions, random names."""
    notebook.metadata = NotebookNode({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = NotebookNode()
    return notebook


def main(names: list[str]) -> None:
    """Executes notebooks, each in a folder of its own, and stores their outputs."""
    for path in NOTEBOOKS:
        if not names or path.stem in names:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(execute(read(path), Path(folder)), path)


if __name__ == "__main__":
    main(sys.argv[1:])
