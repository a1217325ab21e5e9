"""The commands of contract.md on the naive model: each changes its dictionaries, or raises :class:`No` before."""

from __future__ import annotations

from collections.abc import Callable

from tests.reference.model import (
    DAY,
    DEBTS,
    HOUR,
    METHOD_DAYS,
    OWN_LEVEL,
    WHOLE,
    WORDS,
    Answer,
    Command,
    Model,
    No,
    Sub,
    dues,
    ids,
    ms,
    nobody,
)

APPLIED, UNCHANGED = {"applied"}, {"unchanged"}
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


# -- reasons -------------------------------------------------------------------------------------------------------


def block(model: Model, c: Command, sub: Sub) -> Answer:
    name, own = c["reason"], OWN_LEVEL[c["reason"]]
    level = WORDS.index(c["level"]) if "level" in c else own
    if name in DEBTS:
        right = level <= own
    elif name == "abuse":
        right = level in {3, 4}
    else:
        right = name == "operator" or level == own
    if not right or ("rate" in c and level != 2):
        raise No("malformed")
    named = ids(c)
    left = [i for i in named if i not in sub["settled"]]
    short = name == "debt" and model.rules.require_notice and "notified_at" not in c
    if named and not left:
        gone = sub["reasons"].pop(name, None)  # in its place comes nothing
        if gone and not model.debts(sub):
            model.promise_ends(c["sub"], sub, "released")
        return Answer((APPLIED if gone else UNCHANGED) | ({"notice_too_short"} if short and not gone else set()))
    if short:
        raise No("notice_too_short")
    old = sub["reasons"].get(name)
    times = {k: ms(c[k]) if k in c else 0 for k in ("not_before", "notified_at")}
    content = {"level": level, "invoices": left, "rate": c.get("rate", 0), "page": c.get("page", "")}
    new = {
        **content, **times, "override": "override" in c, "pending": True, "told": False,
        "dues": {i: d for i, d in dues(c).items() if i in left},
        "deadline": ms(c["deadline"]) if "deadline" in c else 0,
    }  # fmt: skip
    sub["reasons"][name] = new
    promise = sub["promise"]
    if name in DEBTS and promise and promise["until"] > model.now and not promise["invoices"]:
        for invoice in left or [WHOLE]:  # a promise for all that runs and opens it: so it has had its promise
            if min([level, *model.deferred(sub, invoice, overridden="override" in c)]):
                sub["spent"][invoice] = sub["spent"].get(invoice) or 1
    if old and not old["pending"]:
        return again(model, c, sub, old, new, {**content, "dues": new["dues"]})
    new["onset"], new["why"] = model.onset(c["sub"], name, new, sub["area"])
    if new["why"]:
        held = name in DEBTS and any(where in {"*", sub["area"]} for where, _ in model.outages.values())
        return Answer({"deferred"}, 0 if held else new["onset"], new["why"])  # nobody knows when an outage ends
    model.begin(name, new)
    return Answer(APPLIED)


def again(model: Model, c: Command, sub: Sub, old: Sub, new: Sub, content: Sub) -> Answer:
    """What is in force is not put off by saying it again; what it takes away beyond that waits as a new onset does."""
    name = c["reason"]
    sub["reasons"][name] = old
    if new["override"] and sub["deferrals"].get("onset", {}).get("reason") == name:
        del sub["deferrals"]["onset"]
        content["override"] = True
    before = model.owes(sub)
    sub["reasons"][name] = new
    new["pending"], new["onset"], new["why"] = False, old["onset"], ""
    if "deadline" not in c:
        new["deadline"], new["told"] = old["deadline"], old["told"]
    if name in DEBTS and model.owes(sub) > before:
        onset, why = model.onset(c["sub"], name, new, sub["area"])
        if why:
            sub["deferrals"]["onset"] = {"until": onset, "invoices": [], "up_to": before, "reason": name, "terms": new}
            return Answer({"deferred"}, 0, why)
    if any(old[k] != v for k, v in content.items()):
        return Answer(APPLIED)
    same = all(old[k] == new[k] for k in ("not_before", "notified_at", "override")) and "deadline" not in c
    return Answer(UNCHANGED if same else APPLIED | UNCHANGED)


def unblock(model: Model, c: Command, sub: Sub) -> Answer:
    if c["reason"] == "preventive" in sub["reasons"] and c.get("cause") != "documents_ok":
        raise No("not_authorized")
    gone = [r for r in sub["reasons"] if r == c["reason"] or (c["reason"] == "debt*" and r in DEBTS)]
    for reason in gone:
        del sub["reasons"][reason]
    if gone and not model.debts(sub):
        model.promise_ends(c["sub"], sub, "released")
    return Answer(APPLIED if gone else UNCHANGED)


