"""What a page that somebody else's template drew must have, for the visitor to do there what it is for. Pure.

A form that lacks what the site wants in it can never be taken, and a bill without its code never be paid: nobody would
hear of either but the visitor. So it is looked for before a template is used.
"""

from __future__ import annotations

from collections.abc import Collection
from html.parser import HTMLParser

MOST_PAGE = 30_000
"""Bytes of a page."""
_HIDDEN = {"style", "script", "title", "template"}


class Lacking(ValueError):
    """What a page lacks. Says nothing that the page was about."""


def bounded(page: bytes) -> bytes:
    """``page``. Raises Lacking when it is empty or too large."""
    if not page.strip():
        raise Lacking("what it draws is empty")
    if len(page) > MOST_PAGE:
        raise Lacking(f"what it draws has {len(page)} bytes; at most {MOST_PAGE} are sent")
    return page


def check(
    page: bytes, form: str, nonce: str, fields: Collection[str] = (), texts: Collection[tuple[str, str]] = ()
) -> None:
    """Raise Lacking where a page lacks what it is for.

    ``form``: where its one form leads, with ``nonce``, a button and ``fields`` in it; empty: it has none. ``texts``:
    what it must show, each behind its name.
    """
    found = _Reader()
    found.feed(bounded(page).decode())
    found.close()
    if not found.elements or not found.text.strip():
        raise Lacking("what it draws is no page: it has no element with a text")
    for one in found.forms:
        _check_form(one, form, nonce, fields)
    if form and not found.forms:
        raise Lacking(f"it lacks the form {_shape(form)}; keep our blocks, or write it")
    if not form and nonce and nonce in page.decode():
        raise Lacking(
            "it has {{ nonce }} where no form is taken: only confirm.html, code.html and view.dismiss have one"
        )
    shown = found.text + " ".join(found.values)
    for name, text in texts:
        if text not in shown:
            raise Lacking(f"it does not show {name}")


def _shape(form: str) -> str:
    hidden = '<input type="hidden" name="nonce" value="{{ nonce }}">'
    return f'<form method="post" action="{form}"> with {hidden} and a button'


class _Form:
    def __init__(self, attributes: dict[str, str]) -> None:
        self.action = attributes.get("action", "")
        self.method = attributes.get("method", "get").lower()
        self.fields: dict[str, str] = {}
        self.sends = False


def _check_form(one: _Form, form: str, nonce: str, fields: Collection[str]) -> None:
    if not form:
        raise Lacking(
            f'it has a form to "{one.action}", which is not taken there: link to /promise or /pay, which have theirs, '
            "and put that of /dismiss into {% if view.dismiss %}"
        )
    if (one.action, one.method) != (form, "post"):
        raise Lacking(f'its form leads to "{one.action}" by {one.method}; it must be {_shape(form)}')
    if one.fields.get("nonce") != nonce:
        raise Lacking('its form lacks <input type="hidden" name="nonce" value="{{ nonce }}">')
    for name in fields:
        if name not in one.fields:
            raise Lacking(f'its form lacks <input name="{name}">')
    if not one.sends:
        raise Lacking("its form lacks a button")


class _Reader(HTMLParser):
    """Notes forms, what is in them, and what can be read."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.text = ""
        self.values: list[str] = []
        self.forms: list[_Form] = []
        self._form: _Form | None = None
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements += 1
        kind = attributes.get("type", "").lower()
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag == "form":
            self._form = _Form(attributes)
            self.forms.append(self._form)
        elif tag in {"input", "textarea"} and kind != "hidden":
            self.values.append(attributes.get("value", ""))
        if self._form is not None and tag in {"input", "button", "select", "textarea"}:
            if name := attributes.get("name"):
                self._form.fields[name] = attributes.get("value", "")
            sends = tag == "button" and kind in {"", "submit"}
            self._form.sends |= sends or (tag == "input" and kind in {"submit", "image"})

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data
