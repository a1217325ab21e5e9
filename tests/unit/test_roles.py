"""Who may do what, as the table of domain.md §1 has it: written out here a second time, by hand."""

from __future__ import annotations

import pytest

from edged.domain import command
from edged.domain.model import REASONS
from edged.domain.roles import EVERY_ROLE, ROLES, may, refusal

SETTERS = {
    "court": "legal",
    "terminated": "billing",
    "fraud": "security",
    "abuse": "noc",
    "preventive": "billing security",
    "operator": "operator",
    "pause": "billing",
    "debt": "billing",
    "debt_partial": "billing",
    "notice": "billing",
}
DOERS = {
    "bind unbind paid defer undefer forget page calendar sync": "billing",
    "trust untrust": "billing operator",
    "moratorium end_moratorium garden": "billing noc",
    "outage end_outage": "noc",
    "query digest": "billing security legal noc operator",
}


def holders(op: str, reason: str | None = None) -> list[str]:
    return [role for role in ROLES if may({role}, op, reason)]


@pytest.mark.parametrize(("reason", "who"), SETTERS.items())
def test_who_sets_a_reason_also_clears_it_and_nobody_else(reason: str, who: str) -> None:
    assert holders("block", reason) == who.split()
    assert holders("unblock", reason) == who.split()


@pytest.mark.parametrize(("ops", "who"), DOERS.items())
def test_operations_without_a_reason(ops: str, who: str) -> None:
    for op in ops.split():
        assert holders(op) == who.split(), op
        assert holders(op, "court") == who.split(), "a reason decides only blocks and unblocks"


def test_every_operation_and_reason_of_this_version_has_a_line() -> None:
    for op in command.OPS:
        assert may(EVERY_ROLE, op, "debt"), op
    for reason in REASONS:
        assert may(EVERY_ROLE, "block", reason), reason
    assert may(EVERY_ROLE, "unblock", "debt*")


def test_what_no_table_names_nobody_may() -> None:
    assert not may(EVERY_ROLE, "reboot")
    assert not may(EVERY_ROLE, "block", "mood")
    assert not may(EVERY_ROLE, "block", None)
    assert not may(EVERY_ROLE, "block", "")
    assert not may(frozenset(), "query")
    assert not may({"root"}, "query")


def test_one_of_several_roles_is_enough() -> None:
    assert may({"noc", "billing"}, "paid")
    assert may(["noc", "legal"], "block", "court")
    assert not may({"noc", "operator"}, "paid")


def test_a_refusal_says_what_who_may_and_who_asked() -> None:
    assert refusal({"noc"}, "block", "court") == (
        "block court needs the role legal; this issuer has: noc (security.issuers, roles)"
    )
    assert "billing or security" in refusal({"noc", "legal"}, "block", "preventive")
    assert "has: legal, noc " in refusal({"noc", "legal"}, "block", "preventive")
    assert "paid needs the role billing; this issuer has: none" in refusal(set(), "paid", "court")
    assert "none there is" in refusal(EVERY_ROLE, "block", "mood")
