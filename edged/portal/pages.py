"""Which page somebody gets, and its words. Neutral: no threat, no amount, no name, nothing about the person.

The page may be plain HTTP and anybody in the house may see it, so it says what is the matter with the connection and
whom to ask, and leaves the rest to the customer area and the pay page (domain.md §6). Fraud, court and a terminated
contract have one page together, so that it tells nobody which of them it is. Pure.

| in force                                  | page                                                        |
|-------------------------------------------|-------------------------------------------------------------|
| the core does not answer                  | ``general``                                                 |
| open, a promise runs                      | ``promise``                                                 |
| open, an outage in the area               | ``outage``                                                  |
| open                                      | ``online``                                                  |
| for debt: notice                          | ``notice``                                                  |
| for debt: reduced                         | ``reduced``                                                 |
| walled for debt; after an unpaid promise  | ``debt``; ``broken``                                        |
| preventive, pause, abuse, operator        | ``documents``, ``paused``, ``abuse``, ``operator``; in the  |
|                                           | words of ``STAGES`` while it is only notice or reduced      |
| fraud, terminated, court, anything else   | ``contact``                                                 |
"""

from __future__ import annotations

from dataclasses import dataclass

from edged.domain.levels import Level
from edged.domain.standing import Standing


def _(sentence: str) -> str:
    """Marks a sentence for the catalogues; it is translated when it is shown."""
    return sentence


@dataclass(frozen=True, slots=True)
class Words:
    """One page in English: tone (``good``, ``info``, ``stop``), title, paragraphs, what its link to pay says."""

    tone: str
    title: str
    paragraphs: tuple[str, ...]
    action: str = ""


_SUSPENDED = _("Your internet access is suspended")
_OPEN_MATTER = _("There is an open matter with your internet subscription. The details are in the customer area.")
_BY_ITSELF = _("As soon as the payment is recognised, access returns by itself.")
_PAID = _("If you have paid already, please get in touch.")
_PAY = _("See the invoice and pay")

PAGES = {
    "online": Words(
        "good",
        _("You are online"),
        (_("There is no restriction on your internet access."), _("You can close this page and go on browsing.")),
    ),
    "dismissed": Words(
        "good",
        _("You are online"),
        (
            _("Thank you. The reminder will come back later if it is still needed."),
            _("You can close this page and go on browsing."),
        ),
    ),
    "notice": Words(
        "info",
        _("A reminder about your subscription"),
        (
            _("There is an open matter with your internet subscription. Your access works as usual."),
            _("The details are in the customer area. If it is settled already, please disregard this reminder."),
        ),
        _("Open the customer area"),
    ),
    "reduced": Words(
        "stop",
        _("Your connection runs at reduced speed"),
        (
            _("There is an open matter with your internet subscription, so the speed is reduced."),
            _("As soon as the payment is recognised, full speed returns by itself."),
        ),
        _PAY,
    ),
    "debt": Words("stop", _SUSPENDED, (_OPEN_MATTER, _BY_ITSELF, _PAID), _PAY),
    "broken": Words(
        "stop",
        _SUSPENDED,
        (
            _("The time of the promised payment is over, and no payment has been recognised yet."),
            _BY_ITSELF,
            _PAID,
        ),
        _PAY,
    ),
    "promise": Words(
        "good",
        _("You are online: payment promised"),
        (
            _("Your access is open without restriction until the time below."),
            _("Once the payment is recognised, it stays open."),
        ),
        _PAY,
    ),
    "documents": Words(
        "stop",
        _SUSPENDED,
        (
            _("We need documents from you to go on with your subscription."),
            _("Please get in touch and send them. Access returns as soon as they are checked."),
        ),
    ),
    "paused": Words(
        "info",
        _("Your subscription is paused"),
        (
            _("The pause was asked for by the account holder."),
            _("It can be ended before its time: please get in touch or use the customer area."),
        ),
        _("Reactivate in the customer area"),
    ),
    "outage": Words(
        "info",
        _("There is an outage in your area"),
        (
            _("Our technicians are working on it. Your subscription is in order."),
            _("You do not need to do anything: the connection returns by itself."),
        ),
    ),
    "abuse": Words(
        "stop",
        _SUSPENDED,
        (
            _("Traffic from your connection disturbs other networks; often a device at home is infected."),
            _("Please get in touch: we explain what was seen and help to solve it."),
        ),
    ),
    "operator": Words("stop", _SUSPENDED, (_("To restore access, please get in touch."),)),
    "contact": Words("stop", _SUSPENDED, (_("To learn more and to restore access, please get in touch."),)),
    "general": Words(
        "info",
        _("About your connection"),
        (
            _("The state of your connection could not be looked up just now. Please try again in a moment."),
            _("If this goes on, please get in touch."),
        ),
        _("Open the customer area"),
    ),
}
"""Those that a standing leads to, by name, and ``dismissed``, which follows a reminder."""

