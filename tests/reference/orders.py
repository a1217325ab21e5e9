"""The commands of contract.md on the naive model: each changes its dictionaries, or raises :class:`No` before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from tests.reference.blocks import APPLIED, UNCHANGED, block, paid, unblock
from tests.reference.model import Model
from tests.reference.state import State
from tests.reference.words import (
    DAY,
    DEBTS,
    HOUR,
    METHOD_DAYS,
    WHOLE,
    WORDS,
    Answer,
    Command,
    No,
    Sub,
    dues,
    ids,
    ms,
    nobody,
)

MAKES_KNOWN = ("bind", "block", "paid")


def carry_out(model: Model, c: Command) -> Answer:
    """What the command does and what may be answered."""
    try:
        if c["op"] in ON_AREAS:
            return ON_AREAS[c["op"]](model, c)
        return on_subscriber(model, c)
    except No as no:
        return Answer(set(no.args))


def on_subscriber(model: Model, c: Command) -> Answer:
    known = model.subs.get(c["sub"])
    if known is None and c["op"] not in MAKES_KNOWN:
        raise No("unknown_subscriber")
    sub = known or nobody()
    if c.get("rev", sub["rev"]) < sub["rev"]:
        raise No("stale")
    answer = ON_SUBSCRIBERS[c["op"]](model, c, sub)
    if c["op"] != "forget":
        sub["rev"] = c.get("rev", sub["rev"])
        model.subs[c["sub"]] = sub
    return Answer(APPLIED) if known is None and c["op"] == "bind" else answer


# -- who is where --------------------------------------------------------------------------------------------------


def bind(model: Model, c: Command, sub: Sub) -> Answer:
    before = {a for a, n in model.holder.items() if n == c["sub"]}, sub["area"]
    if c.get("replace", True):
        model.holder = {a: n for a, n in model.holder.items() if n != c["sub"]}
    for address in c["addresses"]:
        old = model.holder.get(address)
        if old is not None and old != c["sub"]:
            model.events.append(("address.moved", old, c["sub"]))
        model.holder[address] = c["sub"]
    sub["area"] = c.get("area", sub["area"])
    if "area" in c:
        model.judge_again(c["sub"], sub)
    after = {a for a, n in model.holder.items() if n == c["sub"]}, sub["area"]
    return Answer(UNCHANGED if before == after else APPLIED)


def forget(model: Model, c: Command, sub: Sub) -> Answer:
    name = c["sub"]
    del model.subs[name]
    model.holder = {a: n for a, n in model.holder.items() if n != name}
    model.events = [e for e in model.events if name not in e[1:]]
    return Answer(APPLIED)


# -- waivers -------------------------------------------------------------------------------------------------------


def asked_until(model: State, c: Command) -> int:
    """When a promise would end by the command's own words, or by its basis (§2)."""
    if "until" in c:
        return ms(c["until"])
    if "hours" in c or "days" in c:
        length: float = c["hours"] * HOUR if "hours" in c else c["days"] * DAY
        return model.now + round(length)
    if c.get("basis", "promise") == "promise" or c.get("next_business_day"):
        return model.end_of_bank_day(1)
    method = c.get("method", "bank")
    if method == "pix":
        return model.now + HOUR
    if method == "card":
        return model.now + 3 * DAY
    return model.end_of_bank_day(METHOD_DAYS[method])


def trust(model: Model, c: Command, sub: Sub) -> Answer:
    now, rules, promise = model.now, model.rules, sub["promise"]
    asked, named = asked_until(model, c), ids(c)
    until = model.next_cut(asked, sub["area"]) if rules.guard_reblock else asked
    firm = any(r not in DEBTS and begun for r, begun in model.reasons(c["sub"]).items())
    if promise and promise["until"] == until > now and promise["invoices"] == named and not firm:
        return Answer(UNCHANGED, until)
    owed = model.owed(sub)
    covered = named or owed or [WHOLE]
    known = [d for invoice in covered for d in due_dates(model, c, sub, invoice)]
    codes = set()
    if firm or not model.debts(sub) or (named and not set(named) & set(owed)):
        codes.add("trust_not_applicable")
    if known and (model.local(now).date() - min(known)).days < rules.min_days_overdue:
        codes.add("trust_not_applicable")
    if asked <= now:
        codes.add("malformed")
    usual = not c.keys() & {"until", "hours", "days"}
    if asked - now > rules.trust_max_hours * HOUR and not usual:
        codes.add("trust_too_long")
    if sub["breached"] or any(used_up(model, sub, i) for i in covered):
        codes.add("trust_spent")
    recent = [g for g in sub["granted"] if g > now - 30 * DAY]
    if rules.trust_per_30_days and len(recent) >= rules.trust_per_30_days:
        codes.add("trust_spent")
    if codes:
        raise No(*codes)
    if promise:
        model.promise_ends(c["sub"], sub, "replaced")
    for invoice in covered:
        sub["spent"][invoice] = sub["spent"].get(invoice, 0) + 1
    sub["granted"].append(now)
    sub["promise"] = {"until": until, "invoices": named, "owed": [] if named else owed, "outcome": ""}
    return Answer(APPLIED, until)


