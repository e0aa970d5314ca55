"""The table of docs/formats.md has a row for every kind of picture that is tested, and says what happens to it."""

from tests.docs.markdown import ROOT, table_rows
from tests.helpers.picture_kinds import KINDS


def test_the_table_of_pictures_says_of_every_tested_kind_whether_it_is_read() -> None:
    rows = table_rows((ROOT / "docs" / "formats.md").read_text(encoding="utf-8"))
    documented = {(row[0], row[1]): row[2] for row in rows if len(row) == 4 and row[2] in ("read", "refused")}
    tested = {(kind.row, "refused" if isinstance(kind.expected, str) else "read") for kind in KINDS}
    assert set(documented.items()) == tested
