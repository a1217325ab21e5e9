"""§1: reasons and waivers."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

from edged.domain.model import rfc3339
from edged.domain.roles import ROLES
from edged.envelope import Issuer, Keyring, generate, sign
from edged.intake import Incoming
from tests.sentences.rows import Row, Steps
from tests.sentences.story import ADDRESS, Command, Story, block, defer, moment, paid, trust, unblock

ALL = "court terminated fraud abuse preventive operator pause debt debt_partial notice".split()
FIRM = ALL[:7]
"""What nothing waives."""
TO_CLEAR = {"preventive": {"cause": "documents_ok"}}


@functools.cache
def key(role: str) -> object:
    """An issuer's key, made when it is needed."""
    return generate()


def says(story: Story, role: str, command: Command) -> str:
    """The answer to a command signed by an issuer with one role."""
    now = story.core.now
    body = {"v": 1, "id": f"{role}-{now}-{story.core.kernel.commits}-{command['op']}", "issuer": role, "aud": ["gw1"],
            "ts": rfc3339(now), "expires": rfc3339(now + 60_000), "commands": [command]}  # fmt: skip
    payload = sign(json.dumps(body).encode(), key(role), role)  # type: ignore[arg-type]
    document = story.core.pipeline.process([Incoming(payload, "gw/gw1/cmd")]).answers[0].document
    return str(document["results"][0].get("code") or document["results"][0]["status"])


def only(reason: str, *who: str) -> Callable[[Story], None]:
    """Only these roles may set and clear the reason."""

    def check(story: Story) -> None:
        pipeline = story.core.pipeline
        before = pipeline.keyring
        issuers = [Issuer(r, (key(r),), frozenset({r})) for r in ROLES]  # type: ignore[arg-type]
        pipeline.keyring = Keyring(issuers, required=True, audience=["gw1"], max_ahead=300_000, max_age=86_400_000)
        for role in ROLES:
            assert says(story, role, block(reason)) == ("applied" if role in who else "not_authorized"), role
            for other in ROLES:
                if other not in who:
                    assert says(story, other, unblock(reason, **TO_CLEAR.get(reason, {}))) == "not_authorized", other
            said = says(story, role, unblock(reason, **TO_CLEAR.get(reason, {})))
            assert said == ("applied" if role in who else "not_authorized"), role
        pipeline.keyring = before

    return check


def seen(story: Story) -> None:
    """The page of a notice was dismissed."""
    assert story.core.upkeep.seen(ADDRESS["A"])
    assert "notified4" in story.core.in_kernel()


def seen_no_more(story: Story) -> None:
    assert "notified4" not in story.core.in_kernel()


def slowed_to(kbit: int) -> Callable[[Story], None]:
    def check(story: Story) -> None:
        assert {n.split("_")[1] for n in story.core.kernel.limits()} == {str(kbit)}

    return check


def firm(reason: str) -> Row:
    """One of those that nothing waives, with a debt beside it."""
    level = "= blocked" if reason in {"court", "terminated"} else "= walled"
    moratorium = {"op": "moratorium", "area": "*", "until": moment("2026-12-01 10:00"), "release_existing": True}
    steps: Steps = [
        (block(reason), "applied"), (block("debt", "F-1"), "applied"), level,
        (trust(hours=5), "trust_not_applicable"), level,
        *((defer(kind, "2026-12-01 10:00"), "applied") for kind in ("agreement", "dispute", "hardship")), level,
        (moratorium, "applied"), level,
        ({"op": "outage", "id": "o", "area": "*"}, "applied"), level,
        (paid(), "applied"), level, f"reasons {reason}",
    ]  # fmt: skip
    return Row("§1", "**Nothing waives", f"nothing waives {reason}", steps)


MORATORIUM = {"op": "moratorium", "area": "centro", "until": moment("2026-11-26 09:00")}
OUTAGE = {"op": "outage", "id": "o", "area": "centro"}

