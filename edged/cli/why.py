"""``edged why`` in sentences: the daemon's record (docs/protocol.md, ``query``) as lines of text. Pure.

Laws:

1. The first lines answer the call "no browsing": restricted by us and why, not restricted, an outage, or a kernel that
   does not hold what it was told.
2. Everything the record says has its place; what this version does not know by name is shown as it came.
3. What is missing, such as from an older daemon, is left out, never invented.
4. Nothing that came from outside reaches the terminal with control characters in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from edged.cli import words
from edged.cli.screens import clean, duration, plain

Json = Mapping[str, Any]
_BAD, _GOOD, _DOUBT, _HEAD = "bold red", "green", "yellow", "bold"
_TOLD = (
    "sub level since page_reason rev reasons promise deferrals area held notice_seen_until page_shown next_change"
    " timezone addresses"
).split()
_REASON = (
    "reason level state since onset waits_for overridden deadline notified_at issuer ref page rate_kbit invoices"
    " waiting"
).split()


class Line(NamedTuple):
    """A line and how it looks (rich's words for colours; empty: plain)."""

    text: str
    style: str = ""


def told(record: Json, language: str) -> list[Line]:
    """The lines on a subscriber in ``language``, one of :data:`edged.cli.words.LANGUAGES`."""
    return _Teller(record, language).lines()


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _map(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _maps(value: Any) -> list[Json]:
    return [x for x in _list(value) if isinstance(x, Mapping)]


def _rest(found: Json, known: Iterable[str]) -> list[str]:
    """What a newer daemon says beyond what is known here."""
    fresh = {key: value for key, value in found.items() if key not in known and value not in (None, "", [], {})}
    return [f"{clean(key)} {plain(value)}" for key, value in fresh.items()]


class _Teller:
    def __init__(self, record: Json, language: str) -> None:
        self._record = record
        voice = words.Voice(language, str(record.get("timezone") or "UTC"))
        self._zone, self._say, self._name, self._when = voice.zone, voice.say, voice.name, voice.moment

    def _origin(self, found: Json) -> list[str]:
        out = [self._say("issuer", issuer=plain(found["issuer"]))] if found.get("issuer") else []
        return out + ([self._say("ref", ref=plain(found["ref"]))] if found.get("ref") else [])

    def _level(self, word: Any) -> str:
        return self._name(words.LEVELS, word, coded=True)

    # -- the record ------------------------------------------------------------------------------------------

    def lines(self) -> list[Line]:
        r = self._record
        first, *more = self._answer()
        out = [Line(f"{plain(r.get('sub'))}: {first.text}", first.style), *(Line("  " + x.text, x.style) for x in more)]
        if held := _list(r.get("held")):
            names = ", ".join(self._name(words.REASONS, name, coded=True) for name in held)
            out.append(Line("  " + self._say("held", reasons=names), _DOUBT))
        out += self._reasons()
        out += self._waivers()
        out += self._addresses()
        out += [Line("  " + text) for text in self._remarks()]
        return out

    def _answer(self) -> list[Line]:
        """Law 1, what matters most first."""
        r = self._record
        level = r.get("level")
        outage = _map(_map(r.get("area")).get("outage"))
        since = self._say("since", since=self._when(r["since"])) if r.get("since") else ""
        addresses = _maps(r.get("addresses"))
        wrong = [plain(a.get("address")) for a in addresses if a.get("agrees") is False]
        silent = [plain(a.get("address")) for a in addresses if "kernel" in a and a["kernel"] is None]
        out = [Line(self._say("disagrees", addresses=", ".join(wrong)), _BAD)] if wrong else []
        reason = self._name(words.REASONS, r.get("page_reason"), coded=True)
        if level == "open":
            out.append(Line(self._say("open") + ("" if outage or wrong or silent else self._say("look")), _GOOD))
        elif level == "notice":
            out.append(Line(self._say("reminded", reason=reason) + since, _GOOD))
        elif level is not None:
            out.append(Line(self._say("restricted", level=self._level(level), reason=reason) + since, _BAD))
        if silent:
            out.append(Line(self._say("silent", addresses=", ".join(silent)), _DOUBT))
        if outage:
            out.append(Line(self._outage(outage), _DOUBT))
        if "addresses" in r and not addresses:
            out.append(Line(self._say("unbound"), _DOUBT))
        return out or [Line("?")]

    def _outage(self, outage: Json) -> str:
        area = plain(_map(self._record.get("area")).get("name") or self._say("no_area"))
        said = self._say("outage", area=area, id=plain(outage.get("id")), since=self._when(outage.get("since")))
        said += self._say("eta", eta=self._when(outage["eta"])) if outage.get("eta") else self._say("no_eta")
        return "; ".join([said, *self._origin(outage)])

    def _reasons(self) -> list[Line]:
        reasons = _maps(self._record.get("reasons"))
        if not reasons:
            return [] if "reasons" not in self._record else [Line("  " + self._say("no_reasons"))]
        out = [Line("  " + self._say("reasons"), _HEAD)]
        for reason in reasons:
            name = self._name(words.REASONS, reason.get("reason"), coded=True)
            counts = reason.get("state") in {"in_force", "eased"}
            out.append(Line(f"    {name}, {self._level(reason.get('level'))}: {self._state(reason)}", _BAD * counts))
            out += [Line("      " + "; ".join(said)) for said in self._details(reason) if said]
        return out

    def _state(self, reason: Json) -> str:
        onset = self._when(reason.get("onset"))
        said = self._name(words.STATES, reason.get("state")).format(onset=onset)
        if waits := reason.get("waits_for"):
            said += ": " + self._name(words.WAITS, waits).format(onset=onset)
        return said

    def _details(self, reason: Json) -> list[list[str]]:
        """Whose it is; what is owed; the rest."""
        whose = self._origin(reason)
        if reason.get("since"):
            whose.append(self._say("set", since=self._when(reason["since"])))
        owed = []
        if invoices := _list(reason.get("invoices")):
            owed.append(self._say("invoices", invoices=", ".join(self._invoice(i) for i in invoices)))
        elif str(reason.get("reason")) in {"notice", "debt_partial", "debt"}:
            owed.append(self._say("whole"))
        owed += [self._waits(part) for part in _maps(reason.get("waiting"))]
        more = [self._say(key, at=self._when(reason[key])) for key in ("notified_at", "deadline") if reason.get(key)]
        more += [self._say("rate", rate=plain(reason["rate_kbit"]))] if reason.get("rate_kbit") else []
        more += [self._say("page", page=plain(reason["page"]))] if reason.get("page") else []
        more += [self._say("overridden")] if reason.get("overridden") else []
        return [whose, owed, more + _rest(reason, _REASON)]

    def _waits(self, part: Json) -> str:
        """What of a debt has not begun, and what for it waits."""
        onset = self._when(part.get("onset"))
        what = self._name(words.PARTS, part.get("part")).format(
            invoice=plain(part.get("invoice")), level=self._level(part.get("level"))
        )
        said = f"{what}: {self._name(words.WAITS, part.get('waits_for')).format(onset=onset)}"
        return ", ".join([said, *_rest(part, "part invoice level onset waits_for notified_at".split())])

    def _invoice(self, invoice: Any) -> str:
        if not isinstance(invoice, Mapping):
            return plain(invoice)
        more = [self._say("due", due=self._when(invoice["due"]))] if invoice.get("due") else []
        if n := invoice.get("promises_spent"):
            more.append(self._say("promised_out" if invoice.get("spent") else "promised", n=plain(n)))
        more += _rest(invoice, ("id", "due", "promises_spent", "spent"))
        return plain(invoice.get("id")) + (f" ({', '.join(more)})" if more else "")

    def _waivers(self) -> list[Line]:
        promise, deferrals = _map(self._record.get("promise")), _maps(self._record.get("deferrals"))
        out = [Line("  " + self._say("waivers"), _HEAD)] if promise or deferrals else []
        if running := _map(promise.get("running")):
            basis = self._name(words.BASES, running.get("basis"), coded=True)
            said = [self._say("promise", until=self._when(running.get("until")), basis=basis), self._covered(running)]
            said += [self._say("channel", channel=plain(running["channel"]))] if running.get("channel") else []
            said += self._origin(running)
            said += [self._say("given", since=self._when(running["since"]))] if running.get("since") else []
            said += self._kept(running) + _rest(
                running, "basis since until invoices channel issuer ref outcome".split()
            )
            out.append(Line("    " + "; ".join(said), _GOOD))
        elif promise:
            out.append(Line("    " + self._say("no_promise")))
        out += [Line("    " + self._say(word), _DOUBT) for word in ("breached", "spent") if promise.get(word)]
        if most := promise.get("most_in_30_days"):
            out.append(Line("    " + self._say("quota", n=plain(promise.get("in_30_days")), most=plain(most))))
        known = ("running", "breached", "spent", "in_30_days", "most_in_30_days")
        out += [Line("    " + text) for text in _rest(promise, known)]
        return out + [Line("    " + self._deferral(found), _GOOD) for found in deferrals]

    def _kept(self, running: Json) -> list[str]:
        return [self._say("kept")] if running.get("outcome") else []

    def _covered(self, waiver: Json) -> str:
        named = _list(waiver.get("invoices"))
        return self._say("invoices", invoices=", ".join(map(plain, named))) if named else self._say("whole")

    def _deferral(self, found: Json) -> str:
        cap = found.get("up_to")
        effect = self._say("lifts") if cap in {None, "open"} else self._say("caps", level=self._level(cap))
        kind = self._name(words.KINDS, found.get("kind"), coded=True)
        said = [self._say("deferral", kind=kind, until=self._when(found.get("until")), effect=effect)]
        said += [self._covered(found), *self._origin(found)]
        said += [self._say("set", since=self._when(found["since"]))] if found.get("since") else []
        return "; ".join(said + _rest(found, "kind since until up_to invoices issuer ref".split()))

    def _addresses(self) -> list[Line]:
        addresses = _list(self._record.get("addresses"))
        out = [Line("  " + self._say("addresses"), _HEAD)] if addresses else []
        for found in addresses:
            if isinstance(found, Mapping):
                text = f"    {plain(found.get('address'))}: {self._kernel(found)}"
                more = _rest(found, ("address", "kernel", "agrees"))
                out.append(Line("; ".join([text, *more]), _BAD if found.get("agrees") is False else ""))
            else:
                out.append(Line("    " + plain(found)))
        return out

    def _kernel(self, address: Json) -> str:
        kernel = address.get("kernel")
        if not isinstance(kernel, Mapping):
            return self._say("no_answer")
        sets, ends = _list(kernel.get("sets")), _map(kernel.get("expires_ms"))
        said = []
        for role in sorted(sets, key=lambda role: role != "restricted"):
            left = ends.get(role)
            more = " " + self._say("left", left=duration(left / 1000)) if isinstance(left, int | float) else ""
            said.append(self._name(words.ROLES, role) + more)
        if not sets:
            said.append(self._name(words.LEVELS, "open"))
        elif "restricted" in sets and not {"blocked", "reduced", "notice"} & set(map(str, sets)):
            said[0] += f", {self._say('only_page')}"
        if fast := _map(kernel.get("xdp")):
            left = fast.get("expires_ms")
            more = " " + self._say("left", left=duration(left / 1000)) if isinstance(left, int | float) else ""
            level = self._name(words.LEVELS, fast.get("lift") if more else fast.get("level"))
            said.append(self._say("xdp", level=level) + more)
        if "agrees" in address:
            said.append(self._say({True: "agrees", False: "differs"}.get(address["agrees"], "changing")))
        return "; ".join(said)

    def _remarks(self) -> list[str]:
        r, area = self._record, _map(self._record.get("area"))
        out = []
        until = area.get("moratorium_until")
        if area.get("name") or until:
            said = [self._say("area", area=plain(area.get("name") or self._say("no_area")))]
            said += [self._say("moratorium", until=self._when(until))] if until else []
            out.append("; ".join(said + _rest(area, ("name", "outage", "moratorium_until"))))
        for key, sentence in (("page_shown", "shown"), ("notice_seen_until", "seen"), ("next_change", "next")):
            out += [self._say(sentence, at=self._when(r[key]))] if r.get(key) else []
        out += [self._say("rev", rev=plain(r["rev"]))] if r.get("rev") is not None else []
        out += _rest(r, _TOLD)
        return [*out, self._say("zone", zone=str(self._zone))]