def due_dates(model: Model, c: Command, sub: Sub, invoice: str) -> list[dt.date]:
    """When an invoice is due by the reasons, or where none of them knows by the command."""
    known = [r["dues"][invoice] for r in model.debts(sub).values() if invoice in r["dues"]]
    return known or [d for i, d in dues(c).items() if i == invoice]


def used_up(model: Model, sub: Sub, invoice: str) -> bool:
    """Whether it has had its promises; a debt without invoices has while any that is unpaid has."""
    unpaid = [i for i in sub["spent"] if i not in sub["settled"]]
    meant = [*unpaid, WHOLE] if invoice == WHOLE else [invoice]
    return any(sub["spent"].get(i, 0) >= model.rules.trust_per_invoice for i in meant)


def untrust(model: Model, c: Command, sub: Sub) -> Answer:
    if not model.promise(c["sub"]):
        return Answer(UNCHANGED)
    model.promise_ends(c["sub"], sub, "revoked")
    return Answer(APPLIED)


def defer(model: Model, c: Command, sub: Sub) -> Answer:
    if ms(c["until"]) <= model.now:
        raise No("trust_not_applicable")
    before = model.owes(sub)
    until = model.next_cut(ms(c["until"]), sub["area"]) if model.rules.guard_reblock else ms(c["until"])
    up_to = WORDS.index(c["up_to"]) if "up_to" in c else 0
    new = {"until": until, "invoices": ids(c), "up_to": up_to}
    old = sub["deferrals"].get(c["kind"])
    sub["deferrals"][c["kind"]] = new
    return model.hold_back(sub, before) or Answer(UNCHANGED if old == new else APPLIED, until)


def undefer(model: Model, c: Command, sub: Sub) -> Answer:
    before = model.owes(sub)
    gone = [k for k in sub["deferrals"] if c.get("kind", k) == k not in {"moratorium", "onset"}]
    for kind in gone:
        model.deferral_ends(c["sub"], sub, kind)
    return model.hold_back(sub, before) or Answer(APPLIED if gone else UNCHANGED)


# -- areas ---------------------------------------------------------------------------------------------------------


def moratorium(model: Model, c: Command) -> Answer:
    new = ms(c["until"]), bool(c.get("release_existing"))
    old = model.moratoria.get(c["area"])
    model.moratoria[c["area"]] = new
    return said(model, c["area"], old != new)


def end_moratorium(model: Model, c: Command) -> Answer:
    old = model.moratoria.pop(c["area"], None)
    answer = said(model, c["area"], old is not None)
    return Answer(APPLIED | UNCHANGED) if old is not None and old[0] <= model.now else answer


def outage(model: Model, c: Command) -> Answer:
    new = c["area"], ms(c["eta"]) if "eta" in c else 0
    old = model.outages.get(c["id"])
    model.outages[c["id"]] = new
    if old is None:
        return Answer(APPLIED)  # nothing begins earlier by it, so nobody is looked at
    return said(model, c["area"], old != new)


def end_outage(model: Model, c: Command) -> Answer:
    old = model.outages.pop(c["id"], None)
    return said(model, old[0] if old else "", old is not None)


def calendar(model: Model, c: Command) -> Answer:
    new = set(c["dates"]), c["version"]
    old = model.municipal.get(c["area"])
    model.municipal[c["area"]] = new
    if old is None and not new[0]:
        return Answer(APPLIED | UNCHANGED)
    return said(model, c["area"], old != new)


def said(model: Model, area: str, news: bool) -> Answer:
    """Where something new was said of an area, the timers look at it."""
    if news:
        model.said.append(area)
    return Answer(APPLIED if news else UNCHANGED)


ON_SUBSCRIBERS: dict[str, Callable[[Model, Command, Sub], Answer]] = {
    "bind": bind, "forget": forget, "block": block, "unblock": unblock, "paid": paid, "trust": trust,
    "untrust": untrust, "defer": defer, "undefer": undefer,
}  # fmt: skip
ON_AREAS: dict[str, Callable[[Model, Command], Answer]] = {
    "moratorium": moratorium, "end_moratorium": end_moratorium, "outage": outage, "end_outage": end_outage,
    "calendar": calendar,
}  # fmt: skip
