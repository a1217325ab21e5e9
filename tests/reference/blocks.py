"""``block``, ``unblock`` and ``paid`` on the naive model: what makes reasons and what ends them."""

from __future__ import annotations

from tests.reference.model import Model
from tests.reference.words import DEBTS, NOTICE, OWN_LEVEL, RAISE, WHOLE, WORDS, Answer, Command, No, Sub, dues, ids, ms

APPLIED, UNCHANGED = {"applied"}, {"unchanged"}


def block(model: Model, c: Command, sub: Sub) -> Answer:
    name, level = c["reason"], asked_level(c)
    named = ids(c)
    left = [i for i in named if i not in sub["settled"]]
    short = name == "debt" and model.rules.require_notice and "notified_at" not in c
    if named and not left:
        return nothing_left(model, c, sub, short=short)
    if short:
        raise No("notice_too_short")
    old = sub["reasons"].get(name)
    if name == "pause" and "deadline" in c and ms(c["deadline"]) <= model.now:
        return pause_is_over(model, c, sub)
    new = {
        "level": level, "invoices": left, "waits": {}, "rate": c.get("rate", 0), "page": c.get("page", ""),
        "dues": {i: d for i, d in dues(c).items() if i in left}, **terms(c), "pending": True, "onset": 0, "why": "",
        "deadline": ms(c["deadline"]) if "deadline" in c else 0, "told": False,
    }  # fmt: skip
    sub["reasons"][name] = new
    if old and not new["notified_at"]:
        new["notified_at"] = old["notified_at"]
    answer = again(model, c, sub, old, new) if old and not old["pending"] else begins(model, c, sub, new)
    if not old or any(old[k] != new[k] for k in new if k != "not_before"):
        if old and name in DEBTS and not (sub["promise"] and WHOLE in sub["promise"]["owed"]):
            promise_is_released(model, c["sub"], sub)
        comes_under_promise(sub, new, name)
    return answer


def begins(model: Model, c: Command, sub: Sub, new: Sub) -> Answer:
    """A reason that is new, or takes the place of one that waits."""
    new["onset"], new["why"] = model.onset(c["reason"], new, sub["area"])
    if new["why"]:
        return waits(model, sub, c["reason"], [(new["onset"], new["why"])])
    model.begin(c["reason"], new)
    return Answer(APPLIED)


def asked_level(c: Command) -> int:
    """The level that the reason gets. Raises No."""
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
    return level


def terms(c: Command) -> Sub:
    """When it may begin, in the command's words."""
    moments = {k: ms(c[k]) if k in c else 0 for k in ("not_before", "notified_at")}
    return {**moments, "override": "override" in c}


def nothing_left(model: Model, c: Command, sub: Sub, *, short: bool) -> Answer:
    """All that the command names is settled: in the place of what there was comes nothing, which unblocks it."""
    gone = c["reason"] in sub["reasons"]
    if gone:
        del sub["reasons"][c["reason"]]
        promise_is_released(model, c["sub"], sub)
    return Answer((APPLIED if gone else UNCHANGED) | ({"notice_too_short"} if short and not gone else set()))


def pause_is_over(model: Model, c: Command, sub: Sub) -> Answer:
    """A pause that ended before it was sent takes the place of the one there is, and ends."""
    if "pause" in sub["reasons"]:
        del sub["reasons"]["pause"]
        model.events.append(("pause.ended", c["sub"], "pause"))
        return Answer(APPLIED)
    return Answer(UNCHANGED)


def comes_under_promise(sub: Sub, new: Sub, name: str) -> None:
    """A promise for all that runs lifts it: what stands behind it has had its promise, begun or waiting or deferred."""
    promise = sub["promise"]
    if name not in DEBTS or new["level"] <= NOTICE or not promise or promise["invoices"]:
        return
    sub["spent"].update({i: sub["spent"].get(i) or 1 for i in new["invoices"] or [WHOLE]})


def waits(model: Model, sub: Sub, reason: str, found: list[tuple[int, str]]) -> Answer:
    """Deferred until the soonest of these moments."""
    until = min(at for at, _ in found)
    doubtful = reason in DEBTS and model.outage(sub["area"])
    return Answer({"deferred"}, 0 if doubtful else until, {why for at, why in found if at == until})


def again(model: Model, c: Command, sub: Sub, old: Sub, new: Sub) -> Answer:
    """What has begun is not put off by saying it again; what it takes away beyond that waits as a new onset does."""
    name = c["reason"]
    new["pending"], new["onset"] = False, old["onset"]
    if "deadline" not in c:
        new["deadline"], new["told"] = old["deadline"], old["told"]
    waiting: list[tuple[int, str]] = []
    if name in DEBTS:
        waiting = judge_invoices(model, c, sub, old, new)
        onset, why = model.onset(name, new, sub["area"])
        if new["level"] > model.begun_level(old) and why:
            own = {**terms(c), "notified_at": new["notified_at"]}
            new["waits"][RAISE] = {**own, "onset": onset, "why": why, "before": model.begun_level(old)}
            waiting.append((onset, why))
    if waiting:
        return waits(model, sub, name, waiting)
    content = ("level", "invoices", "waits", "rate", "page", "dues")
    if any(old[k] != new[k] for k in content):
        return Answer(APPLIED)
    same = all(old[k] == new[k] for k in ("not_before", "notified_at", "override")) and "deadline" not in c
    return Answer(UNCHANGED if same else APPLIED | UNCHANGED)


