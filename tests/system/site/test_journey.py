"""A subscriber's browser, through a real gateway, with a real daemon and a real broker: blocked, promised, online."""

from __future__ import annotations

import time

import pytest

from edged.portal.live import EVERY
from tests.browser.chromium import DESKTOP, PHONE, Chromium
from tests.browser.stage import DAY, Stage
from tests.lab.manager import Ack, from_now
from tests.lab.topology import SITE_URL, WWW4

WANTED = f"http://{WWW4}/"


def told(ack: Ack) -> None:
    """The page turned because it was told, not because it asked. -rP shows the figure."""
    seconds = time.monotonic() - ack.at
    print(f"the page turned {seconds * 1000:.0f} ms after the answer to the command")
    assert seconds < EVERY


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_from_a_blocked_address_to_the_site_that_was_wanted(
    stage: Stage, chromium: Chromium, viewport: dict[str, int]
) -> None:
    lab = stage.lab
    stage.become(f"journey-{viewport['width']}")
    stage.owe()
    with chromium.page("pt-BR", viewport) as page:
        page.goto(WANTED)
        assert page.url == SITE_URL
        page.get_by_role("heading", name="O seu acesso à internet está suspenso").wait_for()
        page.get_by_role("link", name="Prometer o pagamento e liberar o acesso").click()
        mark = lab.manager.mark
        page.get_by_role("button", name="Sim, prometo pagar").click()
        page.get_by_role("status").filter(has_text="O seu pedido foi enviado").wait_for()
        event = lab.manager.wait_event(lambda e: e["event"] == "trust.requested" and e["sub"] == stage.sub, mark)
        assert event.document["channel"] == "page"
        ack = lab.publish({"op": "trust", "sub": stage.sub, "until": from_now(DAY)[0], "basis": "promise"})
        page.get_by_role("heading", name="Você está conectado").wait_for()
        told(ack)
        page.goto(WANTED)
        assert "this is www of the lab's internet" in page.content()


def test_payment_turns_the_page_green(stage: Stage, chromium: Chromium) -> None:
    stage.become("payment")
    stage.owe()
    with chromium.page("es") as page:
        page.goto(WANTED)
        page.get_by_role("heading", name="Su acceso a internet está suspendido").wait_for()
        ack = stage.lab.publish({"op": "paid", "sub": stage.sub})
        page.get_by_role("heading", name="Usted está en línea").wait_for()
        told(ack)


def test_without_javascript_a_page_can_be_told_to_look_for_news(stage: Stage, chromium: Chromium) -> None:
    stage.become("poll")
    stage.owe()
    with chromium.page("en", java_script_enabled=False) as page:
        page.goto(SITE_URL)
        page.get_by_role("link", name="Let this page look for news by itself").click()
        page.wait_for_url(f"{SITE_URL}poll")
        assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "15; url=/poll"
        stage.say("paid")
        page.reload()  # what the line above makes the browser do by itself
        assert page.url == SITE_URL
        page.get_by_role("heading", name="You are online").wait_for()
