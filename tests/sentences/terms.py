"""§2 to §4: terms of their own for each invoice, what a promise was given for, and the end of what lifts a debt."""

from __future__ import annotations

from typing import Any

from tests.sentences.rows import Row, Steps
from tests.sentences.story import Command, block, defer, moment, paid, trust, unblock

DEBT = (block("debt", "F-1"), "applied")
TWO = block("debt", "F-1", "F-2")
MONDAY = "deferred 2026-11-30 08:00 calendar"
SATURDAY = "2026-11-28 10:00"
OVERRIDE = {"author": "j.silva", "motive": "ticket 4711"}
UNTRUST = {"op": "untrust", "sub": "A"}
UNDEFER = {"op": "undefer", "sub": "A", "kind": "hardship"}
MORATORIUM = {"op": "moratorium", "area": "centro", "until": moment("2026-12-09 11:00")}


def holiday(day: str) -> Command:
    return {"op": "calendar", "area": "centro", "dates": [day], "version": "2026"}


def listed(op: str, invoice: str, due: str, **more: Any) -> Command:
    return {"op": op, "sub": "A", "invoices": [{"id": invoice, "due": due}], **more}


def onset(about: str, steps: Steps) -> Row:
    return Row("§3", "Onset of a *debt* reason", about, steps)


def kept(about: str, steps: Steps) -> Row:
    return Row("§2", "Granted → fulfilled", about, steps)


