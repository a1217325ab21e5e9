"""Views to pages: templates, ours or the provider's, in a sandbox, with the hashes that let style and script through.

Everything is read once, at the start. Of the provider's folder a file takes the place of ours of the same name; a page
may also have a template of its own (``debt.html``). Each is tried on every page and language before it is used: one
that fails is left out with a word in the log and in ``edged check-config``, and ours stands in for it, now as later.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from edged.config import Config, PortalSection
from edged.errors import ConfigError
from edged.portal import demands, look
from edged.portal.bill import Bill, qr
from edged.portal.demands import Demand
from edged.portal.languages import Language, languages
from edged.portal.pages import DEAD, PAGES, may_dismiss
from edged.portal.view import Fact, Link, View

NAMES = ("page.html", "confirm.html", "code.html", "pay.html", "page.css", "page.js")
"""Files of ours. A provider may replace all but the script, which the protocol of the site hangs on."""
MOST_BYTES, MOST_FILES = 64 * 1024, 64
MOST_STYLE = 15_000
"""Of page.css, which is in every page: with it, our fullest page is still below ``demands.MOST_PAGE``."""
KEPT = 1024
"""Pages kept drawn: about ten megabytes."""
NONCE = b"edged-nonce-is-put-here"
"""Stands in a page that is kept drawn for what each visitor's form must carry."""
TRIAL = "0-trial"
"""The nonce of the trial."""
_ROWS = (("-", "R$\u00a0trial"), ("-", "trialmonth"), ("-", "trialday"))
_BILLS = (
    Bill(_ROWS, "trialpix", "trialline", qr("trialpix")),
    Bill((), "trialpix", "", qr("trialpix")),
    Bill(_ROWS[1:], "trialpix", "", qr("trialpix")),
    Bill(_ROWS[:1], "", "trialline", Markup()),
    Bill(_ROWS, "", "", Markup()),
)
"""Of each shape that :func:`edged.portal.bill.bill` gives: a picture beside each PIX code, none without."""
_SHOWN = (("pix", "the PIX code, {{ bill.pix }}"), ("line", "the boleto line, {{ bill.line }}"))
_FORMS = {"confirm": ("/promise", ""), "code": ("/pay", "code")}
"""Special template -> where its form leads, what must be in it beside the nonce."""
_SPECIAL = (*_FORMS, "pay")
_NAMED = {f"{name}.html" for name in _SPECIAL}
_PLAIN = {**PAGES, "link": DEAD}
_ALL: dict[str, Any] = {
    "facts": (Fact("-", "-", "-", "-", counts=True), Fact("-", "-", "-")),
    "links": (Link("-", "/"), Link("-", "/", "other")),
    "note": "-", "state": "-",
}  # fmt: skip
"""All that a page may have; it is tried with and without."""

_log = logging.getLogger(__name__)


