"""The site over TLS: what is owed, after a proof; the API of RFC 8908; a certificate renewed under an open connection.

The daemon starts again with a certificate for it, and without one afterwards.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import sqlite3
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zxingcpp
from PIL import Image
from playwright.sync_api import Page

from edged.client.links import pay_token
from edged.envelope import OKPKey, public_text
from edged.portal.live import EVERY
from tests.browser.chromium import Chromium
from tests.browser.samples import LINE_SHOWN, PAYMENT, PIX, PIX_KEY
from tests.browser.stage import DAY, Stage, check
from tests.certificates import Authority
from tests.lab.lab import Lab
from tests.lab.manager import from_now
from tests.lab.topology import GATEWAY4, SITE_PORT, WWW4

URL = f"https://{GATEWAY4}:{SITE_PORT}/"
NAMES = f"IP:{GATEWAY4}"
SIGNER = OKPKey.generate_key("Ed25519")


@pytest.fixture(scope="module")
def authority(stage: Stage) -> Authority:
    return Authority(stage.lab.directory / "ca")


@pytest.fixture(scope="module", autouse=True)
def secure(stage: Stage, authority: Authority) -> Iterator[Lab]:
    lab = stage.lab
    folder = lab.directory / "tls"
    folder.mkdir()
    settings = {
        "EDGED_PORTAL__URL": URL,
        "EDGED_PORTAL__CERT_FILE": str(folder / "site.pem"),
        "EDGED_PORTAL__KEY_FILE": str(folder / "site.key"),
        "EDGED_SECURITY__ISSUERS": json.dumps([{"name": "erp", "key": public_text(SIGNER), "roles": ["billing"]}]),
        "EDGED_PORTAL__PAYEES__PIX": json.dumps([PIX_KEY]),
        "EDGED_PORTAL__PAYEES__BOLETO": json.dumps(["001"]),
    }
    install(authority, folder, "first")
    restart(lab, **settings)
    yield lab
    restart(lab, **dict.fromkeys(settings))


def restart(lab: Lab, **settings: str | None) -> None:
    lab.configure(**settings)
    lab.stop_daemon()
    lab.start_daemon()


def install(authority: Authority, folder: Path, name: str) -> int:
    """Put a new certificate where the portal's account can read it. Returns its serial number."""
    pair = authority.issue(name, names=NAMES)
    for file, place in zip(pair, ("site.pem", "site.key"), strict=True):
        (folder / place).write_bytes(file.read_bytes())
        (folder / place).chmod(0o644)  # in a folder of the test; the account is nobody's
    return int(ssl._ssl._test_decode_cert(str(pair[0]))["serialNumber"], 16)  # type: ignore[attr-defined]


def connect(lab: Lab, authority: Authority) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(authority.file))
    sock = lab.network.subscriber.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.bind((lab.debtor.person.v4, 0))
    sock.connect((GATEWAY4, SITE_PORT))
    return context.wrap_socket(sock, server_hostname=GATEWAY4)


def ask(sock: ssl.SSLSocket, path: str) -> tuple[http.client.HTTPResponse, bytes]:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {GATEWAY4}\r\n\r\n".encode())
    response = http.client.HTTPResponse(sock, method="GET")
    response.begin()
    return response, response.read()


def serial(sock: ssl.SSLSocket) -> int:
    found = sock.getpeercert()
    assert found is not None
    return int(str(found["serialNumber"]), 16)


def test_what_is_owed_is_seen_after_a_code_and_paid_at_once(stage: Stage, chromium: Chromium) -> None:
    stage.become("pay")
    stage.owe()
    stage.say("page", fields={**PAYMENT, "code": "K7PQ2M"})
    with chromium.page("pt-BR") as page:
        page.goto(f"http://{WWW4}/")
        assert page.url == URL
        page.get_by_role("link", name="Pagar com PIX ou boleto").click()
        page.get_by_label("Código").fill("AAAAAA")
        check(page, "code")
        page.get_by_role("button", name="Mostrar o que pagar").click()
        page.get_by_role("status").filter(has_text="Este código não está certo").wait_for()
        page.get_by_label("Código").fill("k7p-q2m")
        page.get_by_role("button", name="Mostrar o que pagar").click()
        page.get_by_role("heading", name="A sua fatura").wait_for()
        assert page.url == f"{URL}pay"
        said = page.locator("main").inner_text()
        assert "R$ 1,00" in said
        assert "novembro de 2026" in said
        assert PIX in said
        assert LINE_SHOWN in said
        assert page.locator(".qr img").count() == 1
        page.get_by_role("button", name="Copiar o código PIX").click()
        page.get_by_role("status").filter(has_text="Copiado").wait_for()
        page.reload()
        check(page, "pay")
        assert scanned(page.locator(".qr img").screenshot()) == PIX
        assert "K7PQ2M" not in page.content()
        ack = stage.lab.publish({"op": "paid", "sub": stage.sub})
        page.get_by_role("heading", name="Você está conectado").wait_for()  # by itself: nobody pays twice
        assert time.monotonic() - ack.at < EVERY
        assert page.locator(".qr img").count() == 0
        page.goto(f"{URL}pay")
        assert page.url == URL
        assert ack.statuses == ["applied"]


