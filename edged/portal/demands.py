"""What a page that somebody else's template drew must have, for the visitor to do there what it is for. Pure.

A form that lacks what the site wants in it can never be taken, and a bill without its code never be paid: nobody would
hear of either but the visitor. So it is looked for before a template is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edged.portal.drawn import Control, Form, Page

MOST_PAGE = 30_000
"""Bytes of a page."""
MOST_CODE, LEAST_CODE = 32, 6
"""Characters of a one-time code."""
_UNTYPED = {
    "button", "checkbox", "color", "date", "datetime-local", "email", "file", "hidden", "image", "month", "number",
    "radio", "range", "reset", "submit", "time", "url", "week",
}  # fmt: skip
"""Types of an input into which no code can be typed; an unknown type is ``text``."""
_OWN = ("formaction", "formmethod", "formenctype")
_URLENCODED = "application/x-www-form-urlencoded"


class Lacking(ValueError):
    """What a page lacks. Says nothing that the page was about."""


@dataclass(frozen=True, slots=True)
class Demand:
    """``form``: where its one form leads, with ``nonce``, a button and the field ``typed`` in it; empty: it has none.

    ``texts``: what it must show, each with its name. ``blocks``: element -> the one content that the policy admits.
    """

    form: str = ""
    nonce: str = ""
    typed: str = ""
    texts: tuple[tuple[str, str], ...] = ()
    blocks: Mapping[str, str] = field(default_factory=dict)


def bounded(page: bytes) -> bytes:
    """``page``. Raises Lacking when it is empty or too large."""
    if not page.strip():
        raise Lacking("what it draws is empty")
    if len(page) > MOST_PAGE:
        raise Lacking(f"what it draws has {len(page)} bytes; at most {MOST_PAGE} are sent")
    return page


def check(page: bytes, wanted: Demand) -> None:
    """Raise Lacking where a page lacks what it is for."""
    found = Page(bounded(page).decode())
    if not found.elements or not found.text.strip():
        raise Lacking("what it draws is no page: it has no element with a text")
    for name, content in found.blocks:
        if name in wanted.blocks and content != wanted.blocks[name]:
            raise Lacking(
                f"its <{name}> is not <{name}>{{{{ {name} }}}}</{name}> to the letter, so the site's policy keeps it "
                f"out; {'put your rules into page.css' if name == 'style' else 'no other script is admitted'}"
            )
    forms = [one for one in found.forms if not one.hidden or any(map(_is_shown_button, one.controls))]
    for one in forms:
        _check_form(one, wanted)
    if wanted.form and not forms:
        raise Lacking(f"it lacks the form {_shape(wanted.form)}; keep our blocks, or write it")
    if not wanted.form and wanted.nonce and wanted.nonce in page.decode():
        raise Lacking(
            "it has {{ nonce }} where no form is taken: only confirm.html, code.html and view.dismiss have one"
        )
    shown = _plain(found.text + " ".join(found.values))
    for name, text in wanted.texts:
        if _plain(text) not in shown:
            raise Lacking(f"it does not show {name}")


def _plain(text: str) -> str:
    """With one space for each run of any, no-break ones too."""
    return " ".join(text.split())


def _shape(form: str) -> str:
    hidden = '<input type="hidden" name="nonce" value="{{ nonce }}">'
    return f'<form method="post" action="{form}"> with {hidden} and a button'


def _check_form(one: Form, wanted: Demand) -> None:
    action, method = one.attributes.get("action", ""), one.attributes.get("method", "get").lower()
    if not wanted.form:
        raise Lacking(
            f'it has a form to "{action}", which is not taken there: link to /promise or /pay, which have theirs, '
            "and put that of /dismiss into {% if view.dismiss %}"
        )
    if (action, method) != (wanted.form, "post"):
        raise Lacking(f'its form leads to "{action}" by {method}; it must be {_shape(wanted.form)}')
    if one.attributes.get("enctype", _URLENCODED).lower() != _URLENCODED:
        raise Lacking("its form has an enctype, which is not taken; leave the attribute out")
    sent = {control.name: control.attributes.get("value", "") for control in one.controls if not control.disabled}
    if sent.get("nonce") != wanted.nonce:
        raise Lacking('its form lacks <input type="hidden" name="nonce" value="{{ nonce }}">')
    if wanted.typed:
        _check_field([control for control in one.controls if control.name == wanted.typed], wanted.typed)
    _check_buttons([control for control in one.controls if control.sends])


def _check_field(fields: list[Control], name: str) -> None:
    if not fields:
        raise Lacking(f'its form lacks <input name="{name}">')
    for one in fields:
        for wrong in _why_not_typed(one):
            raise Lacking(f'its form\'s field "{name}" {wrong}; write <input name="{name}">')


def _why_not_typed(one: Control) -> Iterator[str]:
    if one.tag not in {"input", "textarea"} or (one.tag == "input" and one.kind in _UNTYPED):
        kind = f' type="{one.kind}"' if one.kind else ""
        yield f"takes no code that is typed: it is <{one.tag}{kind}>"
    if one.disabled:
        yield "is disabled"
    if "readonly" in one.attributes:
        yield "is readonly"
    if one.hidden:
        yield "is hidden"
    if (most := one.attributes.get("maxlength", "")).isdecimal() and int(most) < MOST_CODE:
        yield f"has maxlength={most}, but a code has up to {MOST_CODE} characters"
    if (least := one.attributes.get("minlength", "")).isdecimal() and int(least) > LEAST_CODE:
        yield f"has minlength={least}, but a code may have {LEAST_CODE} characters"


def _is_shown_button(one: Control) -> bool:
    return one.sends and not one.hidden


def _check_buttons(buttons: list[Control]) -> None:
    for one in buttons:
        for name in _OWN:
            if name in one.attributes:
                raise Lacking(f"its form's button has {name}, which leads elsewhere; leave the attribute out")
        if one.disabled:
            raise Lacking("its form's button is disabled")
    if not any(map(_is_shown_button, buttons)):
        raise Lacking("its form lacks a button" + (" that is not hidden" if buttons else ""))
