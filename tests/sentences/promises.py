"""§2: promises."""

from __future__ import annotations

from typing import Any

from tests.sentences.rows import Row
from tests.sentences.story import Story, block, moment, paid, trust, unblock

DEBT = (block("debt", "F-1"), "applied")
CLAIMED = {"basis": "payment_claimed"}
UNTRUST = {"op": "untrust", "sub": "A"}


def invoice(name: str, due: str) -> dict[str, str]:
    return {"id": name, "due": due}


def owing(*invoices: object) -> tuple[dict[str, object], str]:
    return {"op": "block", "sub": "A", "reason": "debt", "invoices": [*invoices]}, "applied"


def length(about: str, until: str, begin: str = "2026-11-24 10:00", **fields: Any) -> Row:
    """A promise without a length of its own ends then; the guard is off, to see it."""
    return Row("§2", "Default lengths:", about, [
        (block("debt", override={"author": "a", "motive": "m"}), "applied"), (trust(**fields), f"applied {until}"),
        "= open",
    ], policy="no guard", begin=begin)  # fmt: skip


def told_why(story: Story) -> None:
    """The answer says that the end was moved."""
    again = story.core.send(trust(until=moment("2026-11-27 10:00")))["results"][0]
    assert again["status"] == "unchanged"
    assert again["until"] == story.utc("2026-11-30 08:00")


def forgetful(story: Story) -> None:
    """A snapshot that knows the address and no debt."""
    story.core.sync([{"op": "bind", "sub": "A", "addresses": ["100.64.0.1"]}])


def nothing_spent(story: Story) -> None:
    assert not story.record()["promise"]["spent"]


