"""The notebooks run from a clean kernel, and are stored as they ran: in order, without errors, small."""

from pathlib import Path

import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from tests.docs.markdown import ROOT, anchors, code_spans, links
from tests.docs.notebooks import NOTEBOOKS, code_cells, execute, prose, read
from tests.docs.test_pages import resolve

MAX_BYTES = 200_000  # of a notebook: it is part of every clone
MAX_PICTURE = 45_000  # of one as base64, a third more than the file
MAX_LINES = 30  # of text that a cell prints
NAMES = {path.stem for path in NOTEBOOKS}

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_is_a_notebook_for_each_use_and_the_site_has_all():
    assert {"first_picture", "own_loss", "own_task", "fine_tune"} == NAMES
    index = (ROOT / "docs" / "notebooks" / "index.rst").read_text(encoding="utf-8")
    assert {line.strip() for line in index.splitlines()} >= NAMES


@each_notebook
def test_it_is_stored_as_it_ran_from_the_first_cell_to_the_last(path: Path):
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert kinds <= {"stream", "display_data", "execute_result"}
    streams = {output.name for cell in cells for output in cell.outputs if output.output_type == "stream"}
    assert streams <= {"stdout"}  # a warning on stderr is not for readers


@each_notebook
def test_its_outputs_are_small_and_name_no_folder_of_the_machine(path: Path):
    assert path.stat().st_size < MAX_BYTES
    for output in (output for cell in code_cells(read(path)) for output in cell.outputs):
        pictures = [data for form, data in output.get("data", {}).items() if form.startswith("image/")]
        assert all(len(data) < MAX_PICTURE for data in pictures)
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        assert len(text.splitlines()) < MAX_LINES
        assert not any(f"{folder}/" in text for folder in ("/tmp", "/home", "/root", str(ROOT)))


@each_notebook
def test_its_links_lead_somewhere_and_its_names_are_in_the_code(path: Path):
    text = prose(read(path))
    for link in links(text):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve()
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link
    for name in code_spans(text):
        assert not name.startswith("msst_jax.") or resolve(name) is not None, name


@pytest.mark.slow
def test_a_cell_that_raises_fails_the_test_of_its_notebook(tmp_path: Path):
    cells = [new_code_cell("1 / 0"), new_code_cell("print('on')")]
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(new_notebook(cells=cells), tmp_path)


@pytest.mark.slow
@each_notebook
def test_it_runs_from_a_clean_kernel(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # nothing of the user's, and nothing stays
    notebook = read(path)
    executed = execute(notebook, tmp_path)
    for before, after in zip(code_cells(notebook), code_cells(executed), strict=True):
        assert [*map(kind, before.outputs)] == [*map(kind, after.outputs)]


def kind(output: NotebookNode) -> tuple[str, str, list[str]]:
    """What an output is, without what it holds."""
    return output.output_type, output.get("name", ""), sorted(output.get("data", {}))
