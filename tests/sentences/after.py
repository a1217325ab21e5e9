"""§4 to §6: after the block, exemptions and mistakes, and that to forget is to remove."""

from __future__ import annotations

from collections.abc import Callable

from edged.domain.brake import Limits
from tests.sentences.rows import Row
from tests.sentences.story import Story, block, defer, moment, paid, trust, unblock

DEBT = (block("debt", "F-1"), "applied")
BRAKE = Limits(enabled=True, most=60, window=60_000, share=0.2)


def many(story: Story, first: int, count: int, op: str = "block") -> list[str]:
    """The same command for so many subscribers; what was answered."""
    fields: dict[str, dict[str, object]] = {
        "block": {"reason": "operator"}, "unblock": {"reason": "operator"}, "bind": {"addresses": []},
    }  # fmt: skip
    commands = [{"op": op, "sub": f"M-{n}", **fields[op]} for n in range(first, first + count)]
    told = ["applied"] * count
    for result in story.core.send(*commands)["results"]:
        told[result["i"]] = result.get("code") or result["status"]
    return told


def walled(story: Story) -> int:
    return story.core.store.totals.levels[3]


def too_many(story: Story) -> None:
    """The sixty-first within a minute is held, and so is everything that restricts after it."""
    many(story, 0, 1000, "bind")
    assert many(story, 0, 60) == ["applied"] * 60
    assert set(many(story, 60, 20)) <= {"held", "brake"}
    assert walled(story) == 60
    assert story.record("M-65")["held"]


def slowly(story: Story) -> None:
    """As many, but not within the window."""
    many(story, 0, 1000, "bind")
    for first in range(0, 300, 30):
        assert many(story, first, 30) == ["applied"] * 30
        story.wait(story.core.now + 61_000)
    assert walled(story) == 300


def too_large_a_share(story: Story) -> None:
    """Of a hundred known, the limit of a fifth is judged above fifty."""
    many(story, 0, 98, "bind")
    assert many(story, 0, 50) == ["applied"] * 50
    assert set(many(story, 50, 5)) <= {"held", "brake"}
    assert walled(story) == 50


def held(story: Story) -> None:
    """Sixty are in force, twenty are held."""
    many(story, 0, 1000, "bind")
    many(story, 0, 80)
    assert walled(story) == 60


def releases_pass(story: Story) -> None:
    held(story)
    assert many(story, 0, 60, "unblock") == ["applied"] * 60
    assert walled(story) == 0
    many(story, 70, 1, "unblock")
    release(story)
    assert story.record("M-70")["level"] == "open", "a later release makes void what is held"


def release(story: Story) -> None:
    """A human lets them through."""
    for _ in range(100):
        if not story.core.upkeep.release_brake()[0]:
            return
    raise AssertionError("there is always more to release")


def released_by_hand(story: Story) -> None:
    held(story)
    story.wait(story.core.now + 3_600_000)
    assert walled(story) == 60, "no time releases them"
    story.core.restart()
    assert walled(story) == 60, "nor does a restart"
    release(story)
    assert walled(story) == 80
    story.wait(story.core.now + 3_600_000)
    assert many(story, 200, 5) == ["applied"] * 5


def dropped_by_hand(story: Story) -> None:
    held(story)
    assert story.core.upkeep.drop_held() == 20
    assert walled(story) == 60
    release(story)
    assert walled(story) == 60
    story.wait(story.core.now + 3_600_000)
    assert many(story, 60, 5) == ["applied"] * 5


def hold_snapshot(count: int) -> Callable[[Story], None]:
    def check(story: Story) -> None:
        many(story, 0, 98, "bind")
        many(story, 0, 30)
        binds = [{"op": "bind", "sub": f"M-{n}", "addresses": []} for n in range(count)]
        story.core.chunk(binds, 1, 1)
        story.core.carry_out()
        assert sum(story.core.store.totals.levels) == 100, "nobody is removed"
        assert walled(story) == 30

    return check