STAGES = {
    Level.NOTICE: Words(
        "info",
        _("A reminder about your subscription"),
        (
            _("There is an open matter with your internet subscription. Your access works as usual."),
            _("To learn more, please get in touch."),
        ),
    ),
    Level.REDUCED: Words(
        "stop",
        _("Your connection runs at reduced speed"),
        (_("To learn more and to restore full speed, please get in touch."),),
    ),
}
"""Milder stages of what is no debt, in the place of its page's words."""

ASKED = _("Your request was sent. This page changes by itself as soon as the answer is here.")
OUTAGE = _("There is also an outage in your area: the connection may fail for that reason, too.")
EXTENDED = _("it may be extended")

ANSWERS = {
    "limited": _("You have asked a moment ago. Please wait for the answer before you ask again."),
    "spent": _("The payment of this invoice has been promised before, so it cannot be promised again."),
    "not_applicable": _("A promise of payment does not change the state of your connection. Please get in touch."),
    "failed": _("It is not known yet whether your request has arrived. Please look again in a moment."),
    "expired": _("The page was open for too long. Please confirm again."),
}
"""What is said when a promise was asked for in vain, by the core's verdict."""

CODES = {
    "wrong": _("This code is not right. Please look at it again."),
    "locked": _("There were too many wrong codes. Please ask us for a new one."),
    "used": _("This code or link was used before. Please ask us for a new code, or open the customer area again."),
    "stale": _("This link is no longer good. Open the customer area again."),
    "dead": _("This link is no longer good. Open the customer area again."),
    "uncoded": _("No code was given for this invoice. Please open the link in the customer area or get in touch."),
    "none": _(
        "There is nothing to pay here by code or link at the moment. Please get in touch or use the customer area."
    ),
    "expired": _("The page was open for too long. Please type the code again."),
    "busy": _("The payment data could not be looked up just now. Please try again in a moment."),
}
"""What is said when a code or link opened nothing, by the core's verdict."""

DEAD = Words("info", _("Pay your invoice"), (CODES["dead"],), _("Open the customer area"))
"""The page ``link``: a link that opens nothing, and no code that could be typed instead."""

_BY_REASON = {
    "debt": "debt", "debt_partial": "debt", "notice": "debt", "preventive": "documents", "pause": "paused",
    "abuse": "abuse", "operator": "operator",
}  # fmt: skip


_DEBT: dict[int, str] = {Level.NOTICE: "notice", Level.REDUCED: "reduced"}


def words(name: str, level: int) -> Words:
    """What a page says while ``level`` is in force: the reason decides, the level is its stage."""
    return PAGES[name] if may_pay(name) else STAGES.get(Level(level), PAGES[name])


def page_name(standing: Standing | None) -> str:
    """Which page somebody gets; None is somebody about whom the core did not answer."""
    match standing:
        case None:
            return "general"
        case Standing(level=Level.OPEN):
            return "promise" if standing.until_ms else "outage" if standing.outage else "online"
        case Standing(level=Level.NOTICE | Level.REDUCED | Level.WALLED):
            name = _BY_REASON.get(standing.reason, "contact")
            if name != "debt":
                return name
            return _DEBT.get(standing.level) or ("broken" if standing.broken else name)
        case Standing(reason="abuse"):
            return "abuse"
        case _:
            return "contact"


def may_pay(name: str) -> bool:
    """Whether a page is one of those on which payment changes something, so that it leads there."""
    return name in {"notice", "reduced", "debt", "broken", "promise"}


def may_dismiss(name: str) -> bool:
    """Whether a page may be that of a reminder, with the button that sends it away."""
    return name in {"notice", "contact", *_BY_REASON.values()} - {"debt"}


def may_promise(name: str) -> bool:
    """Whether a page is one of those that a promise of payment opens."""
    return name in {"reduced", "debt", "broken"}


def may_say_unpaid(name: str) -> bool:
    """Whether a page may say that nothing is to be paid here: one about money, or of somebody who is online."""
    return may_pay(name) or name in {"online", "outage"}


def may_answer(answer: str, standing: Standing | None) -> bool:
    """Whether what came of asking for a promise may be said now: the address of an answer is open to anybody."""
    name = page_name(standing)
    match answer:
        case "spent" | "limited":
            return may_promise(name)
        case "failed":
            return standing is None or (may_promise(name) and not standing.asked)  # else the page says that it came
        case _:
            return PAGES[name].tone != "good"