ONSETS = [
    onset("an invoice that joins a debt in force has its own", [
        DEBT, SATURDAY, (TWO, MONDAY), "= walled", (paid("F-1"), "applied"), "= open", "reasons debt",
        "2026-11-30 07:59", "= open", "2026-11-30 08:00", "= walled", "! block.began debt", "! none",
    ]),
    onset("an invoice that takes another's place, too", [
        DEBT, SATURDAY, (block("debt", "F-2"), MONDAY), "= open", "2026-11-30 08:00", "= walled", "! block.began debt",
    ]),
    onset("what has begun stays begun, whatever is said of it", [
        DEBT, (block("debt", "F-1", not_before=moment("2026-12-09 10:00")), "unchanged"), "= walled",
        (block("debt", "F-1", "F-2", notified_at=moment("2026-11-23 10:00")), "deferred 2026-12-08 10:00 notice_days"),
        "= walled",
    ]),
    onset("said again, it waits on", [
        DEBT, SATURDAY, (TWO, MONDAY), (TWO, MONDAY), DEBT, "2026-11-30 08:00", "! none", "= walled",
    ]),
    onset("several invoices that begin together are told once", [
        DEBT, SATURDAY, (block("debt", "F-1", "F-2", "F-3"), MONDAY), "2026-11-30 08:00", "! block.began debt",
        "! none",
    ]),
    onset("an invoice that waits can be paid", [
        DEBT, SATURDAY, (TWO, MONDAY), (paid("F-2"), "applied"), "= walled", (paid("F-1"), "applied"), "reasons ",
        "2026-11-30 08:00", "= open", "! none",
    ]),
    onset("an invoice that waits is judged anew by each command", [
        DEBT,
        (block("debt", "F-1", "F-2", not_before=moment("2026-12-09 10:00")), "deferred 2026-12-09 10:00 not_before"),
        (TWO, "applied"), (paid("F-1"), "applied"), "= walled",
    ]),
    onset("but its notification counts on", [
        DEBT,
        (block("debt", "F-1", "F-2", notified_at=moment("2026-11-23 10:00")), "deferred 2026-12-08 10:00 notice_days"),
        (TWO, "deferred 2026-12-08 10:00 notice_days"),
        (block("debt", "F-1", "F-2", notified_at=moment("2026-11-09 10:00")), "applied"),
    ]),
    onset("the notification of a debt that waits as a whole counts on, its not_before does not", [
        (block("debt", notified_at=moment("2026-11-23 10:00")), "deferred 2026-12-08 10:00 notice_days"),
        (block("debt", not_before=moment("2026-12-09 10:00")), "deferred 2026-12-09 10:00 not_before"),
        (block("debt"), "deferred 2026-12-08 10:00 notice_days"), "2026-12-08 10:00", "= walled",
    ]),
    onset("an invoice that waits for its area", [
        DEBT, (MORATORIUM, "applied"), (TWO, "deferred 2026-12-09 11:00 moratorium"), (paid("F-1"), "applied"),
        "= open", ({"op": "end_moratorium", "area": "centro"}, "applied"), "= walled", "! block.began debt",
    ]),
    onset("a holiday that is told while an invoice waits", [
        DEBT, SATURDAY, (TWO, MONDAY), (paid("F-1"), "applied"), (holiday("2026-11-30"), "applied"),
        "2026-11-30 23:00", "= open", "2026-12-01 08:00", "= walled", "! block.began debt",
    ]),
    onset("an override begins an invoice at once", [
        DEBT, SATURDAY, (block("debt", "F-2", override=OVERRIDE), "applied"), "= walled",
    ]),
    onset("what is named of a whole debt in force has begun", [
        (block("debt"), "applied"), SATURDAY, (TWO, "applied"), "= walled", (paid("F-1"), "applied"), "= walled",
    ]),
    onset("the rest of a debt waits beside what was named", [
        DEBT, SATURDAY, (block("debt"), MONDAY), "= walled", (block("debt"), MONDAY), (paid("F-1"), "applied"),
        "= open", "reasons debt", "2026-11-30 08:00", "= walled", "! block.began debt",
        (paid("INSTALMENT-1"), "applied"), "= open",
    ]),
    onset("a list takes the place of the rest", [
        DEBT, SATURDAY, (block("debt"), MONDAY), DEBT, (paid("F-1"), "applied"), "reasons ",
        "2026-11-30 08:00", "! none",
    ]),
    onset("the rest begins at once where it may", [
        DEBT, (block("debt"), "applied"), (paid("INSTALMENT-1"), "applied"), "= open",
    ]),
    onset("a level that rises waits, of that debt alone", [
        (block("debt", level="notice"), "applied"), SATURDAY, (block("debt"), MONDAY), "= notice",
        (block("debt_partial", override=OVERRIDE), "applied"), "= reduced", (unblock("debt_partial"), "applied"),
        "= notice", "2026-11-30 08:00", "= walled",
    ]),
    onset("a level that rises under a promise waits no less", [
        (block("debt", level="notice"), "applied"), SATURDAY, (trust(until=moment("2026-12-01 10:00")), "applied"),
        (block("debt", not_before=moment("2026-12-09 10:00")), "deferred 2026-12-09 10:00 not_before"), "= open",
        "2026-12-01 10:00", "= notice", "2026-12-09 10:00", "= walled",
    ]),
    onset("a level that falls counts at once", [
        (block("debt", level="reduced"), "applied"), SATURDAY, (block("debt"), MONDAY), "= reduced",
        (block("debt", level="notice"), "applied"), "= notice", "2026-11-30 08:00", "= notice",
    ]),
    onset("a level that rises is judged anew by each command", [
        (block("debt", level="notice"), "applied"),
        (block("debt", not_before=moment("2026-12-09 10:00")), "deferred 2026-12-09 10:00 not_before"), "= notice",
        (block("debt", not_before=moment("2026-12-03 10:00")), "deferred 2026-12-03 10:00 not_before"), "= notice",
        (block("debt"), "applied"), "= walled",
    ]),
    onset("two levels that rise wait each for its own moment", [
        (block("debt", level="notice"), "applied"), (block("debt_partial", level="notice"), "applied"),
        (block("debt", not_before=moment("2026-12-09 10:00")), "deferred 2026-12-09 10:00 not_before"),
        (block("debt_partial", not_before=moment("2026-12-03 10:00")), "deferred 2026-12-03 10:00 not_before"),
        "= notice", "2026-12-03 10:00", "= reduced", "2026-12-09 10:00", "= walled",
    ]),
    onset("a block sent anew is not held by what waited before it was ended", [
        (block("debt", level="notice"), "applied"), SATURDAY, (block("debt"), MONDAY), (unblock("debt"), "applied"),
        (block("debt", override=OVERRIDE), "applied"), "= walled",
    ]),
    onset("a deferral that is ended", [
        DEBT, (defer("hardship", "2026-12-09 10:00"), "applied"), SATURDAY, (UNDEFER, MONDAY),
        "! defer.ended hardship", "= open", "2026-11-30 07:59", "= open", "2026-11-30 08:00", "= walled",
    ]),
    onset("a deferral that lifts less", [
        DEBT, (defer("hardship", "2026-12-09 10:00", up_to="notice"), "applied"), SATURDAY,
        (defer("hardship", "2026-12-09 10:00", up_to="reduced"), MONDAY), "= notice", "2026-11-30 08:00", "= reduced",
        "2026-12-09 10:00", "= walled",
    ]),
    onset("a deferral that ends on a day that has become a holiday", [
        DEBT, (defer("hardship", "2026-12-01 10:00"), "applied"), (holiday("2026-12-01"), "applied"),
        "2026-12-01 10:00", "! defer.ended hardship", "= open", "2026-12-02 07:59", "= open", "2026-12-02 08:00",
        "= walled",
    ]),
    onset("a deferral that ends in an outage", [
        DEBT, (defer("hardship", "2026-12-01 10:00"), "applied"),
        ({"op": "outage", "id": "o", "area": "centro"}, "applied"), "= open", "2026-12-01 12:00", "= open",
        ({"op": "end_outage", "id": "o"}, "applied"), "= walled",
    ]),
    onset("a deferral whose end is felt by nobody", [
        (defer("hardship", "2026-12-09 10:00"), "applied"), (block("notice", "F-1"), "applied"),
        (block("operator"), "applied"), (paid(), "applied"), SATURDAY, (UNDEFER, "applied"), "= walled",
    ]),
    onset("a promise that ends is put off by nothing", [
        DEBT, (trust(until=moment("2026-11-30 10:00")), "applied 2026-11-30 10:00"), (holiday("2026-11-30"), "applied"),
        "2026-11-30 10:00", "! trust.ended breached", "= walled",
    ]),
    onset("days of notice count for a partial block, too, not for a reminder", [
        (block("debt_partial", notified_at=moment("2026-11-23 10:00")), "deferred 2026-12-08 10:00 notice_days"),
        (block("notice", notified_at=moment("2026-11-23 10:00")), "applied"), "= notice",
        "2026-12-08 10:00", "! block.began debt_partial", "= reduced",
    ]),
]  # fmt: skip

