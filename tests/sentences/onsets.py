"""§3: when a block may begin."""

from __future__ import annotations

from collections.abc import Callable

from tests.sentences.rows import Row
from tests.sentences.story import Command, Step, Story, block, moment, paid, trust, unblock

DEBT = block("debt", "F-1")
OVERRIDE = {"author": "j.silva", "motive": "ticket 4711"}
HOLIDAY: Command = {"op": "calendar", "area": "centro", "dates": ["2026-11-25"], "version": "2026"}


def begins(about: str, begin: str, at: str, policy: str = "BR", **fields: str) -> Row:
    """A debt sent at ``begin`` begins at ``at``, where that is another moment."""
    debt = block("debt", "F-1", **fields)
    steps: list[Step | Callable[[Story], None]] = [(debt, "applied"), "= walled"]
    if begin != at:
        steps = [(debt, f"deferred {at} calendar"), "= open", at, "= walled", "! block.began debt"]
    return Row("§3", "Onset of a *debt* reason", about, steps, policy=policy, begin=begin)


def holiday(about: str, begin: str, at: str, policy: str = "BR") -> Row:
    """The same for holidays."""
    row = begins(about, begin, at, policy)
    return Row("§3", "National and state holidays", about, row.steps, policy=policy, begin=begin)


ROWS = [
    Row("§3", "Onset of a *debt* reason", "now", [(DEBT, "applied"), "= walled", "! none"]),
    Row("§3", "Onset of a *debt* reason", "not_before", [
        (block("debt", not_before=moment("2026-11-25 09:00")), "deferred 2026-11-25 09:00 not_before"),
        "2026-11-25 08:59", "= open", "2026-11-25 09:00", "= walled", "! block.began debt",
    ]),
    Row("§3", "Onset of a *debt* reason", "not_before that has passed", [
        (block("debt", not_before=moment("2026-11-24 09:59")), "applied"), "= walled",
    ]),
    Row("§3", "Onset of a *debt* reason", "fifteen days after the notice", [
        (block("debt", notified_at=moment("2026-11-23 10:00")), "deferred 2026-12-08 10:00 notice_days"),
        "2026-12-08 09:59", "= open", "2026-12-08 10:00", "= walled",
    ]),
    Row("§3", "Onset of a *debt* reason", "notified long enough ago", [
        (block("debt", notified_at=moment("2026-11-09 10:00")), "applied"), "= walled",
    ]),
    Row("§3", "Onset of a *debt* reason", "as many days as the provider says", [
        (block("debt", notified_at=moment("2026-11-23 10:00")), "deferred 2026-12-03 10:00 notice_days"),
    ], policy="ten days of notice"),
    Row("§3", "Onset of a *debt* reason", "a notice can be made mandatory", [
        (block("debt"), "notice_too_short"), "= open", (block("debt_partial"), "applied"), (block("notice"), "applied"),
        (block("operator"), "applied"), (block("debt", notified_at=moment("2026-11-01 10:00")), "applied"),
    ], policy="require notice"),
    Row("§3", "Onset of a *debt* reason", "the latest of them: notice", [
        (block("debt", notified_at=moment("2026-11-23 10:00"), not_before=moment("2026-11-25 10:00")),
         "deferred 2026-12-08 10:00 notice_days"),
    ]),
    Row("§3", "Onset of a *debt* reason", "the latest of them: not_before", [
        (block("debt", notified_at=moment("2026-11-23 10:00"), not_before=moment("2026-12-09 10:00")),
         "deferred 2026-12-09 10:00 not_before"),
    ]),
    Row("§3", "Onset of a *debt* reason", "the latest of them: moratorium", [
        ({"op": "moratorium", "area": "*", "until": moment("2026-12-09 11:00")}, "applied"),
        (block("debt", notified_at=moment("2026-11-23 10:00")), "deferred 2026-12-09 11:00 moratorium"),
    ]),
    Row("§3", "Onset of a *debt* reason", "the latest of them, moved by the calendar", [
        (block("debt", notified_at=moment("2026-11-13 10:00")), "deferred 2026-11-30 08:00 calendar"),
        "2026-11-30 07:59", "= open", "2026-11-30 08:00", "= walled",
    ]),
    Row("§3", "Onset of a *debt* reason", "a moratorium that comes before it begins", [
        (block("debt", not_before=moment("2026-11-25 10:00")), "deferred"),
        ({"op": "moratorium", "area": "centro", "until": moment("2026-11-26 11:00")}, "applied"),
        "2026-11-25 10:00", "= open", "2026-11-26 10:59", "= open", "2026-11-26 11:00", "= walled",
    ]),
    Row("§3", "Onset of a *debt* reason", "an outage at the moment it would begin", [
        (block("debt", not_before=moment("2026-11-25 10:00")), "deferred"), "2026-11-25 09:50",
        ({"op": "outage", "id": "o", "area": "centro", "eta": moment("2026-11-25 10:05")}, "applied"),
        "2026-11-25 10:00", "= open", "2026-11-25 11:30", "= open", ({"op": "end_outage", "id": "o"}, "applied"),
        "2026-11-25 11:45", "= walled",
    ]),
    Row("§3", "Onset of a *debt* reason", "an outage that ends in the evening", [
        ({"op": "outage", "id": "o", "area": "centro"}, "applied"), (DEBT, "deferred"), "2026-11-24 21:00",
        ({"op": "end_outage", "id": "o"}, "applied"), "= open", "2026-11-25 07:59", "= open",
        "2026-11-25 08:00", "= walled",
    ]),
    Row("§3", "Onset of a *debt* reason", "a gateway that was off at the moment", [
        (block("debt", not_before=moment("2026-11-26 17:00")), "deferred"), "asleep 2026-11-27 10:00", "restart",
        "timers", "= open", "2026-11-30 07:59", "= open", "2026-11-30 08:00", "= walled",
    ]),
    Row("§3", "Onset of a *debt* reason", "an invoice that joins a debt under a promise", [
        (DEBT, "applied"), "2026-11-28 10:00", (trust("F-1", hours=100), "applied"), "= open",
        (block("debt", "F-1", "F-2"), "deferred 2026-11-30 08:00 calendar"), "= open", "2026-11-30 07:59", "= open",
        "2026-11-30 08:00", "= walled",
    ]),
    Row("§3", "Onset of a *debt* reason", "a debt in force that grows", [
        (block("debt", level="notice"), "applied"), "2026-11-28 10:00",
        (block("debt"), "deferred 2026-11-30 08:00 calendar"), "= notice", "2026-11-30 08:00", "= walled",
    ]),
    begins("on a Tuesday morning", "2026-11-24 08:00", "2026-11-24 08:00"),
    begins("at a minute before closing", "2026-11-26 17:59", "2026-11-26 17:59"),
    begins("not at closing", "2026-11-24 18:00", "2026-11-25 08:00"),
    begins("not before opening", "2026-11-24 07:59", "2026-11-24 08:00"),
    begins("not on Thursday evening", "2026-11-26 18:00", "2026-11-30 08:00"),
    begins("not on Friday", "2026-11-27 10:00", "2026-11-30 08:00"),
    begins("not on Saturday", "2026-11-28 10:00", "2026-11-30 08:00"),
    begins("not on Sunday", "2026-11-29 23:00", "2026-11-30 08:00"),
    begins("not on a holiday", "2026-10-12 10:00", "2026-10-13 08:00"),
    begins("not on the eve of a holiday", "2027-04-20 10:00", "2027-04-22 08:00"),
    begins("not around Christmas and the New Year", "2026-12-23 10:00", "2026-12-28 08:00"),
    begins("where no calendar is configured: at any time", "2026-11-28 03:00", "2026-11-28 03:00", policy="none"),
    begins("by the area's clock", "2026-11-24 08:30", "2026-11-24 09:00", policy="an hour behind in centro"),
    Row("§3", "Onset of a *debt* reason", "every debt reason", [
        (block("debt_partial"), "deferred 2026-11-30 08:00 calendar"), (block("notice"), "deferred 2026-11-30 08:00"),
        "= open", "2026-11-30 08:00", "= reduced", "reasons notice debt_partial",
    ], begin="2026-11-27 10:00"),
    holiday("Carnival", "2027-02-08 10:00", "2027-02-11 08:00"),
    holiday("Corpus Christi and its eve", "2027-05-26 10:00", "2027-05-31 08:00"),
    holiday("a state's day is none of the country's", "2027-04-22 10:00", "2027-04-22 10:00"),
    holiday("a state's day in that state", "2027-04-22 10:00", "2027-04-26 08:00", policy="BR-RJ in centro"),
    Row("§3", "National and state holidays", "a municipal one", [
        (HOLIDAY, "applied"), (HOLIDAY, "unchanged"), (DEBT, "deferred 2026-11-26 08:00 calendar"),
        "2026-11-26 07:59", "= open", "2026-11-26 08:00", "= walled",
    ]),
    Row("§3", "National and state holidays", "a municipal one elsewhere", [
        ({**HOLIDAY, "area": "praia"}, "applied"), (DEBT, "applied"), "= walled",
    ]),
    Row("§3", "National and state holidays", "a municipal one that is told later", [
        (block("debt", not_before=moment("2026-11-25 10:00")), "deferred 2026-11-25 10:00"), (HOLIDAY, "applied"),
        "2026-11-25 23:00", "= open", "2026-11-26 08:00", "= walled",
    ]),
    Row("§3", "Bank days (for promises)", "Friday is a bank day", [
        (DEBT, "applied"), (trust(), "applied 2026-11-28 00:00"),
    ], policy="no guard", begin="2026-11-26 10:00"),
    Row("§3", "Bank days (for promises)", "so is a day off by custom", [
        (DEBT, "applied"), "2026-10-27 10:00", (trust(), "applied 2026-10-29 00:00"),
    ], policy="no guard", begin="2026-10-26 10:00"),
    Row("§3", "Bank days (for promises)", "and a municipal holiday", [
        (DEBT, "applied"), (HOLIDAY, "applied"), (trust(), "applied 2026-11-26 00:00"),
    ], policy="no guard"),
    Row("§3", "The guard never delays an unblock", "an unblock on Saturday", [
        (DEBT, "applied"), (block("debt_partial", sub="B"), "applied"), "2026-11-28 03:00", "= walled",
        (unblock("debt"), "applied"), "= open", (paid(sub="B"), "applied"), "B = open",
    ]),
    Row("§3", "The guard never delays an unblock", "a promise on Sunday", [
        (DEBT, "applied"), "2026-11-29 03:00", (trust(hours=24), "applied 2026-11-30 08:00"), "= open",
    ]),
    *(Row("§3", "The guard never delays an unblock", f"{reason} on Saturday", [
        (block(reason), "applied"), level,
    ], begin="2026-11-28 03:00") for reason, level in (
        ("court", "= blocked"), ("terminated", "= blocked"), ("fraud", "= walled"), ("abuse", "= walled"),
        ("preventive", "= walled"), ("operator", "= walled"), ("pause", "= walled"),
    )),
    Row("§3", "The guard never delays an unblock", "an override passes the calendar", [
        (block("debt", override=OVERRIDE), "applied"), "= walled",
    ], begin="2026-11-28 03:00"),
    Row("§3", "The guard never delays an unblock", "an override passes moratorium and outage", [
        ({"op": "moratorium", "area": "*", "until": moment("2026-12-09 11:00")}, "applied"),
        ({"op": "outage", "id": "o", "area": "*"}, "applied"),
        (block("debt", override=OVERRIDE), "applied"), "= walled",
    ]),
    Row("§3", "The guard never delays an unblock", "an override passes a growth that waits", [
        (block("debt", level="notice"), "applied"), "2026-11-28 10:00", (block("debt"), "deferred"), "= notice",
        (block("debt", override=OVERRIDE), "applied"), "= walled",
    ]),
    Row("§3", "The guard never delays an unblock", "an override needs author and motive", [
        (block("debt", override={"author": "j.silva"}), "malformed"), (block("debt", override={}), "malformed"),
        (block("debt", override=True), "malformed"), "= open",
    ], begin="2026-11-28 03:00"),
    Row("§3", "The guard never delays an unblock", "an override passes neither not_before nor the notice", [
        (block("debt", override=OVERRIDE, not_before=moment("2026-11-28 05:00")),
         "deferred 2026-11-28 05:00 not_before"),
        "2026-11-28 05:00", "= walled",
        (block("debt", sub="B", override=OVERRIDE, notified_at=moment("2026-11-28 05:00")),
         "deferred 2026-12-13 05:00 notice_days"),
    ], begin="2026-11-28 03:00"),
    Row("§3", "No onset happens", "while it is not trusted", [
        "clock lost", (DEBT, "deferred"), "= open", "2026-11-24 15:00", "= open", "clock found", "2026-11-24 15:02",
        "= walled", "! block.began debt",
    ]),
    Row("§3", "No onset happens", "one that waits, too", [
        (block("debt", not_before=moment("2026-11-24 11:00")), "deferred"), "2026-11-24 10:30", "clock lost",
        "2026-11-24 12:00", "= open", "clock found", "2026-11-24 12:02", "= walled",
    ]),
    Row("§3", "No onset happens", "an override does not pass it", [
        "clock lost", (block("debt", override=OVERRIDE), "deferred"), "= open",
    ]),
    Row("§3", "No onset happens", "other reasons and releases go on", [
        (DEBT, "applied"), "clock lost", "= walled", (paid(), "applied"), "= open", (block("operator"), "applied"),
        "= walled", (unblock("operator"), "applied"), "= open",
    ]),
    Row("§3", "No onset happens", "what waits for the calendar as well", [
        "clock lost", (DEBT, "deferred"), "2026-11-26 18:10", "clock found", "2026-11-27 10:00", "= open",
        "2026-11-30 08:00", "= walled",
    ], begin="2026-11-26 17:50"),
]  # fmt: skip