def forgotten(story: Story) -> None:
    """The name is in no table any more, nor are the invoices."""
    while story.core.store.audit_forget(1000):  # the keeper's work, in its pauses
        pass
    db = story.core.store.db
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    tables = [t for (t,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in ("Maria-7", "F-MARIA"):
        where = [t for t in tables if any(name in str(row) for row in db.execute(f"SELECT * FROM {t}"))]  # noqa: S608
        assert not where


def maria(**command: object) -> tuple[dict[str, object], str]:
    return {"sub": "Maria-7", **command}, "applied"


PROTECTED = "192.0.2.7"
ROWS = [
    Row("§4", "Payment: released at once", "with the answer, whatever the hour", [
        DEBT, (block("debt_partial", "F-1"), "applied"), (block("notice", "F-1"), "applied"), "2026-11-28 03:00",
        "= walled", (paid("F-1"), "applied"), "= open", "reasons ",
    ]),
    Row("§4", "Payment: released at once", "only when nothing is left open", [
        (block("debt", "F-1", "F-2"), "applied"), (paid("F-1"), "applied"), "= walled",
        (paid("F-2"), "applied"), "= open",
    ]),
    Row("§4", "A first instalment", "of a debt that names no invoices", [
        (block("debt"), "applied"), (paid("INSTALMENT-1-OF-6"), "applied"), "= open",
    ]),
    Row("§4", "No fee exists", "no command knows one", [
        (block("debt", "F-1", fee=10), "malformed"), DEBT, (trust(hours=1, fee=10), "malformed"),
        ({**paid("F-1"), "fee": 10}, "malformed"), (paid("F-1"), "applied"), "= open",
    ]),
    Row("§4", "`preventive` after 30 days", "preventive", [
        (block("preventive"), "applied"), "2026-12-24 09:59", "! none", "2026-12-24 10:00",
        "! deadline.reached preventive", "= walled", "2027-12-24 10:00", "! none",
    ]),
    Row("§4", "`preventive` after 30 days", "debt", [
        DEBT, "2027-01-23 09:59", "! none", "2027-01-23 10:00", "! deadline.reached debt", "= walled",
        "2027-12-24 10:00", "! none",
    ]),
    Row("§4", "`preventive` after 30 days", "from when it began", [
        (block("debt", not_before=moment("2026-12-01 10:00")), "deferred"), "2026-12-01 10:00", "! block.began debt",
        "2027-01-30 09:59", "! none", "2027-01-30 10:00", "! deadline.reached debt",
    ]),
    Row("§4", "`preventive` after 30 days", "not once it is paid", [
        DEBT, (paid(), "applied"), "2027-06-01 10:00", "! none",
    ]),
    Row("§4", "`preventive` after 30 days", "or as the command says", [
        (block("debt", deadline=moment("2026-12-01 10:00")), "applied"), "2026-12-01 10:00", "! deadline.reached debt",
    ]),
    Row("§4", "The edge never terminates", "nothing follows a deadline", [
        DEBT, (block("preventive"), "applied"), "2028-01-01 10:00", "reasons debt preventive", "= walled",
        (unblock("preventive", cause="documents_ok"), "applied"), (paid(), "applied"), "= open",
    ]),
    Row("§4", "`pause` ends itself", "on a Saturday night, too", [
        (block("pause", deadline=moment("2026-11-28 00:00")), "applied"), "2026-11-27 23:59", "= walled",
        "2026-11-28 00:00", "= open", "! pause.ended A", "reasons ",
    ]),
    Row("§4", "`pause` ends itself", "what else there is stays", [
        (block("pause", deadline=moment("2026-11-28 00:00")), "applied"), (block("debt_partial"), "applied"),
        "2026-11-28 00:00", "= reduced", "reasons debt_partial",
    ]),
    Row("§4", "A payment that overtakes", "the block comes later", [
        (paid("F-1"), "applied"), (block("debt", "F-1"), "unchanged"), "= open",
        (block("debt", "F-1", "F-2"), "applied"), "= walled", (paid("F-2"), "applied"), "= open",
    ]),
    Row("§4", "A payment that overtakes", "much later", [
        (paid("F-1"), "applied"), "restart", "2027-11-24 10:00", (block("debt", "F-1"), "unchanged"), "= open",
    ]),
    Row("§4", "A payment that overtakes", "the block waited", [
        (block("debt", "F-1", not_before=moment("2026-11-25 10:00")), "deferred"), (paid("F-1"), "applied"),
        "2026-11-25 10:00", "= open", "! none",
    ]),
    Row("§4", "An address that moves", "it is open with its new owner", [
        DEBT, "= walled", ({"op": "bind", "sub": "B", "addresses": ["100.64.0.1"]}, "applied"),
        "kernel A open", "! address.moved A B", "reasons debt",
    ]),
    Row("§4", "An address that moves", "and restricted with one who is", [
        (block("operator", sub="B"), "applied"), ({"op": "bind", "sub": "B", "addresses": ["100.64.0.1"]}, "applied"),
        "kernel A walled", "kernel B open",
    ]),
    Row("§5", "Shops that live", "hardship with an opaque ref", [
        DEBT, (defer("hardship", "2027-03-01 10:00", ref="T-1"), "applied"), "= open",
        (block("debt", "F-1", "F-2"), "applied"), "= open", "2027-03-01 09:59", "= open",
        "2027-03-01 10:00", "= walled",
    ]),
    Row("§5", "Shops that live", "before any debt", [
        (defer("hardship", "2027-03-01 10:00", ref="T-1"), "applied"), DEBT, "= open", "2027-03-01 10:00", "= walled",
    ]),
    Row("§5", "No health or family data", "there is no member for it", [
        DEBT, (defer("hardship", "2027-03-01 10:00", motive="dialysis"), "malformed"),
        (defer("illness", "2027-03-01 10:00"), "malformed"), "= walled",
    ]),
    Row("§5", "`protected` networks", "neither by address nor by name", [
        ({"op": "block", "sub": PROTECTED, "reason": "operator"}, "address_protected"),
        ({"op": "block", "sub": PROTECTED, "reason": "debt"}, "address_protected"),
        ({"op": "bind", "sub": "A", "addresses": ["100.64.0.1", PROTECTED]}, "address_protected"),
        ({"op": "bind", "sub": "A", "addresses": ["192.0.2.0/24"]}, "address_protected"),
    ]),
    Row("§5", "The brake:", "too many at once", [too_many], limits=BRAKE),
    Row("§5", "The brake:", "as many, slowly", [slowly], limits=BRAKE),
    Row("§5", "The brake:", "too large a share", [too_large_a_share], limits=BRAKE),
    Row("§5", "The brake:", "until a human releases them", [released_by_hand], limits=BRAKE),
    Row("§5", "The brake:", "or drops them", [dropped_by_hand], limits=BRAKE),
    Row("§5", "Releases of restrictions", "beside a closed brake", [releases_pass], limits=BRAKE),
    Row("§5", "An empty or drastically smaller", "empty", [hold_snapshot(0)], limits=BRAKE),
    Row("§5", "An empty or drastically smaller", "under half", [hold_snapshot(40)], limits=BRAKE),
    Row("§6", "`forget` really removes", "the name, the invoices, what they did", [
        maria(op="bind", addresses=["100.64.0.9"], area="centro"),
        maria(op="block", reason="debt", invoices=["F-MARIA"]),
        maria(op="trust", hours=1), maria(op="untrust"),
        maria(op="defer", kind="hardship", until=moment("2027-03-01 10:00"), ref="F-MARIA"),
        (block("abuse", sub="Maria-7", ref="F-MARIA", not_before=moment("2026-11-25 10:00")), "deferred"),
        "2026-11-25 11:00", maria(op="paid"), maria(op="forget"), "timers", forgotten,
        "restart", forgotten,
    ]),
]  # fmt: skip
