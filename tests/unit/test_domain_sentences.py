"""Every sentence of domain.md §1 to §6 about the core, as a story; each row of the table quotes what it stands for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.sentences import after, elsewhere, onsets, promises, reasons, terms
from tests.sentences.rows import POLICIES, Row
from tests.sentences.story import Story
from tests.sentences.text import SENTENCES

ROWS: list[Row] = [*reasons.ROWS, *promises.ROWS, *onsets.ROWS, *terms.ROWS, *after.ROWS]


def sentence(paragraph: str, quote: str) -> str:
    """The sentence that begins so. Raises ValueError where there is none, or more than one."""
    (found,) = (s for s in SENTENCES[paragraph] if s.startswith(quote))
    return found


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(row: Row, tmp_path: Path) -> None:
    assert sentence(row.paragraph, row.quote)
    story = Story(tmp_path, POLICIES[row.policy], row.begin, row.limits)
    try:
        story.tell(row.steps)
        assert story.core.agrees()
    finally:
        story.core.store.close()


def test_every_sentence_has_a_row_or_a_place_elsewhere() -> None:
    covered = {sentence(row.paragraph, row.quote) for row in ROWS}
    covered |= {sentence(paragraph, quote) for paragraph, quote in elsewhere.ELSEWHERE}
    missing = [s for sentences in SENTENCES.values() for s in sentences if s not in covered]
    assert not missing


def test_no_two_rows_have_one_name() -> None:
    names = [str(row) for row in ROWS]
    assert not {n for n in names if names.count(n) > 1}


def test_what_covers_the_rest_is_there() -> None:
    """A sentence left to others names files of this repository, or an issue."""
    root = Path(__file__).parents[2]
    for place in elsewhere.ELSEWHERE.values():
        named = re.findall(r"tests/[a-z_/]+\.py", place)
        assert named or "issue" in place or "bench/" in place, place
        assert all((root / name).exists() for name in named), place