def test_without_javascript_a_bill_told_to_look_for_news_goes_when_it_is_paid(stage: Stage, chromium: Chromium) -> None:
    stage.become("pay-plain")
    stage.owe()
    stage.say("page", fields={**PAYMENT, "code": "K7PQ2M"})
    with chromium.page("en", java_script_enabled=False) as page:
        page.goto(f"{URL}pay")
        page.get_by_label("Code").fill("K7PQ2M")
        page.get_by_role("button", name="Show what to pay").click()
        page.get_by_role("heading", name="Your invoice").wait_for()
        assert page.locator("meta[http-equiv]").count() == 0  # its code is selected in peace
        page.get_by_role("link", name="Let this page look for news by itself").click()
        page.wait_for_url(f"{URL}pay?poll=1")
        page.get_by_role("link", name="Stop that").wait_for()
        assert scanned(page.locator(".qr img").screenshot()) == PIX
        stage.say("paid")
        page.get_by_role("heading", name="You are online").wait_for(timeout=60_000)
        assert page.url == URL
        assert page.locator(".qr img").count() == 0


@pytest.mark.parametrize("ours", [False, True], ids=["elsewhere", "without a nonce"])
def test_a_code_cannot_be_locked_by_another_sites_forms(stage: Stage, chromium: Chromium, ours: bool) -> None:
    stage.become(f"forged-{ours}")
    stage.owe()
    stage.say("page", fields={**PAYMENT, "code": "K7PQ2M"})
    with chromium.page("pt-BR") as page:
        page.goto(f"{URL}healthz" if ours else "about:blank")
        for _ in range(6):
            page.set_content(f'<form method="post" action="{URL}pay"><input name="code" value="AAAAAA"></form>')
            page.evaluate("document.forms[0].submit()")
            page.get_by_role("status").filter(has_text="aberta por muito tempo").wait_for()
        page.get_by_label("Código").fill("K7PQ2M")
        page.get_by_role("button", name="Mostrar o que pagar").click()
        page.get_by_role("heading", name="A sua fatura").wait_for()


def test_what_the_portal_gave_up_does_not_happen_later(stage: Stage, chromium: Chromium) -> None:
    """The core is held while a code and a promise are on their way to it, and comes to them when nobody waits."""
    stage.become("late")
    stage.owe()
    stage.say("page", fields={**PAYMENT, "code": "K7PQ2M"})
    mark = stage.lab.manager.mark
    with chromium.page("en") as paying, chromium.page("en", java_script_enabled=False) as asking:
        paying.goto(f"{URL}pay")
        paying.get_by_label("Code").fill("K7PQ2M")
        asking.goto(f"{URL}promise")
        core = stage.lab.core_pid()
        os.kill(core, signal.SIGSTOP)
        try:
            paying.get_by_role("button", name="Show what to pay").click()
            paying.wait_for_url(f"{URL}pay/busy")
            paying.get_by_role("heading", name="About your connection").wait_for()
            asking.get_by_role("button", name="Yes, I promise to pay").click()
            asking.get_by_role("status").filter(has_text="not known yet").wait_for()
        finally:
            os.kill(core, signal.SIGCONT)
        paying.get_by_role("link", name="Pay with PIX or boleto").click()  # the page came right by itself
        asking.goto(URL)
        asking.get_by_role("link", name="Promise the payment").wait_for()
        assert not [one for one in stage.lab.manager.since(mark, "event") if one.document["event"] == "trust.requested"]
        paying.get_by_label("Code").fill("AAAAAA")
        paying.get_by_role("button", name="Show what to pay").click()
        paying.get_by_role("status").filter(has_text="not right").wait_for()
        assert used(stage) == [0], "nobody has seen the bill"
        show(paying)
        stage.lab.stop_daemon()
        stage.lab.start_daemon()
        paying.goto(f"{URL}pay")
        show(paying)  # the ticket went with the daemon, the code is good for another one


def used(stage: Stage) -> list[int]:
    """When the code that was tried last was used, as the daemon's database has it."""
    with contextlib.closing(sqlite3.connect(f"file:{stage.lab.state_dir / 'edged.db'}?mode=ro", uri=True)) as db:
        query = "SELECT p.used FROM payment p JOIN subscriber s ON s.id = p.owner WHERE s.sub = ?"
        return [row[0] for row in db.execute(query, (stage.sub,))]


def show(page: Page) -> None:
    page.get_by_label("Code").fill("k7p-q2m")
    page.get_by_role("button", name="Show what to pay").click()
    page.get_by_role("heading", name="Your invoice").wait_for()