def paid(model: Model, c: Command, sub: Sub) -> Answer:
    name, paid_now = c["sub"], ids(c) if "invoices" in c else model.owed(sub)
    news = any(i not in sub["settled"] for i in paid_now)
    sub["settled"] |= set(paid_now)
    for reason, r in model.debts(sub).items():
        before = r["invoices"]
        r["invoices"] = [i for i in before if i not in paid_now]
        r["dues"] = {i: d for i, d in r["dues"].items() if i not in paid_now}
        news |= before != r["invoices"]
        if not r["invoices"]:
            del sub["reasons"][reason]
            news = True
    promise = sub["promise"]
    if not model.debts(sub):
        whole = sub["spent"].pop(WHOLE, 0)
        news |= bool(promise or sub["breached"] or whole)
        model.promise_ends(name, sub, "fulfilled")
        sub["breached"] = False
    elif promise and promise["invoices"] and set(promise["invoices"]) <= sub["settled"]:
        model.promise_ends(name, sub, "fulfilled")
    for kind, deferral in list(sub["deferrals"].items()):
        if deferral["invoices"] and set(deferral["invoices"]) <= sub["settled"]:
            model.deferral_ends(name, sub, kind)
            news = True
    return Answer(APPLIED if news else UNCHANGED)


# -- waivers -------------------------------------------------------------------------------------------------------


def asked_until(model: Model, c: Command) -> int:
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
    if promise and promise["until"] == until > now and promise["invoices"] == named:
        return Answer(UNCHANGED, until)
    owed = model.owed(sub)
    covered = named or owed or [WHOLE]
    due_dates = {i: d for r in model.debts(sub).values() for i, d in r["dues"].items() if i in owed and i in covered}
    today = model.local(now).date()
    codes = set()
    if any(r not in DEBTS and begun for r, begun in model.reasons(c["sub"]).items()) or not model.debts(sub):
        codes.add("trust_not_applicable")
    if named and not set(named) & set(owed):
        codes.add("trust_not_applicable")
    if due_dates and (today - min(due_dates.values())).days < rules.min_days_overdue:
        codes.add("trust_not_applicable")
    if asked <= now:
        codes.add("malformed")
    usual = not c.keys() & {"until", "hours", "days"}
    if asked - now > rules.trust_max_hours * HOUR and not usual:
        codes.add("trust_too_long")
    if sub["breached"] or any(sub["spent"].get(i, 0) >= rules.trust_per_invoice for i in covered):
        codes.add("trust_spent")
    recent = [g for g in sub["granted"] if g > now - 30 * DAY]
    if rules.trust_per_30_days and len(recent) >= rules.trust_per_30_days:
        codes.add("trust_spent")
    if codes:
        raise No(*codes)
    if promise and promise["until"] > now:
        model.promise_ends(c["sub"], sub, "replaced")
    for invoice in covered:
        sub["spent"][invoice] = sub["spent"].get(invoice, 0) + 1
    sub["granted"].append(now)
    sub["promise"] = {"until": until, "invoices": named}
    return Answer(APPLIED, until)


def untrust(model: Model, c: Command, sub: Sub) -> Answer:
    if not model.promise(c["sub"]):
        return Answer(UNCHANGED)
    model.promise_ends(c["sub"], sub, "revoked")
    return Answer(APPLIED)


def defer(model: Model, c: Command, sub: Sub) -> Answer:
    if ms(c["until"]) <= model.now:
        raise No("trust_not_applicable")
    until = model.next_cut(ms(c["until"]), sub["area"]) if model.rules.guard_reblock else ms(c["until"])
    up_to = WORDS.index(c["up_to"]) if "up_to" in c else 0
    new = {"until": until, "invoices": ids(c), "up_to": up_to}
    old = sub["deferrals"].get(c["kind"])
    sub["deferrals"][c["kind"]] = new
    return Answer(UNCHANGED if old == new else APPLIED, until)


def undefer(model: Model, c: Command, sub: Sub) -> Answer:
    gone = [k for k in sub["deferrals"] if c.get("kind", k) == k not in {"moratorium", "onset"}]
    for kind in gone:
        model.deferral_ends(c["sub"], sub, kind)
    return Answer(APPLIED if gone else UNCHANGED)


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