class Renderer:
    """``render`` draws. ``faults`` says what is wrong with the provider's templates. Raises ConfigError (logo)."""

    def __init__(
        self, portal: PortalSection, spoken: Mapping[str, Language], say: Callable[[str], None] = _log.error
    ) -> None:
        self._languages = spoken
        self._say = say
        self.logo = look.read_logo(portal.look.logo_file)
        self.faults: list[str] = []
        ours = {name: (resources.files("edged.portal") / "templates" / name).read_text("utf-8") for name in NAMES}
        theirs = self._read(portal.templates_dir)
        style = theirs.pop("page.css", ours["page.css"]) + look.style(portal.look.colour)
        self.style, self.script = f"\n{style}", f"\n{ours['page.js']}"
        self._shared = {
            "provider": portal.provider,
            "logo": self.logo is not None,
            # a style sheet and a script would not survive escaping, and the policy has their hashes
            "style": Markup(self.style),  # noqa: S704
            "script": Markup(self.script),  # noqa: S704
        }
        prefixed = {f"edged/{name}": text for name, text in ours.items()}
        self._ours = self._environment(ours | prefixed)
        self._theirs = self._environment(ours | prefixed | theirs) if theirs else None
        self._own = set(theirs)
        self._broken: set[tuple[str, str]] = set()
        self._tried = False
        self._try()
        self._tried = True
        self.page = lru_cache(KEPT)(self._page)
        """The bytes of a view that needs nothing beside it."""

    @property
    def policy(self) -> str:
        """The Content-Security-Policy of every page: our style, our script, this site, nothing else.

        Pictures may also stand in the page itself: the QR of a bill does.
        """
        return (
            f"default-src 'none'; style-src 'sha256-{_hash(self.style)}'; script-src 'sha256-{_hash(self.script)}'; "
            "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        )

    def render(self, template: str, view: View, **more: Any) -> bytes:
        """A page of the special template ``template`` (``confirm``, ``code``, ``pay``) with what it needs."""
        return self._draw(f"{template}.html", view, more)

    def _page(self, view: View) -> bytes:
        return self._draw(self._name(view), view, {"nonce": NONCE.decode()})

    def _name(self, view: View) -> str:
        own = f"{view.name}.html"
        return own if own in self._own else "page.html"

    def _draw(self, name: str, view: View, more: Mapping[str, Any], trial: Demand | None = None) -> bytes:
        """A page; ``trial``: what is wanted of it."""
        if self._theirs is not None and (name, view.name) not in self._broken:
            try:
                page = demands.bounded(self._fill(self._theirs, name, view, more))
                if trial is not None:
                    demands.check(page, replace(trial, blocks={"style": self.style, "script": self.script}))
            except Exception as error:  # noqa: BLE001  a template can raise anything; the visitor needs a page
                self._broken.add((name, view.name))
                self._fault(name, view.name, error)
            else:
                return page
        return self._fill(self._ours, name if name in NAMES else "page.html", view, more)

    def _fill(self, environment: jinja2.Environment, name: str, view: View, more: Mapping[str, Any]) -> bytes:
        say = self._languages[view.language].say
        return environment.get_template(name).render(view=view, _=say, **self._shared, **more).encode()

    def _fault(self, name: str, drawn: str, error: Exception) -> None:
        file = name if name in self._own else "page.html"
        where = (
            f"line {error.lineno} of {error.name or file}" if isinstance(error, jinja2.TemplateSyntaxError) else file
        )
        if file != name and drawn in _SPECIAL:
            where += f", the frame of {name}"
        # beside the trial, what is drawn here may be a bill or a code, and an exception may quote either
        hides = self._tried and name in _NAMED and not isinstance(error, demands.Lacking)
        fault = f"portal.templates_dir: {where}: {type(error).__name__ if hides else error}; ours stands in for it"
        if fault not in self.faults:
            self.faults.append(fault)
            self._say(fault)

    def _try(self) -> None:
        """Draw every page once, so that what fails fails now."""
        for language in self._languages.values():
            for name, words in _PLAIN.items():
                view = View(name, language.code, words.tone, words.title, words.paragraphs)
                full = replace(view, **_ALL)
                for one in (view, full, replace(full, refresh=15)):
                    self._try_page(one)
                    if may_dismiss(name):
                        self._try_page(replace(one, dismiss=True))
            for name in _SPECIAL:
                view = View(name, language.code, "info", name, ())
                self._try_special(name, view)
                self._try_special(name, replace(view, note="-", state="-", stays=True))
                self._try_special(name, replace(view, state="-", stays=True, refresh=15))

    def _try_page(self, view: View) -> None:
        form = "/dismiss" if view.dismiss else ""
        self._draw(self._name(view), view, {"nonce": NONCE.decode()}, Demand(form, NONCE.decode()))

    def _try_special(self, name: str, view: View) -> None:
        if name in _FORMS:
            form, field = _FORMS[name]
            self._draw(f"{name}.html", view, {"nonce": TRIAL}, Demand(form, TRIAL, field))
            return
        for bill in _BILLS:
            texts = [(said, text) for part, said in _SHOWN if (text := getattr(bill, part))]
            texts += [("each text of {{ bill.rows }} (amount, month, due date)", text) for _, text in bill.rows]
            self._draw("pay.html", view, {"bill": bill}, Demand(texts=tuple(texts)))

    def _read(self, folder: Path | None) -> dict[str, str]:
        found: dict[str, str] = {}
        for file in _files(folder, self.faults):
            try:
                most = MOST_STYLE if file.suffix == ".css" else MOST_BYTES
                if file.stat().st_size > most:
                    remedy = f"minify it; at most {most} bytes, because it is in every page"
                    raise ValueError(f"is too large: {remedy if file.suffix == '.css' else f'at most {most} bytes'}")
                found[file.name] = file.read_text("utf-8")
            except (OSError, ValueError) as error:
                self.faults.append(
                    f"portal.templates_dir: {file}: {getattr(error, 'strerror', None) or error}; left out"
                )
        for fault in self.faults:
            self._say(fault)
        return found

    @staticmethod
    def _environment(files: Mapping[str, str]) -> jinja2.Environment:
        environment = ImmutableSandboxedEnvironment(
            loader=jinja2.DictLoader(files), autoescape=True, undefined=jinja2.StrictUndefined, auto_reload=False
        )
        environment.filters.update(dial=_dial, international=_international)
        return environment


def faults(cfg: Config) -> list[str]:
    """What is wrong with the provider's own templates and logo, for ``edged check-config``."""
    portal = cfg.portal
    if portal.templates_dir is None and portal.look.logo_file is None:
        return []
    try:
        return Renderer(portal, languages(ZoneInfo(cfg.policy.timezone)), say=lambda _: None).faults
    except ConfigError as error:
        return [str(error)]


def _files(folder: Path | None, faults: list[str]) -> Iterator[Path]:
    if folder is None:
        return
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix in {".html", ".css"})
    except OSError as error:
        faults.append(f"portal.templates_dir: {folder}: {error.strerror}; our templates stand in")
        return
    if len(files) > MOST_FILES:
        faults.append(f"portal.templates_dir: {folder}: more than {MOST_FILES} files; the rest is left out")
    yield from files[:MOST_FILES]


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _dial(number: str) -> str:
    """A telephone number as ``tel:`` wants it: digits, and a plus where it began with one."""
    return ("+" if number.strip().startswith("+") else "") + re.sub(r"\D", "", number)


def _international(number: str) -> str:
    """A number as wa.me wants it: with country code, digits only. One written without plus is taken for Brazilian."""
    digits = re.sub(r"\D", "", number)
    return digits if number.strip().startswith("+") or len(digits) > 11 else "55" + digits.lstrip("0")
