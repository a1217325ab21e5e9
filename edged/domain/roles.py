"""Who may ask for what: the issuer's role decides (domain.md §1). Pure tables; any one of its roles is enough.

An unsigned message, where such are obeyed, and the local socket have all roles: who may publish or log in is judged
elsewhere. What a role may set it may also clear; nobody clears what another role has set.
"""

from __future__ import annotations

from collections.abc import Collection

BILLING, SECURITY, LEGAL, NOC, OPERATOR = ROLES = ("billing", "security", "legal", "noc", "operator")
EVERY_ROLE = frozenset(ROLES)

_REASONS: dict[str, frozenset[str]] = {
    "court": frozenset({LEGAL}),
    "terminated": frozenset({BILLING}),
    "fraud": frozenset({SECURITY}),
    "abuse": frozenset({NOC}),
    "preventive": frozenset({BILLING, SECURITY}),
    "operator": frozenset({OPERATOR}),
    "pause": frozenset({BILLING}),
    "debt": frozenset({BILLING}),
    "debt_partial": frozenset({BILLING}),
    "notice": frozenset({BILLING}),
    "debt*": frozenset({BILLING}),
}
"""Reason -> who may set and clear it: the table of domain.md §1."""

_BY_REASON = frozenset({"block", "unblock"})

_OPS: dict[str, frozenset[str]] = {
    "bind": frozenset({BILLING}),
    "unbind": frozenset({BILLING}),
    "paid": frozenset({BILLING}),
    # The help desk grants promises by hand; it cannot settle an invoice.
    "trust": frozenset({BILLING, OPERATOR}),
    "untrust": frozenset({BILLING, OPERATOR}),
    "defer": frozenset({BILLING}),
    "undefer": frozenset({BILLING}),
    "forget": frozenset({BILLING}),
    "page": frozenset({BILLING}),
    "calendar": frozenset({BILLING}),
    "moratorium": frozenset({BILLING, NOC}),
    "end_moratorium": frozenset({BILLING, NOC}),
    "outage": frozenset({NOC}),
    "end_outage": frozenset({NOC}),
    "garden": frozenset({BILLING, NOC}),
    "sync": frozenset({BILLING}),  # a snapshot: it replaces bindings and debt
    "query": EVERY_ROLE,
    "digest": EVERY_ROLE,
}


def may(roles: Collection[str], op: str, reason: str | None = None) -> bool:
    """Whether one of ``roles`` is enough for ``op``; ``reason`` is that of a block or unblock.

    What no table names, nobody may: a new operation or reason needs a line above first.
    """
    return not _allowed(op, reason).isdisjoint(roles)


def refusal(roles: Collection[str], op: str, reason: str | None = None) -> str:
    """The sentence for code ``not_authorized``: what was asked, who may ask it, who did."""
    what = f"{op} {reason}" if op in _BY_REASON and reason else op
    allowed = " or ".join(role for role in ROLES if role in _allowed(op, reason)) or "none there is"
    held = ", ".join(role for role in ROLES if role in roles) or "none"
    return f"{what} needs the role {allowed}; this issuer has: {held} (security.issuers, roles)"


def _allowed(op: str, reason: str | None) -> frozenset[str]:
    if op in _BY_REASON:
        return _REASONS.get(reason or "", frozenset())
    return _OPS.get(op, frozenset())