PROMISES = [
    kept("fulfilled, as soon as what it was given for is paid", [
        DEBT, (trust(hours=24), "applied"), (block("notice", "F-2"), "applied"), (paid("F-1"), "applied"),
        "! trust.ended fulfilled", "= notice",
    ]),
    kept("fulfilled, but it runs on where another debt would cut", [
        DEBT, (trust(hours=24), "applied"), (block("debt_partial", "F-2"), "applied"), (paid("F-1"), "applied"),
        "! none", "= open", "2026-11-25 10:00", "! trust.ended fulfilled", "= reduced",
        (trust("F-2", hours=1), "trust_spent"), (block("notice", "F-3"), "applied"), (trust("F-3", hours=1), "applied"),
    ]),
    kept("released, as soon as what it was given for is taken back", [
        DEBT, (trust(hours=24), "applied"), (block("notice", "F-2"), "applied"), (unblock("debt"), "applied"),
        "! trust.ended released", "= notice",
    ]),
    kept("released, but it runs on where another debt would cut", [
        DEBT, (trust(hours=24), "applied"), (block("debt_partial", "F-2"), "applied"), (unblock("debt"), "applied"),
        "! none", "= open", (paid("F-1"), "applied"), "2026-11-25 10:00", "! trust.ended released", "= reduced",
        (block("notice", "F-3"), "applied"), (trust("F-3", hours=1), "applied"),
    ]),
    kept("released, where the invoices it names are taken back", [
        DEBT, (block("debt_partial", "F-2"), "applied"), (trust("F-1", hours=24), "applied"), "= reduced",
        (unblock("debt"), "applied"), "! trust.ended released", "= reduced",
    ]),
    kept("breached, where only some of it is paid", [
        (TWO, "applied"), (trust(hours=1), "applied"), (paid("F-1"), "applied"), "! none", "2026-11-24 11:00",
        "! trust.ended breached", "= walled",
    ]),
    kept("breached, where the rest that waited is not paid", [
        DEBT, SATURDAY, (block("debt"), MONDAY), (trust(until=moment("2026-12-01 10:00")), "applied"),
        (paid("F-1"), "applied"), "! none", "2026-11-30 08:00", "! block.began debt", "= open", "2026-12-01 10:00",
        "! trust.ended breached", "= walled",
    ]),
    Row("§2", "none of the invoices has a spent promise", "a reminder that comes under a promise spends none", [
        DEBT, (trust(hours=1), "applied"), (block("notice", "F-2"), "applied"), (UNTRUST, "applied"),
        (trust("F-2", hours=1), "applied"),
    ]),
    Row("§2", "Once per invoice", "an invoice that waits and comes under a promise for all has used it", [
        DEBT, SATURDAY, (trust(until=moment("2026-12-01 10:00")), "applied"), (block("debt", "F-1", "F-2"), MONDAY),
        "2026-11-30 09:00", "= open", (UNTRUST, "applied"), "= walled", (trust("F-2", hours=1), "trust_spent"),
    ]),
    Row("§2", "Once per invoice", "a debt without invoices has had its own where any unpaid one has", [
        DEBT, (trust(hours=1), "applied"), (unblock("debt*"), "applied"), (block("debt"), "applied"),
        (trust(hours=2), "trust_spent"), (paid("F-1"), "applied"), (block("debt"), "applied"),
        (trust(hours=2), "applied"), "= open",
    ]),
    Row("§2", "Once per invoice", "all is paid: also what was taken back", [
        DEBT, (trust(hours=1), "applied"), (unblock("debt*"), "applied"), (paid(), "applied"),
        (block("debt", "F-1"), "unchanged"), "= open", (block("debt"), "applied"), (trust(hours=2), "applied"),
    ]),
    Row("§2", "Once per invoice", "none after a breach until what was promised is paid, whatever else is", [
        DEBT, (trust(hours=1), "applied"), "2026-11-24 11:00", "! trust.ended breached",
        (block("debt", "F-2"), "applied"), (paid("F-2"), "applied"), "= open", (block("debt", "F-3"), "applied"),
        (trust(hours=1), "trust_spent"), (paid("F-1"), "applied"), (trust(hours=1), "trust_spent"),
        (paid("F-3"), "applied"), (block("debt", "F-4"), "applied"), (trust(hours=1), "applied"),
    ]),
    Row("§2", "Once per invoice", "none after a breach that was taken back", [
        DEBT, (trust(hours=1), "applied"), "2026-11-24 11:00", (unblock("debt*"), "applied"),
        (block("debt", "F-2"), "applied"), (trust(hours=1), "trust_spent"),
    ]),
    Row("§2", "a debt reason is in force or pending", "but for what no promise lifts, also said again", [
        DEBT, (trust(until=moment("2026-11-25 10:00")), "applied"), (block("fraud"), "applied"),
        (trust(until=moment("2026-11-25 10:00")), "trust_not_applicable"), "= walled", (unblock("fraud"), "applied"),
        (trust(until=moment("2026-11-25 10:00")), "unchanged"), "= open",
    ]),
    Row("§2", "the oldest listed invoice", "due as the promise says where no reason does", [
        DEBT, (listed("trust", "F-1", "2026-11-21", hours=1), "trust_not_applicable"), "= walled",
        (listed("trust", "F-1", "2026-11-20", hours=1), "applied"), "= open",
    ]),
    Row("§2", "the oldest listed invoice", "due as the reason says where one does", [
        (listed("block", "F-1", "2026-11-21", reason="debt"), "applied"),
        (listed("trust", "F-1", "2026-11-01", hours=1), "trust_not_applicable"), "= walled",
    ]),
]  # fmt: skip