ROWS = [
    Row("§1", "effective level =", "the highest wins, in any order", [
        (block("notice"), "applied"), "= notice", (block("debt"), "applied"), "= walled",
        (block("debt_partial"), "applied"), "= walled", (unblock("debt"), "applied"), "= reduced",
        (unblock("debt_partial"), "applied"), "= notice", (unblock("notice"), "applied"), "= open",
    ]),
    Row("§1", "effective level =", "what is not active does not count", [
        (block("notice"), "applied"), (block("debt", not_before=moment("2026-11-25 10:00")), "deferred"), "= notice",
        "2026-11-25 10:00", "= walled",
    ]),
    Row("§1", "effective level =", "what is waived does not count", [
        (block("debt", "F-1"), "applied"), (block("debt_partial", "F-2"), "applied"),
        (trust("F-1", hours=1), "applied"), "= reduced",
    ]),
    Row("§1", "OPEN <", "the order of the levels", [
        "= open", (block("notice"), "applied"), "= notice", (block("debt_partial"), "applied"), "= reduced",
        (block("operator"), "applied"), "= walled", (block("court"), "applied"), "= blocked",
    ]),
    Row("§1", "`court`", "level, page, its end", [
        (block("court"), "applied"), "= blocked", "page court", (paid(), "unchanged"), "= blocked",
        (unblock("debt*"), "unchanged"), (unblock("court"), "applied"), "= open",
    ]),
    Row("§1", "`court`", "legal alone", [only("court", "legal")]),
    Row("§1", "`terminated`", "level, page, its end", [
        (block("terminated"), "applied"), "= blocked", "page terminated", (unblock("terminated"), "applied"), "= open",
    ]),
    Row("§1", "`terminated`", "billing alone", [only("terminated", "billing")]),
    Row("§1", "`fraud`", "level, page, its end", [
        (block("fraud"), "applied"), "= walled", "page fraud", (block("fraud", level="blocked"), "malformed"),
        (unblock("fraud"), "applied"), "= open",
    ]),
    Row("§1", "`fraud`", "security alone", [only("fraud", "security")]),
    Row("§1", "`abuse`", "level, page, its end", [
        (block("abuse"), "applied"), "= walled", "page abuse",
        (block("abuse", level="blocked"), "applied"), "= blocked",
        (block("abuse", level="reduced"), "malformed"), "= blocked", (unblock("abuse"), "applied"), "= open",
    ]),
    Row("§1", "`abuse`", "noc alone", [only("abuse", "noc")]),
    Row("§1", "`preventive`", "only documents end it", [
        (block("preventive"), "applied"), "= walled", "page preventive", (unblock("preventive"), "not_authorized"),
        (unblock("preventive", cause="nice"), "not_authorized"), (paid(), "unchanged"),
        (trust(hours=1), "trust_not_applicable"), "= walled",
        (unblock("preventive", cause="documents_ok"), "applied"), "= open",
    ]),
    Row("§1", "`preventive`", "billing and security", [only("preventive", "billing", "security")]),
    Row("§1", "`operator`", "level, page, its end", [
        (block("operator"), "applied"), "= walled", "page operator", (unblock("operator"), "applied"), "= open",
    ]),
    Row("§1", "`operator`", "operator alone", [only("operator", "operator")]),
    Row("§1", "`pause`", "its end date, or billing", [
        (block("pause", deadline=moment("2026-11-29 12:00")), "applied"), "= walled", "page pause",
        "2026-11-29 11:59", "= walled", "2026-11-29 12:00", "= open", "! pause.ended A",
        (block("pause"), "applied"), "= walled", (unblock("pause"), "applied"), "= open",
    ]),
    Row("§1", "`pause`", "billing alone", [only("pause", "billing")]),
    Row("§1", "`debt` (total)", "payment ends it", [
        (block("debt", "F-1"), "applied"), "= walled", "page debt", (paid("F-1"), "applied"), "= open",
        (block("debt", level="blocked"), "malformed"),
    ]),
    Row("§1", "`debt` (total)", "billing alone", [only("debt", "billing")]),
    Row("§1", "`debt_partial`", "at its rate, until payment", [
        (block("debt_partial", "F-1", rate=512), "applied"), "= reduced", "page debt_partial", slowed_to(512),
        (paid("F-1"), "applied"), "= open",
    ]),
    Row("§1", "`debt_partial`", "billing alone", [only("debt_partial", "billing")]),
    Row("§1", "`notice`", "payment ends it", [
        (block("notice", "F-1"), "applied"), "= notice", "page notice", (paid("F-1"), "applied"), "= open",
    ]),
    Row("§1", "`notice`", "dismissed for now", [
        (block("notice", "F-1"), "applied"), seen, "= notice", "2026-11-25 09:59", "= notice", seen,
        "2026-11-26 10:00", seen_no_more, "= notice",
    ]),
    Row("§1", "`notice`", "billing alone", [only("notice", "billing")]),
    Row("§1", "The strongest active reason", "from the weakest to the strongest", [
        *(s for reason in reversed(ALL) for s in ((block(reason), "applied"), f"page {reason}")),
        "reasons " + " ".join(ALL),
    ]),
    Row("§1", "The strongest active reason", "one that waits does not choose", [
        (block("notice"), "applied"), (block("fraud", not_before=moment("2026-11-25 10:00")), "deferred"),
        "page notice", "reasons notice fraud",
    ]),
    *(Row("§1", "`trust` lifts only", f"{reason}", [
        (block(reason, "F-1"), "applied"), (trust(hours=1), "applied"), "= open",
    ]) for reason in ("notice", "debt_partial", "debt")),
    Row("§1", "`trust` lifts only", "the listed invoices", [
        (block("debt", "F-1"), "applied"), (block("debt_partial", "F-2"), "applied"), (block("notice"), "applied"),
        (trust("F-1", hours=1), "applied"), "= reduced", (block("debt", "F-1", "F-3"), "applied"), "= walled",
    ]),
    Row("§1", "`trust` lifts only", "or all", [
        (block("debt", "F-1"), "applied"), (block("debt_partial", "F-2"), "applied"), (block("notice"), "applied"),
        (trust(hours=1), "applied"), "= open",
    ]),
    *(Row("§1", "`defer` (agreement", kind, [
        (block("debt", "F-1"), "applied"), (defer(kind, "2026-11-26 10:00"), "applied"), "= open",
        "2026-11-26 09:59", "= open", "2026-11-26 10:00", "= walled", f"! defer.ended {kind}",
    ]) for kind in ("agreement", "dispute", "hardship")),
    Row("§1", "`defer` (agreement", "no other kind", [
        (block("debt"), "applied"), (defer("moratorium", "2026-11-26 10:00"), "malformed"), "= walled",
    ]),
    Row("§1", "`defer` (agreement", "the listed invoices", [
        (block("debt", "F-1"), "applied"), (block("debt_partial", "F-2"), "applied"),
        (defer("dispute", "2026-11-26 10:00", "F-1"), "applied"), "= reduced",
    ]),
    Row("§1", "`defer` (agreement", "each invoice by a waiver of its own", [
        (block("debt", "F-1", "F-2"), "applied"), (defer("dispute", "2026-11-26 10:00", "F-1"), "applied"), "= walled",
        (defer("agreement", "2026-11-26 10:00", "F-2"), "applied"), "= open",
    ]),
    Row("§1", "`defer` (agreement", "up_to stops short", [
        (block("debt", "F-1"), "applied"), (defer("hardship", "2026-11-26 10:00", up_to="reduced"), "applied"),
        "= reduced", (block("notice"), "applied"), "= reduced", "2026-11-26 10:00", "= walled",
    ]),
    Row("§1", "`defer` (agreement", "undefer ends it", [
        (block("debt", "F-1"), "applied"), (defer("hardship", "2026-11-26 10:00"), "applied"), "= open",
        ({"op": "undefer", "sub": "A", "kind": "dispute"}, "unchanged"), "= open",
        ({"op": "undefer", "sub": "A", "kind": "hardship"}, "applied"), "= walled",
    ]),
    *(Row("§1", "`moratorium` and `outage`", f"a moratorium holds new {reason}, not what is in force", [
        (block("debt", sub="B"), "applied"), (MORATORIUM, "applied"), "B = walled",
        (block(reason), "deferred 2026-11-26 09:00 moratorium"), "= open",
        "2026-11-26 08:59", "= open", "2026-11-26 09:00", f"! block.began {reason}",
    ]) for reason in ("notice", "debt_partial", "debt")),
    Row("§1", "`moratorium` and `outage`", "an outage holds new debts until it is over", [
        (block("debt", sub="B"), "applied"), (OUTAGE, "applied"), "B = walled",
        (block("debt"), "deferred 2026-11-24 10:15 outage"), "2026-11-24 12:00", "= open",
        ({"op": "end_outage", "id": "o"}, "applied"), "2026-11-24 12:15", "= walled", "! block.began debt",
    ]),
    Row("§1", "`moratorium` and `outage`", "only there", [
        ({**MORATORIUM, "area": "praia"}, "applied"), ({**OUTAGE, "area": "praia"}, "applied"),
        (block("debt"), "applied"), "= walled",
    ]),
    Row("§1", "`moratorium` and `outage`", "debts only", [
        (MORATORIUM, "applied"), (OUTAGE, "applied"), (block("operator"), "applied"), "= walled",
    ]),
    *(firm(reason) for reason in FIRM),
    Row("§1", "A promise under a fraud block", "nothing is changed by it", [
        (block("fraud"), "applied"), (block("debt", "F-1"), "applied"), (trust(hours=1), "trust_not_applicable"),
        "= walled", "! none", (unblock("fraud"), "applied"), "= walled", (trust(hours=1), "applied"), "= open",
    ]),
]  # fmt: skip