ROWS = [
    Row("§2", "Two bases:", "a promise", [
        DEBT, (trust(basis="promise"), "applied 2026-11-26 08:00"), "= open",
    ]),
    Row("§2", "Two bases:", "a payment that has not cleared", [
        DEBT, (trust(basis="payment_claimed"), "applied 2026-11-30 08:00"), "= open",
    ]),
    Row("§2", "Two bases:", "no third", [DEBT, (trust(basis="hope", hours=1), "malformed"), "= walled"]),
    length("promise: to the end of the next business day", "2026-11-26 00:00"),
    length("promise on a Friday", "2026-12-01 00:00", "2026-11-27 10:00"),
    length("promise before Carnival", "2027-02-11 00:00", "2027-02-05 10:00"),
    length("promise before Corpus Christi", "2027-05-29 00:00", "2027-05-26 10:00"),
    length("the same in words", "2026-11-26 00:00", next_business_day=True),
    length("card: 3 calendar days", "2026-11-27 10:00", method="card", **CLAIMED),
    length("bank: 2 business days", "2026-11-27 00:00", method="bank", **CLAIMED),
    length("bank over a weekend", "2026-12-01 00:00", "2026-11-26 10:00", method="bank", **CLAIMED),
    length("lottery shop: 2 business days", "2026-11-27 00:00", method="lottery", **CLAIMED),
    length("debit: 2 business days", "2026-11-27 00:00", method="debit", **CLAIMED),
    length("collection agency: 4 business days", "2026-12-01 00:00", method="collection", **CLAIMED),
    length("PIX: 1 hour", "2026-11-24 11:00", method="pix", **CLAIMED),
    Row("§2", "a debt reason is in force or pending", "in force", [DEBT, (trust(hours=1), "applied")]),
    Row("§2", "a debt reason is in force or pending", "pending", [
        (block("debt", not_before=moment("2026-11-25 10:00")), "deferred"), (trust(hours=1), "applied"),
    ]),
    Row("§2", "a debt reason is in force or pending", "neither", [
        (trust(hours=1), "trust_not_applicable"), DEBT, (paid(), "applied"), (trust(hours=1), "trust_not_applicable"),
        (block("operator"), "applied"), (trust(hours=1), "trust_not_applicable"),
    ]),
    Row("§2", "the oldest listed invoice", "three days", [
        owing(invoice("F-1", "2026-11-21")), (trust(hours=1), "trust_not_applicable"), "= walled", nothing_spent,
    ]),
    Row("§2", "the oldest listed invoice", "four days", [
        owing(invoice("F-1", "2026-11-20")), (trust(hours=1), "applied"), "= open",
    ]),
    Row("§2", "the oldest listed invoice", "due date not known", [owing("F-1"), (trust(hours=1), "applied"), "= open"]),
    Row("§2", "the oldest listed invoice", "of several", [
        owing(invoice("F-1", "2026-11-23"), invoice("F-2", "2026-11-01")),
        (trust("F-1", hours=1), "trust_not_applicable"), (trust("F-1", "F-2", hours=1), "applied"), "= open",
    ]),
    Row("§2", "the oldest listed invoice", "known from another reason", [
        owing("F-1", invoice("F-2", "2026-11-23")),
        (block("notice", "F-2"), "applied"), (trust("F-2", hours=1), "trust_not_applicable"),
    ]),
    Row("§2", "the oldest listed invoice", "as the provider says", [
        owing(invoice("F-1", "2026-11-23")), (trust(hours=1), "applied"),
    ], policy="a day overdue"),
    Row("§2", "none of the invoices has a spent promise", "one has", [
        DEBT, (trust(hours=1), "applied"), (UNTRUST, "applied"), (block("debt", "F-1", "F-2"), "applied"),
        (trust(hours=1), "trust_spent"), (trust("F-1", "F-2", hours=1), "trust_spent"), "= walled",
        (trust("F-2", hours=1), "applied"),
    ]),
    Row("§2", "Once per invoice", "once", [
        DEBT, (trust(hours=1), "applied"), (UNTRUST, "applied"), (trust(hours=2), "trust_spent"), "= walled",
    ]),
    Row("§2", "Once per invoice", "once for a debt without invoices", [
        (block("debt"), "applied"), (trust(hours=1), "applied"), (UNTRUST, "applied"), (trust(hours=2), "trust_spent"),
    ]),
    Row("§2", "Once per invoice", "an invoice that comes while a promise for all runs has used it", [
        DEBT, (trust(hours=1), "applied"), (block("debt", "F-1", "F-2"), "applied"), "= open", (UNTRUST, "applied"),
        (trust("F-2", hours=1), "trust_spent"),
    ]),
    Row("§2", "Once per invoice", "as often as the provider says", [
        DEBT, (trust(hours=1), "applied"), (UNTRUST, "applied"), (trust(hours=2), "applied"), (UNTRUST, "applied"),
        (trust(hours=3), "trust_spent"),
    ], policy="two an invoice"),
    Row("§2", "Once per invoice", "none after a breach, for no invoice, until it is paid", [
        DEBT, (trust(hours=1), "applied"), "2026-11-24 11:00", "! trust.ended breached",
        (block("debt", "F-1", "F-2"), "applied"), (trust("F-2", hours=1), "trust_spent"), "2027-03-01 10:00",
        (trust("F-2", hours=1), "trust_spent"), (paid(), "applied"), (block("debt", "F-3"), "applied"),
        (trust(hours=1), "applied"),
    ]),
    Row("§2", "Once per invoice", "none after a breach that no timer has carried out yet", [
        (block("debt", "F-1", "F-2"), "applied"), (trust("F-1", hours=1), "applied"), "asleep 2026-11-24 12:00",
        "restart", (trust("F-2", hours=1), "trust_spent"), "= walled", "! trust.ended breached",
    ]),
    Row("§2", "Once per invoice", "none after a breach, also with several an invoice", [
        DEBT, (trust(hours=1), "applied"), "2026-11-24 11:00", (trust(hours=1), "trust_spent"),
    ], policy="two an invoice"),
    Row("§2", "Once per invoice", "N per 30 days", [
        DEBT, (trust(hours=1), "applied"), (paid(), "applied"), (block("debt", "F-2"), "applied"),
        (trust(hours=1), "trust_spent"), "2026-12-24 09:59", (trust(hours=1), "trust_spent"),
        "2026-12-24 10:01", (trust(hours=1), "applied"),
    ], policy="one in 30 days"),
    Row("§2", "Kept for ever", "over restarts", [
        DEBT, (trust(hours=1), "applied"), (UNTRUST, "applied"), "restart", (trust(hours=2), "trust_spent"),
    ]),
    Row("§2", "Kept for ever", "a breach over restarts", [
        DEBT, (trust(hours=1), "applied"), "asleep 2026-11-24 12:00", "restart", "timers",
        (block("debt", "F-2"), "applied"), (trust("F-2", hours=2), "trust_spent"),
    ]),
    Row("§2", "Kept for ever", "a forgetful ERP", [
        DEBT, (trust(hours=1), "applied"), (unblock("debt*"), "applied"), "! trust.ended released", DEBT, "= walled",
        (trust(hours=2), "trust_spent"), "2027-11-23 10:00", (unblock("debt"), "applied"), DEBT,
        (trust(hours=2), "trust_spent"),
    ]),
    Row("§2", "Kept for ever", "an ERP that forgets the invoices while a promise runs", [
        DEBT, (trust(hours=1), "applied"), (block("debt"), "applied"), "= open", (UNTRUST, "applied"),
        (trust(hours=2), "trust_spent"), "= walled",
    ]),
    Row("§2", "Kept for ever", "snapshots that have forgotten it", [
        DEBT, (trust(hours=1), "applied"),
        forgetful,
        "= open", DEBT, (trust(hours=2), "trust_spent"),
    ]),
    Row("§2", "Longer than `trust_max_hours`", "an hour too long", [
        DEBT, (trust(hours=169), "trust_too_long"), "= walled", nothing_spent, (trust(hours=168), "applied"), "= open",
    ]),
    Row("§2", "Longer than `trust_max_hours`", "by until, by days", [
        DEBT, (trust(until=moment("2026-12-01 10:01")), "trust_too_long"), (trust(days=7.1), "trust_too_long"),
        (trust(until=moment("2026-12-01 10:00")), "applied"),
    ]),
    Row("§2", "Longer than `trust_max_hours`", "a usual length never is", [
        (block("debt", override={"author": "a", "motive": "m"}), "applied"),
        (trust(method="collection", **CLAIMED), "applied 2027-02-16 08:00"), "= open",
    ], begin="2027-02-05 10:00"),
    Row("§2", "Granted → fulfilled", "fulfilled", [
        DEBT, (trust(hours=1), "applied"), (paid(), "applied"), "! trust.ended fulfilled", "= open",
    ]),
    Row("§2", "Granted → fulfilled", "fulfilled, as soon as its invoices are paid", [
        (block("debt", "F-1", "F-2"), "applied"), (trust("F-1", hours=1), "applied"), (paid("F-1"), "applied"),
        "! trust.ended fulfilled", "= walled",
    ]),
    Row("§2", "Granted → fulfilled", "breached", [
        DEBT, (trust(hours=1), "applied"), "2026-11-24 11:00", "! trust.ended breached", "= walled",
    ]),
    Row("§2", "Granted → fulfilled", "revoked", [
        DEBT, (trust(hours=1), "applied"), (UNTRUST, "applied"), "! trust.ended revoked", "= walled",
    ]),
    Row("§2", "In force within a second", "with the answer", [DEBT, "= walled", (trust(hours=1), "applied"), "= open"]),
    Row("§2", "At the end the old level", "to the second, in the kernel alone", [
        DEBT, (trust(until=moment("2026-11-25 12:00")), "applied"), "asleep 2026-11-25 11:59:59", "kernel A open",
        "asleep 2026-11-25 12:00", "kernel A walled", "restart", "timers", "= walled", "! trust.ended breached",
    ]),
    Row("§2", "At the end the old level", "also where it was not the whole", [
        (block("debt_partial", "F-1"), "applied"), (trust(until=moment("2026-11-25 12:00")), "applied"), "= open",
        "asleep 2026-11-25 12:00", "kernel A reduced",
    ]),
    Row("§2", "At the end the old level", "also over a deferral that stops short", [
        DEBT, ({"op": "defer", "sub": "A", "kind": "agreement", "until": moment("2026-12-01 10:00"),
                "up_to": "reduced"}, "applied"),
        (trust(until=moment("2026-11-25 12:00")), "applied"), "= open", "2026-11-25 12:00", "= reduced",
    ]),
    Row("§2", "A promise may also be given before", "it holds when the block begins", [
        (block("debt", not_before=moment("2026-11-24 12:00")), "deferred"),
        (trust(until=moment("2026-11-24 15:00")), "applied"), "2026-11-24 12:00", "! block.began debt", "= open",
        "2026-11-24 15:00", "! trust.ended breached", "= walled",
    ]),
    Row("§2", "The end is moved", "from a Friday", [
        DEBT, (trust(until=moment("2026-11-27 10:00")), "applied 2026-11-30 08:00"), told_why,
        "2026-11-30 07:59", "= open", "2026-11-30 08:00", "= walled",
    ]),
    Row("§2", "The end is moved", "from an evening", [
        DEBT, (trust(until=moment("2026-11-25 20:00")), "applied 2026-11-26 08:00"),
    ]),
    Row("§2", "The end is moved", "not where it may end", [
        DEBT, (trust(until=moment("2026-11-25 15:00")), "applied 2026-11-25 15:00"),
    ]),
    Row("§2", "The end is moved", "not where the provider says so", [
        DEBT, (trust(until=moment("2026-11-27 10:00")), "applied 2026-11-27 10:00"),
    ], policy="no guard"),
    Row("§2", "The end is moved", "not without a calendar", [
        DEBT, (trust(until=moment("2026-11-28 03:00")), "applied 2026-11-28 03:00"),
    ], policy="none"),
    Row("§2", "The end is moved", "too long is judged before", [
        DEBT, "2026-11-25 19:00", (trust(hours=168), "applied 2026-12-03 08:00"),
    ]),
]  # fmt: skip
