"""A subscriber's browser, through a real gateway, with a real daemon and a real broker: blocked, promised, online."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests.browser.chromium import DESKTOP, PHONE, Chromium
from tests.lab.lab import Lab, bind
from tests.lab.manager import from_now, invoices
from tests.lab.topology import SITE_URL, WWW4

WANTED = f"http://{WWW4}/"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with Lab() as one:
        one.start_daemon()
        one.publish(bind(one.debtor.person))
        yield one


@pytest.fixture(scope="module")
def chromium(lab: Lab) -> Iterator[Chromium]:
    with Chromium(lab.network.subscriber, lab.directory) as one:
        yield one


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_from_a_blocked_address_to_the_site_that_was_wanted(lab: Lab, chromium: Chromium, viewport: dict[str, int]) -> None:
    sub = lab.debtor.person.sub
    invoice = f"F-{viewport['width']}"
    lab.publish({"op": "block", "sub": sub, "reason": "debt", "invoices": invoices(invoice)})
    with chromium.page("pt-BR", viewport) as page:
        page.goto(WANTED)
        assert page.url == SITE_URL
        page.get_by_role("heading", name="O seu acesso à internet está suspenso").wait_for()
        page.get_by_role("link", name="Prometer o pagamento e liberar o acesso").click()
        mark = lab.manager.mark
        page.get_by_role("button", name="Sim, prometo pagar").click()
        #ASKED page.get_by_role("status").filter(has_text="O seu pedido foi enviado").wait_for()
        lab.manager.wait_event(lambda event: event["event"] == "trust.requested" and event["sub"] == sub, mark)
        until, _ = from_now(3600)
        ack = lab.publish({"op": "trust", "sub": sub, "until": until, "basis": "promise"})
        page.get_by_role("heading", name="Você está conectado").wait_for()
        turned = time.monotonic()
        assert turned - ack.at < 2.0
        page.goto(WANTED)
        assert "this is www of the lab's internet" in page.content()
    lab.publish({"op": "paid", "sub": sub})