def test_a_bill_without_a_code_says_so_and_fraud_has_no_word_of_it(stage: Stage, authority: Authority) -> None:
    stage.become("answers")
    stage.owe()
    stage.say("page", fields=PAYMENT)

    def said(path: str) -> tuple[int, str, str]:
        with connect(stage.lab, authority) as sock:
            response, body = ask(sock, path)
        return response.status, response.headers.get("location") or "", body.decode()

    assert "Não há código para esta fatura" in said("/pay/uncoded")[2]
    assert said("/pay/ok")[:2] == (303, "/pay")
    stage.say("block", reason="fraud")
    for path in ("/pay/locked", "/pay/none", "/pay/wrong", "/pay/used", "/promise/spent", "/promise/limited"):
        assert said(path)[:2] == (303, "/")
    stage.say("unblock", reason="fraud")
    stage.say("paid")
    for path in ("/pay/locked", "/pay/wrong"):
        status, _, text = said(path)
        assert (status, "Você está conectado" in text, "<form" in text) == (200, True, False)


def scanned(picture: bytes) -> str:
    """What another program's eye reads in a QR code."""
    found = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)).convert("L"))
    return " ".join(one.text for one in found)


def test_a_signed_link_opens_the_bill_once_and_again_on_the_same_line(stage: Stage, chromium: Chromium) -> None:
    stage.become("link")
    stage.owe()
    stage.say("page", fields=PAYMENT)
    token = pay_token("erp", SIGNER, stage.sub, ["lab"])
    with chromium.page("en") as page:
        page.goto(f"{URL}pay/link?token={token}")
        page.get_by_role("heading", name="Your invoice").wait_for()
        assert page.url == f"{URL}pay"
        assert PIX in page.locator("main").inner_text()
    with chromium.page("en") as page:  # the answer may have been lost on its way to this line
        page.goto(f"{URL}pay/link?token={token}")
        page.get_by_role("heading", name="Your invoice").wait_for()
    stage.become("link-next")  # whose line it is now
    stage.owe()
    stage.say("page", fields=PAYMENT)
    with chromium.page("en") as page:
        page.goto(f"{URL}pay/link?token={token}")
        page.get_by_role("status").filter(has_text="used before").wait_for()
        assert PIX not in page.content()
        page.goto(f"{URL}pay/link?token={token[:-1]}")
        page.get_by_text("no longer good").wait_for()
        assert not page.locator("form").count()
        assert PIX not in page.content()
    with chromium.page("pt-BR") as page:
        page.goto(f"{URL}pay/link?token={token[:-1]}")
        check(page, "link")
    log = stage.lab.daemon_log(10_000)
    assert not [word for word in (token, PIX, "K7PQ2M", stage.sub, stage.lab.debtor.person.v4) if word in log]


def test_nothing_that_is_owed_is_in_a_page_without_a_proof(stage: Stage, page: Page) -> None:
    stage.become("unproven")
    stage.owe()
    stage.say("page", fields={**PAYMENT, "code": "K7PQ2M"})
    for path in ("", "pay", "pay/wrong", "promise", "state", "api"):
        page.goto(f"{URL}{path}")
        assert not [word for word in (PIX, LINE_SHOWN, "1,00", "1.00", stage.sub) if word in page.content()]


def test_the_api_of_rfc_8908_follows_what_is_in_force(stage: Stage, authority: Authority) -> None:
    stage.become("api")

    def said() -> dict[str, Any]:
        with connect(stage.lab, authority) as sock:
            response, body = ask(sock, "/api")
        assert response.status == 200
        assert response.headers["content-type"] == "application/captive+json"
        assert "no-store" in str(response.headers["cache-control"])
        return json.loads(body)  # type: ignore[no-any-return]

    assert said() == {"captive": False, "user-portal-url": URL, "can-extend-session": False}
    stage.owe()
    assert said() == {"captive": True, "user-portal-url": URL, "can-extend-session": True}
    stage.say("trust", until=from_now(DAY)[0], basis="promise")
    promised = said()
    assert promised["captive"] is False
    assert DAY - 60 < promised["seconds-remaining"] <= DAY
    stage.say("defer", kind="agreement", until=from_now(3 * DAY)[0])
    agreed = said()["seconds-remaining"]  # it is longer than the promise, and may be moved on to a day of business
    assert agreed >= 3 * DAY - 60
    stage.say("undefer")
    stage.say("paid")
    assert said() == {"captive": False, "user-portal-url": URL, "can-extend-session": False}


def test_a_certificate_is_renewed_while_connections_stay(stage: Stage, secure: Lab, authority: Authority) -> None:
    folder = secure.directory / "tls"
    daemon = secure.core_pid()  # which has the portal as a child, and tells it
    with connect(secure, authority) as old:
        before = serial(old)
        renewed = install(authority, folder, "second")

        def newest() -> int:
            with connect(secure, authority) as sock:
                return serial(sock)

        os.kill(daemon, signal.SIGHUP)
        secure.wait_until(lambda: newest() == renewed, "no new certificate")
        assert renewed != before
        assert ask(old, "/healthz")[1] == b"ok\n"
        assert serial(old) == before
    (folder / "site.pem").write_text("no certificate")
    os.kill(daemon, signal.SIGHUP)
    secure.wait_until(lambda: "the certificate in force stays" in secure.daemon_log(40), "no word of the mistake")
    assert newest() == renewed
