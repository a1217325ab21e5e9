"""What is on a page, as a browser with scripts would have it: what can be read, forms and what they send. Pure.

As much of HTML as a page with a form needs: what a ``template`` or ``noscript`` holds is not there; what stands under
``hidden`` is not seen, though a form sends it; a control belongs to the form around it or to the one it names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr",
}  # fmt: skip
_ABSENT = {"template", "noscript"}
_UNREAD = {"style", "script", "title", *_ABSENT}
_CONTROLS = {"input", "button", "select", "textarea"}
_ENDED_BY = {
    "p": {
        "address", "article", "aside", "blockquote", "details", "div", "dl", "fieldset", "figure", "footer", "form",
        "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "ul",
    },
    "li": {"li"},
    "dt": {"dt", "dd"},
    "dd": {"dt", "dd"},
}  # fmt: skip
"""Element that needs no end tag -> what ends it."""


@dataclass(frozen=True, slots=True)
class Control:
    """What a form sends, or is sent by."""

    tag: str
    attributes: dict[str, str]
    hidden: bool
    disabled: bool

    @property
    def kind(self) -> str:
        return self.attributes.get("type", "").lower()

    @property
    def name(self) -> str:
        return self.attributes.get("name", "")

    @property
    def sends(self) -> bool:
        """Whether it is a button that sends its form."""
        if self.tag == "button":
            return self.kind not in {"button", "reset"}
        return self.tag == "input" and self.kind in {"submit", "image"}


@dataclass(frozen=True, slots=True)
class Form:
    """A form, with the controls that belong to it."""

    attributes: dict[str, str]
    hidden: bool
    controls: list[Control] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Within:
    """An open element, with what holds for all that is in it."""

    tag: str = ""
    absent: bool = False
    hidden: bool = False
    disabled: bool = False


class Page(HTMLParser):
    """``html``, read: elements counted, ``text`` and ``values`` of fields that are seen, ``blocks`` (style, script)."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements = 0
        self.text = ""
        self.values: list[str] = []
        self.blocks: list[tuple[str, str]] = []
        self.forms: list[Form] = []
        self._open: list[_Within] = []
        self._block: list[str] = []
        self._form: Form | None = None
        self._elsewhere: list[tuple[str, Control]] = []
        self.feed(html)
        self.close()
        for name, control in self._elsewhere:
            for one in self.forms:
                if one.attributes.get("id") == name:
                    one.controls.append(control)
                    break

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # HTML knows no element that ends where it starts, but the void ones

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in reversed(attrs)}  # of two, the first counts
        if self._open and tag in _ENDED_BY.get(self._open[-1].tag, ()):
            self._open.pop()
        around = self._open[-1] if self._open else _Within()
        self.elements += 1
        within = _Within(
            tag,
            around.absent or tag in _ABSENT,
            around.hidden
            or tag in _UNREAD
            or bool(attributes.keys() & {"hidden", "inert"})
            or (tag == "dialog" and "open" not in attributes),
            around.disabled or (tag == "fieldset" and "disabled" in attributes),
        )
        if not within.absent:
            self._note(tag, attributes, within)
        if tag not in _VOID:
            self._open.append(within)
        if tag in {"style", "script"}:
            self._block = []

    def _note(self, tag: str, attributes: dict[str, str], within: _Within) -> None:
        if tag == "form" and self._form is None:
            self._form = Form(attributes, within.hidden)
            self.forms.append(self._form)
        if tag not in _CONTROLS:
            return
        control = Control(tag, attributes, within.hidden, within.disabled or "disabled" in attributes)
        if tag == "input" and control.kind != "hidden" and not within.hidden:
            self.values.append(attributes.get("value", ""))
        if "form" in attributes:
            self._elsewhere.append((attributes["form"], control))
        elif self._form is not None:
            self._form.controls.append(control)

    def handle_endtag(self, tag: str) -> None:
        for at in range(len(self._open) - 1, -1, -1):
            if self._open[at].tag == tag:
                self._end(self._open[at])
                del self._open[at:]
                break

    def _end(self, ended: _Within) -> None:
        if ended.absent:
            return
        if ended.tag in {"style", "script"}:
            self.blocks.append((ended.tag, "".join(self._block)))
        elif ended.tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        around = self._open[-1] if self._open else _Within()
        if around.tag in {"style", "script"}:
            self._block.append(data)
        elif not around.hidden:
            self.text += data
