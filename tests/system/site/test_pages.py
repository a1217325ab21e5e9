"""Every page, as a subscriber's browser shows it: brought about by commands, judged by axe, without a script, enlarged.

The screenshots in docs/screens are made here (`make screens`), and each page must have one; how its pixels fall is
nobody's business.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from edged.portal.pages import PAGES
from tests.browser.chromium import NARROW
from tests.browser.stage import DAY, MOST_PIXELS, SCREENS, Stage, check
from tests.lab.manager import from_now
from tests.lab.topology import SITE_URL, WWW4

MOST_BYTES = 30_000


CASES: dict[str, tuple[str, Callable[[Stage], object]]] = {
    "online": ("Você está conectado", lambda _: None),
    "notice": ("Um lembrete sobre a sua assinatura", lambda s: s.owe("notice")),
    "reduced": ("A sua conexão está com velocidade reduzida", lambda s: s.owe("debt_partial")),
    "debt": ("O seu acesso à internet está suspenso", lambda s: s.owe()),
    "broken": ("O seu acesso à internet está suspenso", Stage.break_promise),
    "promise": ("Você está conectado: pagamento prometido", lambda s: s.promise(DAY)),
    "documents": ("O seu acesso à internet está suspenso", lambda s: s.say("block", reason="preventive")),
    "paused": (
        "A sua assinatura está em pausa",
        lambda s: s.say("block", reason="pause", deadline=from_now(9 * DAY)[0]),
    ),
    "abuse": ("O seu acesso à internet está suspenso", lambda s: s.say("block", reason="abuse")),
    "operator": ("O seu acesso à internet está suspenso", lambda s: s.say("block", reason="operator")),
    "contact": ("O seu acesso à internet está suspenso", lambda s: s.say("block", reason="fraud")),
    "outage": (
        "Há uma falha na rede da sua região",
        lambda s: s.say("outage", id="O-1", area="outage", eta=from_now(DAY)[0]),
    ),
}
"""Page -> its heading, and what brings it about."""


def said(page: Page) -> str:
    text = " ".join(page.locator("main").inner_text().split())
    return text.replace(" Deixar esta página procurar novidades sozinha", "")


@pytest.mark.parametrize("name", CASES)
def test_every_page_is_whole(stage: Stage, page: Page, plain: Page, name: str) -> None:
    heading, bring_about = CASES[name]
    page.goto("about:blank")  # an open page would follow what happens, and go where the next one goes
    stage.become(name)
    bring_about(stage)
    answer = page.goto(SITE_URL)
    assert answer is not None
    assert len(answer.body()) < MOST_BYTES
    page.locator("h1", has_text=heading).wait_for()  # at once, unless the core took its time: then by itself
    words = said(page)
    check(page, name)
    plain.goto(SITE_URL)
    if said(plain) != words:
        plain.reload()
    assert said(plain) == words
    box = plain.locator("main").bounding_box()
    assert box is not None
    assert box["width"] <= NARROW["width"]


def test_a_promise_is_confirmed_first_and_going_back_promises_nothing(stage: Stage, page: Page) -> None:
    page.goto("about:blank")
    stage.become("confirm")
    stage.owe()
    mark = stage.lab.manager.mark
    page.goto(SITE_URL)
    page.get_by_role("link", name="Prometer o pagamento").click()
    page.get_by_role("button", name="Sim, prometo pagar").wait_for()
    check(page, "confirm")
    page.get_by_role("link", name="Não, voltar").click()
    page.wait_for_url(SITE_URL)
    page.get_by_role("link", name="Prometer o pagamento").wait_for()
    assert not [one for one in stage.lab.manager.since(mark, "event") if one.document["event"] == "trust.requested"]


def test_a_reminder_goes_when_it_was_read_and_http_works_on(stage: Stage, plain: Page, page: Page) -> None:
    page.goto("about:blank")
    stage.become("dismissed")
    stage.owe("notice")
    plain.goto(f"http://{WWW4}/")
    assert plain.url == SITE_URL
    plain.get_by_role("button", name="OK, já li").click()
    plain.wait_for_url(f"{SITE_URL}dismissed")
    plain.goto(f"http://{WWW4}/")
    assert "this is www" in plain.content()
    page.goto(f"{SITE_URL}dismissed")
    check(page, "dismissed")


def test_a_reminder_is_gone_after_three_looks_whichever_worker_counts(stage: Stage) -> None:
    lab = stage.lab
    lab.configure(EDGED_PORTAL__WORKERS="4")
    lab.stop_daemon()
    lab.start_daemon()
    try:
        stage.become("looks")
        stage.owe("notice")
        for _ in range(3):
            assert "this is www" not in lab.debtor.http(f"http://{WWW4}/").body
            # the general page of a moment in which the core has no time is no look at a reminder
            lab.wait_until(lambda: "Um lembrete" in lab.debtor.http(SITE_URL).body, "no reminder")
        lab.wait_until(lambda: "this is www" in lab.debtor.http(f"http://{WWW4}/").body, "three looks, and no http")
    finally:
        lab.configure(EDGED_PORTAL__WORKERS=None)
        lab.stop_daemon()
        lab.start_daemon()


def test_what_billing_says_of_a_page_is_on_it_at_once(stage: Stage) -> None:
    stage.become("texts")
    stage.owe()

    def shown() -> str:
        return stage.lab.debtor.http(SITE_URL, language="en").body

    # not the general page of a moment in which the core has no time
    stage.lab.wait_until(lambda: "suspended" in shown(), "no page of his own")
    ours = shown()
    fields = {"title.en": "A <note>", "text": "Um\nDois", "link": "https://loja.example.net/", "link_text.en": "Shop"}
    stage.lab.publish({"op": "page", "reason": "debt", "fields": fields})
    stage.lab.wait_until(lambda: "A &lt;note&gt;" in shown(), "no text")
    page = shown()
    assert "<p>Um</p>" in page
    assert '<a class="other" href="https://loja.example.net/">Shop</a>' in page
    stage.lab.publish({"op": "page", "reason": "debt", "fields": {}})
    stage.lab.wait_until(lambda: shown() == ours, "it does not go")


def test_without_the_core_the_page_is_a_general_one_and_comes_back_by_itself(stage: Stage, page: Page) -> None:
    page.goto("about:blank")
    stage.become("general")
    stage.owe()
    core = stage.lab.core_pid()
    os.kill(core, signal.SIGSTOP)
    try:
        page.goto(SITE_URL)
        assert page.locator("h1").inner_text() == "Informações sobre a sua conexão"
        check(page, "general")
    finally:
        os.kill(core, signal.SIGCONT)
    page.get_by_role("heading", name="O seu acesso à internet está suspenso").wait_for()


def test_every_page_has_its_picture() -> None:
    assert {file.stem for file in SCREENS.glob("*.png")} == set(PAGES) | {"confirm", "code", "pay", "link"}
    assert all(file.stat().st_size < MOST_PIXELS for file in SCREENS.glob("*.png"))
