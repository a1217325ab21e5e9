"""A short run of the fuzzer over HTTP (`make torture` has the long one), and proof that it can fail."""

from __future__ import annotations

import logging

import pytest

from edged.portal import head, redirector
from edged.portal.head import Verdict
from tests.torture import fuzz_http


def test_nothing_breaks() -> None:
    report = fuzz_http.fuzz(20_261_122, 3_000)
    assert report.violations == []
    assert sum(report.where.values()) == 3_000
    # not all of it is noise at first sight, or the parser behind the first look would never be reached
    assert all(report.where[name] > 100 for name in ("found", "bad", "more"))


def test_a_reader_that_breaks_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(data: bytes, limit: int) -> Verdict:
        return Verdict.MORE if b"\0" in data else head.judge(data, limit)

    def garrulous(data: bytes, limit: int) -> Verdict:
        if b"\0" in data:
            logging.getLogger("edged").warning("noise")
        return head.judge(data, limit)

    monkeypatch.setattr(fuzz_http, "judge", deaf)
    assert any("then" in wrong or "full buffer" in wrong for wrong in fuzz_http.fuzz(1, 3_000).violations)
    monkeypatch.undo()
    monkeypatch.setattr(redirector, "judge", garrulous)
    assert any("logged: noise" in wrong for wrong in fuzz_http.fuzz(1, 3_000).violations)
    monkeypatch.undo()
    evil = {**head.answers(fuzz_http.URL), Verdict.BAD: b"HTTP/1.1 400 Evil\r\n\r\n"}
    monkeypatch.setattr(redirector, "answers", lambda _url: evil)
    assert any("the redirector said" in wrong for wrong in fuzz_http.fuzz(1, 3_000).violations)