def judge_invoices(model: Model, c: Command, sub: Sub, old: Sub, new: Sub) -> list[tuple[int, str]]:
    """Each invoice of a debt that has begun has its own onset: those of the command's that wait, until when and why."""
    if not old["invoices"]:
        return []  # the whole debt has begun, and with it whatever is named of it now
    for invoice in new["invoices"] or [WHOLE]:
        if invoice in model.begun(old):
            continue
        own = terms(c)
        own["notified_at"] = own["notified_at"] or old["waits"].get(invoice, own)["notified_at"]
        onset, why = model.onset(c["reason"], own, sub["area"])
        if why:
            new["waits"][invoice] = {**own, "onset": onset, "why": why}
    found = [(w["onset"], w["why"]) for w in new["waits"].values()]
    if WHOLE in new["waits"]:  # beside those that were named before
        new["invoices"] = [i for i in old["invoices"] if i != WHOLE] + [WHOLE]
        new["waits"] = {**{i: w for i, w in old["waits"].items() if i != RAISE}, **new["waits"]}
        new["dues"] = old["dues"]
    return found


def unblock(model: Model, c: Command, sub: Sub) -> Answer:
    if c["reason"] == "preventive" in sub["reasons"] and c.get("cause") != "documents_ok":
        raise No("not_authorized")
    gone = [r for r in sub["reasons"] if r == c["reason"] or (c["reason"] == "debt*" and r in DEBTS)]
    for reason in gone:
        del sub["reasons"][reason]
    if gone:
        promise_is_released(model, c["sub"], sub)
    return Answer(APPLIED if gone else UNCHANGED)


def promise_is_released(model: Model, name: str, sub: Sub) -> None:
    """What it means for the promise that a reason was taken back."""
    promise, owed = sub["promise"], {*model.owed(sub)}
    if not model.debts(sub):
        sub["deferrals"].pop("onset", None)
    if not promise:
        return
    if not model.debts(sub):
        model.promise_ends(name, sub, "released")
    elif WHOLE in owed:
        return  # which may be what was promised
    elif promise["invoices"] and not {*promise["invoices"]} & owed:
        model.promise_ends(name, sub, "released")
    elif promise["owed"] and not {*promise["owed"]} & owed:
        model.promise_is_kept(name, sub, "released")


def paid(model: Model, c: Command, sub: Sub) -> Answer:
    name, everything = c["sub"], "invoices" not in c
    paid_now = {*model.owed(sub), *sub["settled"], *sub["spent"]} - {WHOLE} if everything else {*ids(c)}
    news = not paid_now <= sub["settled"]
    sub["settled"] |= paid_now
    for reason, r in model.debts(sub).items():
        before = r["invoices"]
        r["invoices"] = [i for i in before if i not in paid_now]
        r["dues"] = {i: d for i, d in r["dues"].items() if i not in paid_now}
        r["waits"] = {i: w for i, w in r["waits"].items() if i not in paid_now}
        news |= before != r["invoices"]
        if everything or not r["invoices"]:
            del sub["reasons"][reason]
            news = True
    news |= promise_is_paid(model, name, sub)
    for kind, deferral in list(sub["deferrals"].items()):
        if deferral["invoices"] and set(deferral["invoices"]) <= sub["settled"]:
            model.deferral_ends(name, sub, kind)
            news = True
    return Answer(APPLIED if news else UNCHANGED)


def promise_is_paid(model: Model, name: str, sub: Sub) -> bool:
    """What a payment means for the promise and for one that was breached; whether it means anything."""
    before = sub["promise"] and {**sub["promise"]}, sub["breached"], {**sub["spent"]}, len(sub["deferrals"])
    promise = sub["promise"]
    if not model.debts(sub):
        sub["deferrals"].pop("onset", None)
        sub["spent"].pop(WHOLE, 0)
        model.promise_ends(name, sub, "fulfilled")
        if sub["spent"].keys() <= sub["settled"]:
            sub["breached"] = False
    elif promise and promise["invoices"] and set(promise["invoices"]) <= sub["settled"]:
        model.promise_ends(name, sub, "fulfilled")
    elif promise and promise["owed"] and set(promise["owed"]) <= sub["settled"]:
        model.promise_is_kept(name, sub, "fulfilled")
    return before != (sub["promise"], sub["breached"], sub["spent"], len(sub["deferrals"]))