AFTER = [
    Row("§4", "`preventive` after 30 days", "not while something lifts it", [
        DEBT, (defer("agreement", "2027-02-01 10:00"), "applied"), "2027-01-23 10:00", "! none", "2027-02-01 10:00",
        "! defer.ended agreement", "= walled", "2027-04-02 09:59", "! none", "2027-04-02 10:00",
        "! deadline.reached debt",
    ]),
    Row("§4", "`preventive` after 30 days", "nor one that the command names; then at the end of what lifts it", [
        (block("debt_partial", "F-1", deadline=moment("2026-12-01 10:00")), "applied"),
        (defer("agreement", "2026-12-09 10:00", up_to="notice"), "applied"), "2026-12-09 09:59", "! none",
        "2026-12-09 10:00", "! defer.ended agreement", "! deadline.reached debt_partial", "! none",
    ]),
    Row("§4", "`preventive` after 30 days", "nor for longer than that lasts", [
        DEBT, (defer("agreement", "2026-12-10 10:00", "F-1"), "applied"),
        (defer("dispute", "2028-07-03 10:00", "F-2"), "applied"), "2026-12-10 10:00", "! defer.ended agreement",
        "2027-01-23 10:00", "! deadline.reached debt",
    ]),
    Row("§4", "`preventive` after 30 days", "of what nothing lifts, all the same", [
        (block("preventive"), "applied"), (defer("agreement", "2027-02-01 10:00"), "applied"), "2026-12-24 10:00",
        "! deadline.reached preventive",
    ]),
    Row("§4", "`pause` ends itself", "a date that has passed ends the one in force", [
        (block("pause", deadline=moment("2026-12-24 10:00")), "applied"), "= walled",
        (block("pause", deadline=moment("2026-11-24 09:00")), "applied"), "! pause.ended A", "= open", "reasons ",
    ]),
    Row("§4", "`pause` ends itself", "and one that waits", [
        (block("pause", not_before=moment("2026-12-01 10:00")), "deferred"),
        (block("pause", deadline=moment("2026-11-24 09:00")), "applied"), "reasons ", "2026-12-01 10:00", "= open",
    ]),
    Row("§4", "`pause` ends itself", "and begins none", [
        (block("pause", deadline=moment("2026-11-24 09:00")), "unchanged"), "= open", "! none", "reasons ",
    ]),
]  # fmt: skip

ROWS = [*ONSETS, *PROMISES, *AFTER]
