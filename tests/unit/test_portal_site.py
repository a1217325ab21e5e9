"""The site, asked through its ASGI interface."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import itertools
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edged.config import Provider
from edged.domain import brcode
from edged.domain.page import check_texts
from edged.domain.standing import NOBODY, Standing
from edged.errors import ConfigError
from edged.portal import parts, render, view
from edged.portal.bill import Bill, bill, qr
from edged.portal.client import Proof
from edged.portal.demands import MOST_PAGE
from edged.portal.languages import languages
from edged.portal.look import LOGO_BYTES
from edged.portal.parts import now_ms
from tests import payments as made
from tests.browser.samples import LINE_SHOWN, PAYMENT, PIX, PIX_KEY
from tests.visitor import ADDRESS, TICKET, Site, Structure, look

OWES = Standing(3, "debt", 0, can_trust=True, pays=True)
NOTICE = Standing(1, "notice", 0)
STANDINGS = [
    None, NOBODY, NOTICE, OWES, Standing(2, "debt_partial", 0), Standing(3, "operator", 0),
    Standing(3, "preventive", 0),
    Standing(3, "pause", 0), Standing(3, "abuse", 0), Standing(4, "court", 0),
    Standing(0, "debt", int(time.time() * 1000) + 3_600_000), Standing(0, "", 0, outage=True),
    replace(OWES, asked=True, broken=True),
]  # fmt: skip
MOST = {"name": 100, "phone": 40, "whatsapp": 40, "tax_id": 40, "address": 200, "customer_area": 300}
"""Characters that the configuration takes of the provider."""
LONGEST = {name: "&" * most for name, most in MOST.items()} | {"customer_area": "https://a/" + "&" * 290}
HIDDEN = '<input type="hidden" name="nonce" value="{{ nonce }}">'
BEGIN = '{% extends "edged/page.html" %}{% block said %}<form method="post" action="'
MIDDLE, END = '">', "<button>x</button></form>{% endblock %}"
ROWS = "{% for _, text in bill.rows %}<p>{{ text }}</p>{% endfor %}"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


# -- every page --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["pt-BR", "en", "es"])
async def test_every_page_is_plain_small_and_uncacheable(language: str) -> None:
    site = Site()
    for number, standing in enumerate(STANDINGS):
        site.core.standing = standing
        answer = await site.get("/any/path" if number % 2 else "/", accept_language=language)
        assert answer.status == 200
        assert site.core.told == [ADDRESS]
        site.core.told.clear()
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-language"] == language
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert int(answer.headers["content-length"]) == len(answer.body)
        assert "set-cookie" not in answer.headers
        assert len(answer.body) < 15_000
        page = Structure(answer.text)
        assert page.all("html") == [{"lang": language}]
        assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
        assert not [tag for tag in ("img", "link", "iframe") if page.all(tag)]
        assert not [
            name for _, attributes in page.elements for name in attributes if name.startswith("on") or name == "style"
        ]
        assert ADDRESS not in answer.text
    assert site.tally.count("page", 200) == len(STANDINGS)


async def test_style_and_script_pass_the_policy_and_nothing_else_does() -> None:
    answer = await Site(OWES, look=look("#c02060")).get()
    policy = answer.headers["content-security-policy"]
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        found = re.search(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_configured_text_is_escaped_and_numbers_can_be_dialled() -> None:
    text = (await Site(OWES).get()).text
    assert "<script>alert" not in text
    assert "Provedor &lt;script&gt;" in text
    assert 'href="https://cliente.example.net/?a=1&amp;b=2"' in text
    assert 'href="tel:08001234567"' in text
    assert 'href="https://wa.me/5511988887777"' in text


async def test_what_billing_wrote_is_escaped_too() -> None:
    site = Site(OWES)
    site.core.texts = {"debt": {"title": "<b>1</b>", "text": "<img src=x>", "link": 'https://a/"><script>'}}
    page = Structure((await site.get()).text)
    assert not page.all("b")
    assert not page.all("img")
    assert len(page.all("script")) == 1


@pytest.mark.parametrize(
    ("number", "international"),
    [("+55 11 98888-7777", "5511988887777"), ("+1 212 555 0100", "12125550100"), ("11 3333-4444", "551133334444")],
)
async def test_whatsapp_wants_a_country(number: str, international: str) -> None:
    assert f'href="https://wa.me/{international}"' in (await Site(OWES, provider=Provider(whatsapp=number)).get()).text


async def test_a_provider_that_says_nothing_of_itself_has_a_page_too() -> None:
    page = Structure((await Site(Standing(3, "debt", 0), provider=Provider()).get()).text)
    assert [link["href"] for link in page.all("a")] == ["/poll"]
    assert not page.all("footer")


async def test_other_methods_are_refused_and_health_asks_nobody() -> None:
    site = Site()
    assert (await site.get(method="POST")).status == 405
    answer = await site.get("/healthz")
    assert (answer.status, answer.text) == (200, "ok\n")
    assert site.core.told == []


# -- reminders ---------------------------------------------------------------------------------------------------------


async def test_a_reminder_goes_by_its_button() -> None:
    site = Site(NOTICE)
    assert {"method": "post", "action": "/dismiss"} in Structure((await site.get()).text).all("form")
    await site.get("/dismiss")  # a stray click, a prefetch: the page once more
    assert site.core.seen == []
    assert (await site.post("/dismiss", {"nonce": await nonce_of(site, "/")})).where == "/dismissed"
    assert site.core.seen == [ADDRESS]
    assert "You are online" in (await site.get("/dismissed")).text


async def test_no_page_has_a_button_that_does_nothing() -> None:
    page = Structure((await Site(NOTICE).get("/poll")).text)
    assert not page.all("form")
    assert not page.all("input")


async def test_each_look_at_a_reminder_is_told() -> None:
    site = Site(NOTICE)
    for _ in range(2):
        await site.get()
        await site.get(method="HEAD")  # shows nobody anything
        await site.get(address="100.64.0.11")
        await site.get("/favicon.ico")  # nobody reads that
        await site.get("/apple-touch-icon.png")
        await site.get(sec_purpose="prefetch")
    assert sorted(site.core.looks) == [ADDRESS, ADDRESS, "100.64.0.11", "100.64.0.11"]  # how often, the core knows
    assert site.core.seen == []


@pytest.mark.parametrize("standing", [s for s in STANDINGS if s is None or s.level != 1], ids=repr)
async def test_nothing_else_can_be_dismissed(standing: Standing | None) -> None:
    site = Site(standing)
    for _ in range(4):
        await site.get()
    nonce = await nonce_of(Site(NOTICE), "/")
    assert (await site.post("/dismiss", {"nonce": nonce})).where == "/"
    assert (await site.get("/dismissed")).where == "/"
    assert site.core.seen == site.core.looks == []


# -- promises ----------------------------------------------------------------------------------------------------------


async def confirm(site: Site) -> str:
    return await nonce_of(site, "/promise")


async def nonce_of(site: Site, path: str, host: str = "aviso.example.net") -> str:
    page = Structure((await site.get(path, host=host)).text)
    (nonce,) = [field["value"] for field in page.all("input") if field["name"] == "nonce"]
    assert nonce
    return nonce


async def test_a_promise_takes_two_steps() -> None:
    site = Site(OWES)
    nonce = await confirm(site)
    assert site.core.asked == []
    assert (await site.post("/promise", {"nonce": nonce})).where == "/"
    assert site.core.asked == [ADDRESS]


@pytest.mark.parametrize("fields", [{}, {"nonce": ""}, {"nonce": "0-0"}, {"nonce": "x" * 3000}, {"nonce": "é"}])
async def test_without_its_nonce_nothing_is_promised(fields: dict[str, str]) -> None:
    site = Site(OWES)
    assert (await site.post("/promise", fields)).where == "/promise/expired"
    assert "confirm again" in (await site.get("/promise/expired")).text
    assert site.core.asked == []


async def test_a_nonce_is_good_for_its_address_and_for_some_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(OWES)
    nonce = await confirm(site)
    await site.post("/promise", {"nonce": nonce}, address="100.64.0.11")
    now = parts.minute()
    for passed, taken in ((16, False), (-1, False), (15, True)):
        monkeypatch.setattr(parts, "minute", lambda at=now + passed: at)
        await site.post("/promise", {"nonce": nonce})
        assert bool(site.core.asked) is taken


@pytest.mark.parametrize(
    "header", [{"sec_purpose": "prefetch;prerender"}, {"purpose": "prefetch"}, {"x_moz": "prefetch"}]
)
async def test_what_is_fetched_ahead_of_time_promises_nothing(header: dict[str, str]) -> None:
    site = Site(OWES)
    nonce = await confirm(site)
    await site.post("/promise", {"nonce": nonce}, **header)
    assert site.core.asked == []


async def test_no_form_of_another_kind_or_size_promises() -> None:
    site = Site(OWES)
    body = f"nonce={await confirm(site)}".encode()
    await site.get("/promise", method="POST", body=body, content_type="text/plain")
    kind = "application/x-www-form-urlencoded"
    await site.get("/promise", method="POST", body=body + b"&x=" + b"y" * 5000, content_type=kind)
    assert site.core.asked == []


@pytest.mark.parametrize("standing", [None, NOBODY, Standing(3, "fraud", 0), replace(OWES, asked=True)], ids=repr)
async def test_who_cannot_promise_is_not_asked_to(standing: Standing | None) -> None:
    assert (await Site(standing).get("/promise")).where == "/"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("spent", "promised before"), ("limited", "a moment ago"), ("not_applicable", "does not change"),
        ("failed", "not known yet"), (None, "not known yet"),
    ],
)  # fmt: skip
async def test_a_request_in_vain_says_why(answer: str | None, said: str) -> None:
    site = Site(OWES)
    site.core.answer = answer
    where = (await site.post("/promise", {"nonce": await confirm(site)})).where
    page = await site.get(where)
    assert said in page.text
    assert "suspended" in page.text
    site.core.standing = NOBODY
    assert (await site.get(where)).where == "/"
    assert (await site.get("/promise/no-such")).where == "/"


async def test_an_answer_is_said_where_it_is_one_alone() -> None:
    """Each has an address of its own, which anybody may open at any time."""
    site = Site(OWES, tls=True)
    for standing in (Standing(3, "fraud", 0), Standing(4, "court", 0), Standing(3, "pause", 0), NOTICE, NOBODY, None):
        site.core.standing = standing
        for answer in ("spent", "limited", *([] if standing is None else ["failed"])):
            assert (await site.get(f"/promise/{answer}")).where == "/"
    assert "not known yet" in (await site.get("/promise/failed")).text
    site.core.standing = replace(OWES, asked=True)
    assert (await site.get("/promise/failed")).where == "/"  # it arrived after all, and the page says so
    assert "Your request was sent" in (await site.get("/")).text


# -- the API -----------------------------------------------------------------------------------------------------------


async def test_the_api_is_there_over_tls_alone() -> None:
    assert (await Site(OWES).get("/api")).headers["content-type"].startswith("text/html")
    site = Site(OWES, tls=True)
    answer = await site.get("/api")
    assert answer.headers["content-type"] == "application/captive+json"
    assert answer.headers["cache-control"] == "private, no-store"
    site.core.standing = None
    assert (await site.get("/api")).status == 503


@pytest.mark.parametrize(("level", "captive"), [(0, "false"), (1, "false"), (2, "false"), (3, "true"), (4, "true")])
async def test_captive_is_who_has_the_garden_alone(level: int, captive: str) -> None:
    assert f'"captive":{captive}' in (await Site(Standing(level, "debt", 0), tls=True).get("/api")).text


PROMISED = Standing(0, "debt", now_ms() + 3_600_000, next_ms=now_ms() + 3_600_000, next_level=3)


@pytest.mark.parametrize(
    ("standing", "extends"),
    [
        (OWES, True), (replace(OWES, asked=True), True), (replace(OWES, can_trust=False), True),
        (replace(OWES, pays=False), True), (replace(OWES, pays=False, asked=True), False),
        (replace(OWES, pays=False, can_trust=False), False),
        (replace(PROMISED, pays=True), True), (PROMISED, False),
        (replace(PROMISED, pays=True, next_level=2), False),  # only slower then, which is no captivity
        (Standing(3, "preventive", 0, pays=True), False), (Standing(4, "fraud", 0, pays=True), False),
        (replace(NOTICE, can_trust=True, pays=True), False), (Standing(0, "", 0, can_trust=True, pays=True), False),
        (Standing(2, "debt_partial", 0, can_trust=True, pays=True), False),
    ],
)  # fmt: skip
async def test_a_session_can_be_extended_where_one_ends_or_is_over_and_the_page_helps(
    standing: Standing, extends: bool
) -> None:
    site = Site(standing, tls=True)
    told = json.loads((await site.get("/api")).text)
    assert told["can-extend-session"] is extends
    assert not extends or told["captive"] or "seconds-remaining" in told
    text = (await site.get()).text
    assert not extends or 'href="/pay"' in text or 'href="/promise"' in text


async def test_a_session_ends_when_captivity_begins() -> None:
    later = int(time.time() * 1000) + 3_600_500
    for level, told in ((3, True), (2, False)):  # a lower speed is no captivity
        site = Site(Standing(0, "", later, next_ms=later, next_level=level), tls=True)
        assert ('"seconds-remaining":3600' in (await site.get("/api")).text) is told


# -- paying ------------------------------------------------------------------------------------------------------------


async def test_without_tls_there_is_no_pay_page() -> None:
    site = Site(OWES)
    assert "/pay" not in [link["href"] for link in Structure((await site.get()).text).all("a")]
    assert "suspended" in (await site.get("/pay", cookie=f"__Host-edged={TICKET.hex()}")).text
    assert (await site.post("/pay", {"code": "AAAAAA"})).status == 405
    assert site.core.proofs == []


async def test_a_code_becomes_a_cookie_and_the_cookie_a_bill() -> None:
    site = Site(OWES, tls=True)
    answer = await site.post("/pay", {"code": " k7p-q2m ", "nonce": await nonce_of(site, "/pay")})
    assert answer.where == "/pay"
    assert site.core.proofs == ["k7p-q2m"]
    assert answer.headers["set-cookie"] == (
        f"__Host-edged={TICKET.hex()}; Path=/; Max-Age=900; Secure; HttpOnly; SameSite=Lax"
    )
    page = await site.get("/pay", cookie=f"__Host-edged={TICKET.hex()}")
    assert {"R$ 1.00", "November 2026", PIX, LINE_SHOWN} <= set(re.findall(r">([^<>]+)<", page.text))
    assert [image["alt"] for image in Structure(page.text).all("img")] == ["QR PIX"]
    assert len(page.body) < 30_000
    assert TICKET.hex() not in page.text


def largest() -> dict[str, str]:
    """Payment data of most bytes: as many characters as are accepted, of those that HTML writes longest."""
    field = made.field
    told = field("26", field("00", "br.gov.bcb.pix") + field("01", PIX_KEY) + field("02", "&" * 37))
    told = field("00", "01") + told + field("52", "0000") + field("53", "986") + field("54", "9999999.99")
    told += field("58", "BR") + field("59", "&" * 25) + field("60", "&" * 15) + field("61", "&" * 99)
    told += field("64", "&" * 99)
    told += field("62", field("05", "&" * min(95, brcode.LONGEST - len(told) - 16)))
    return {"amount": "9999999.99", "month": "2026-12", "pix": made.sealed(told)}


async def test_the_largest_pages_that_are_accepted_stay_below_30_kb(tmp_path: Path) -> None:
    file = tmp_path / "logo.png"
    file.write_bytes(PNG + bytes(LOGO_BYTES - len(PNG)))
    provider = Provider(**LONGEST)
    site = Site(OWES, tls=True, provider=provider, look=look("#c02060", file))
    site.core.payment = largest()
    logo = await site.get("/logo")
    assert len(logo.body) == LOGO_BYTES
    for language in ("pt-BR", "en", "es"):
        bill = await site.get("/pay", cookie=f"__Host-edged={TICKET.hex()}", accept_language=language)
        assert html.escape(str(largest()["pix"])) in bill.text
        print(
            f"{language}: the largest bill has {len(bill.body)} bytes, {len(str(qr(largest()['pix'])))} of them its QR"
        )
        for page in (bill, await site.get("/pay/none", accept_language=language), await site.get("/promise")):
            assert len(page.body) + len(logo.body) < 30_000, len(page.body)
        for standing in STANDINGS:
            site.core.standing = standing
            page = await site.get(accept_language=language)
            assert len(page.body) + len(logo.body) < 30_000
        site.core.standing = OWES


def fullest() -> Iterator[dict[str, str]]:
    """Texts with which a page has most bytes: each form of them made as long as is accepted."""
    for line, fields in [
        ("&\n", {}),
        ("&", {"title": "&" * 120}),
        ("&\n", {"link": "https://" + "&" * 292}),
        ("\U0001f4b3", {"title": "\U0001f4b3" * 120, "link": "https://" + "a" * 292}),
    ]:
        for most in range(1200 // len(line), 0, -1):
            found = {**fields, "text": line * most}
            with contextlib.suppress(ValueError):
                check_texts(found)
                yield found
                break


async def test_the_largest_texts_on_the_fullest_page_stay_below_30_kb() -> None:
    provider = Provider(**LONGEST)
    later = now_ms() + 90_000_000_000
    full = Standing(
        3,
        "debt",
        0,
        since_ms=1,
        deadline_ms=later,
        next_ms=later,
        next_level=3,
        eta_ms=later,
        can_trust=True,
        outage=True,
        pays=True,
    )
    largest = 0
    for texts in fullest():
        site = Site(tls=True, provider=provider, look=look("#c02060", None))
        site.core.texts = dict.fromkeys(("debt", "notice", "preventive", "pause"), texts)
        for standing in (
            full,
            replace(full, asked=True),
            replace(full, reason="notice", level=1),
            replace(full, reason="preventive"),
            replace(full, reason="pause"),
        ):
            site.core.standing = standing
            for path, language in itertools.product(("/", "/poll", "/promise/limited"), ("pt-BR", "en", "es")):
                largest = max(largest, len((await site.get(path, accept_language=language)).body))
    print(f"the largest page with texts has {largest} bytes, {largest + LOGO_BYTES} with a logo")
    assert 25_000 < largest + LOGO_BYTES < 30_000


async def test_no_page_loads_itself_again_before_it_is_told_to() -> None:
    """WCAG 2.2.1: a code is selected, and a page read, in peace."""
    cookie = f"__Host-edged={TICKET.hex()}"
    site = Site(replace(OWES, asked=True), tls=True)
    for path in ("/", "/promise/limited", "/pay"):
        page = (await site.get(path, cookie=cookie)).text
        assert "http-equiv" not in page
        assert "every 15 seconds" not in page
        where = "/pay?poll=1" if path == "/pay" else "/poll"
        assert (
            f'<noscript><p class="small"><a href="{where}">Let this page look for news by itself</a></p></noscript>'
            in page
        )
    asked = (await site.get("/poll")).text
    assert '<meta http-equiv="refresh" content="15; url=/poll">' in asked
    site.core.standing = OWES
    for path in ("/", "/promise", "/pay", "/pay?poll=1"):  # without a bill there is a code to be typed
        assert "http-equiv" not in (await site.get(path)).text


async def test_an_open_bill_looks_for_news_when_told_to_and_until_told_not_to() -> None:
    cookie = f"__Host-edged={TICKET.hex()}"
    site = Site(OWES, tls=True)
    page = (await site.get("/pay?poll=1", cookie=cookie)).text
    assert '<meta http-equiv="refresh" content="15; url=/pay?poll=1">' in page
    assert 'every 15 seconds. <a href="/pay">Stop that</a>' in page
    assert PIX in page
    site.core.standing, site.core.payment = NOBODY, {}
    assert (await site.get("/pay?poll=1", cookie=cookie)).where == "/"


@pytest.mark.parametrize("path", ["/pay/link?token=a.b.c", "/pay/link/a.b.c"])
async def test_a_link_is_gone_from_the_address_at_once(path: str) -> None:
    site = Site(OWES, tls=True)
    for purpose in ("prefetch", "prefetch;prerender"):
        assert (await site.get(path, sec_purpose=purpose)).status == 403
    assert (await site.get(path, method="HEAD")).status == 403
    assert site.core.proofs == []
    answer = await site.get(path)
    assert answer.where == "/pay"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert site.core.proofs == ["a.b.c"]


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        (Proof("wrong", b""), "not right"), (Proof("locked", b""), "too many"), (Proof("none", b""), "nothing to pay"),
        (Proof("used", b""), "was used before"), (Proof("uncoded", b""), "No code was given"), (None, "just now"),
    ],
)  # fmt: skip
async def test_a_proof_in_vain_says_why_and_gives_nothing(proof: Proof | None, said: str) -> None:
    site = Site(OWES, tls=True)
    site.core.proof = proof
    answer = await site.post("/pay", {"code": "AAAAAA", "nonce": await nonce_of(site, "/pay")})
    assert "set-cookie" not in answer.headers
    page = await site.get(answer.where)
    assert said in page.text
    assert PIX not in page.text


@pytest.mark.parametrize("language", ["pt-BR", "en", "es"])
async def test_a_link_that_is_not_good_asks_for_a_code_only_where_there_is_one(language: str) -> None:
    site = Site(OWES, tls=True)
    said = {"pt-BR": "Este link não vale mais", "en": "no longer good", "es": "Este enlace ya no es válido"}[language]
    area = {"href": "https://cliente.example.net/?a=1&b=2", "class": "main"}
    for verdict, forms in (("stale", 1), ("dead", 0)):
        site.core.proof = Proof(verdict, b"")
        answer = await site.get("/pay/link?token=a.b.c")
        assert "set-cookie" not in answer.headers
        page = await site.get(answer.where, accept_language=language)
        assert said in page.text
        assert len(Structure(page.text).all("form")) == forms
        assert forms or area in Structure(page.text).all("a")
        assert f'data-state="{view.state(OWES)}"' in page.text
    site.core.standing = NOBODY
    assert said in (await site.get("/pay/dead", accept_language=language)).text
    assert (await Site(OWES, tls=True, provider=Provider()).get("/pay/dead")).status == 200


async def test_a_link_that_lost_its_token_is_one_that_is_not_good() -> None:
    site = Site(OWES, tls=True)
    site.core.proof = Proof("dead", b"")
    for path in ("/pay/link", "/pay/link?token=", "/pay/link?tok"):
        assert (await site.get(path)).where == "/pay/dead"


@pytest.mark.parametrize(
    "cookie", ["", "__Host-edged=00", f"__Host-edged={'0' * 32}", f"edged={TICKET.hex()}", "__Host-edged=é"]
)
async def test_no_other_cookie_opens_anything(cookie: str) -> None:
    page = await Site(OWES, tls=True).get("/pay", cookie=cookie)
    assert "Type the code" in page.text
    assert PIX not in page.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"pix": PIX[:-1] + "0"}, {"line": "00190500954014481606906809350314337370000000101"}, {"amount": "2.00"},
        {"pix": PIX.replace("426655440000", "426655440001")},
    ],
    ids=["checksum", "check digit", "amount", "payee"],
)  # fmt: skip
async def test_a_broken_or_foreign_code_is_not_drawn_though_the_core_sent_it(wrong: dict[str, str]) -> None:
    site = Site(OWES, tls=True)
    site.core.payment = {**PAYMENT, **wrong}
    page = await site.get("/pay", cookie=f"__Host-edged={TICKET.hex()}")
    assert "Type the code" in page.text
    assert not Structure(page.text).all("img")


async def test_an_open_bill_follows_what_happens_and_is_gone_after_the_payment() -> None:
    site = Site(OWES, tls=True)
    cookie = f"__Host-edged={TICKET.hex()}"
    pages = [await site.get("/pay", cookie=cookie), await site.get("/pay"), await site.get("/promise")]
    for page in pages:
        (body,) = Structure(page.text).all("body")
        assert body == {"data-state": view.state(OWES), "data-stays": "1"}
        assert "/poll" not in page.text
    assert Structure((await site.get("/pay/wrong")).text).all("body") == [{"data-state": view.state(OWES)}]
    site.core.standing, site.core.payment = NOBODY, {}
    answer = await site.get("/pay", cookie=cookie)
    assert answer.where == "/"
    assert answer.headers["set-cookie"].startswith("__Host-edged=; Path=/; Max-Age=0; ")
    assert (await site.get("/pay")).where == (await site.get("/promise")).where == "/"
    for path in ("/pay/none", "/pay/wrong", "/pay/locked"):
        text = (await site.get(path)).text
        assert "You are online" in text
        assert "nothing to pay" in text
        assert "Pay your invoice" not in text


@pytest.mark.parametrize("standing", [s for s in STANDINGS if s is None or not s.pays], ids=repr)
async def test_no_word_and_no_form_of_an_invoice_where_none_is_to_be_paid(standing: Standing | None) -> None:
    site = Site(standing, tls=True)
    about = standing and (standing.level == 0 or standing.reason.startswith(("debt", "notice")))
    for path in ("", "/none", "/wrong", "/locked", "/used", "/uncoded", "/stale", "/dead", "/busy", "/expired"):
        answer = await site.get(f"/pay{path}")
        if answer.status == 303:
            assert answer.where == "/"
            continue
        assert standing is None or (path and about)
        assert not Structure(answer.text).all("form")
        assert "nvoice" not in answer.text.partition("<h1>")[2].partition("<a ")[0]
    for path in ("/ok", "/nothing"):
        assert (await site.get(f"/pay{path}")).where == "/pay"


# -- forms of others -------------------------------------------------------------------------------------------------

FORMS = [
    ("/dismiss", "/", NOTICE, "seen"), ("/promise", "/promise", OWES, "asked"), ("/pay", "/pay", OWES, "proofs"),
]  # fmt: skip
"""Where a form is sent, the page it is on, for whom, what the core hears."""


@pytest.mark.parametrize(("form", "path", "standing", "heard"), FORMS)
@pytest.mark.parametrize(
    "forged",
    [
        {"nonce": ""}, {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"origin": "null"},
        {"origin": "https://evil.example"}, {"origin": "http://aviso.example.net"},
        {"origin": "https://aviso.example.net:8443"}, {"host": "evil.example"}, {"host": "100.64.0.2"}, {"host": ""},
        {"host": "aviso.example.net.evil.example"}, {"purpose": "prefetch"},
    ],
    ids=str,
)  # fmt: skip
async def test_a_forged_form_does_nothing(
    form: str, path: str, standing: Standing, heard: str, forged: dict[str, str]
) -> None:
    site = Site(standing, tls=True)
    fields = {"nonce": await nonce_of(site, path), "code": "AAAAAA"} | {k: v for k, v in forged.items() if k == "nonce"}
    headers = {k: v for k, v in forged.items() if k != "nonce"}
    assert (await site.post(form, fields, **headers)).status == 303
    assert getattr(site.core, heard) == []
    await site.post(form, fields | {"nonce": await nonce_of(site, path)})
    assert len(getattr(site.core, heard)) == 1


@pytest.mark.parametrize(("form", "path", "standing", "heard"), FORMS)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://aviso.example.net", "sec_fetch_site": "same-origin"}, {"host": "AVISO.example.net:443"},
        {"host": "100.64.0.1", "origin": "https://100.64.0.1"}, {"origin": "null", "sec_fetch_site": "same-origin"},
        {"host": "100.64.0.1:8081", "origin": "https://100.64.0.1:8081"},
    ],
    ids=str,
)  # fmt: skip
async def test_our_own_forms_are_taken(
    form: str, path: str, standing: Standing, heard: str, headers: dict[str, str]
) -> None:
    site = Site(standing, tls=True)
    await site.post(form, {"nonce": await nonce_of(site, path), "code": "AAAAAA"}, **headers)
    assert len(getattr(site.core, heard)) == 1


async def test_a_form_is_good_for_itself_alone() -> None:
    site = Site(NOTICE, tls=True)
    nonce = await nonce_of(site, "/")
    site.core.standing = OWES
    for form in ("/promise", "/pay"):
        await site.post(form, {"nonce": nonce, "code": "AAAAAA"})
    assert (site.core.asked, site.core.proofs) == ([], [])


async def test_a_name_that_is_not_ours_gets_no_form_and_is_led_to_ours() -> None:
    site = Site(OWES, tls=True)
    for host in ("evil.example", "evil.example:80", "", "100.64.0.2", "[::1]", "a@100.64.0.1"):
        for path in ("/promise", "/pay"):
            assert (await site.get(path, host=host)).where == f"https://aviso.example.net{path}"
        site.core.standing = NOTICE
        text = (await site.get(host=host)).text
        assert "A reminder" in text
        assert not Structure(text).all("form")
        site.core.standing = OWES


@pytest.mark.parametrize(
    ("server", "host"),
    [("::ffff:100.64.0.1", "100.64.0.1"), ("2001:db8::1", "[2001:DB8:0::1]:8081"), ("fe80::1%eth0", "[fe80::1]")],
)
async def test_an_address_is_known_in_each_spelling(server: str, host: str) -> None:
    site = Site(OWES)
    site.server = server
    assert await nonce_of(site, "/promise", host=host)


# -- the provider's look -----------------------------------------------------------------------------------------------


async def test_a_logo_takes_the_place_of_the_name(tmp_path: Path) -> None:
    file = tmp_path / "logo.png"
    file.write_bytes(PNG)
    site = Site(OWES, look=look(logo=file))
    assert Structure((await site.get()).text).all("img")[0]["src"] == "/logo"
    answer = await site.get("/logo")
    assert (answer.body, answer.headers["content-type"]) == (PNG, "image/png")


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), (PNG + bytes(20_000), "larger than"), (b"<svg/>", "is not PNG")]
)
def test_a_logo_that_cannot_be_used_is_an_error_with_a_remedy(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "logo.png"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        Site(look=look(logo=file))


async def test_templates_of_the_provider_take_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "debt.html").write_text(
        '{% extends "edged/page.html" %}{% block said %}<p>Olá: {{ view.title }}</p>{% endblock %}'
    )
    (tmp_path / "page.css").write_text("body { color: #111 }")
    site = Site(OWES, templates_dir=tmp_path)
    text = (await site.get()).text
    assert "<p>Olá: Your internet access is suspended</p>" in text
    assert "body { color: #111 }" in text
    assert "tel:08001234567" in text
    site.core.standing = NOTICE
    assert "Olá" not in (await site.get()).text


async def test_what_a_template_trips_over_is_not_in_the_log_where_it_is_a_bill(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = "{% set words = {'trialpix': 'trialpix', '': ''} %}"
    rows = "{% for _, text in bill.rows %}{{ text }}{% endfor %}"
    (tmp_path / "pay.html").write_text(f"{words}<p>{{{{ words[bill.pix] }}}}{{{{ bill.line }}}}{rows}</p>")
    site = Site(OWES, tls=True, templates_dir=tmp_path)
    assert not caplog.text
    page = await site.get("/pay", cookie=f"__Host-edged={TICKET.hex()}")
    assert PIX in page.text
    assert "pay.html: UndefinedError; ours stands in" in caplog.text
    assert PIX not in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("page.html", "<p>x</p>{% for fact in view.facts %}{{ fact.lable }}{% endfor %}", "lable"),
        ("debt.html", "<p>x</p>{% for link in view.links %}{{ link.herf }}{% endfor %}", "herf"),
        ("page.html", "<p>x</p>{% if view.note %}{{ nothere }}{% endif %}", "nothere"),
        ("page.html", "<p>x</p>{% if not view.note %}{{ nothere }}{% endif %}", "nothere"),
        ("code.html", '<form method="post" action="/pay"><input name="code">x</form>', "its form lacks <input type"),
        ("notice.html", '<form method="post" action="/dismiss"><button>x</button></form>', "it has a form to"),
        ("code.html", f'<form method="post" action="/pay">{HIDDEN}<button>x</button></form>', '<input name="code">'),
        ("confirm.html", f'<form method="post" action="/promise">{HIDDEN}x</form>', "lacks a button"),
        ("confirm.html", f'<form action="/promise">{HIDDEN}<button>x</button></form>', "by get"),
        (
            "confirm.html",
            "<p>{{ view.title }} {{ nonce }}</p>",
            'lacks the form <form method="post" action="/promise">',
        ),
        ("page.html", "<h1>{{ view.title }}</h1>", "page.html, the frame of confirm.html: it lacks the form"),
        ("page.html", "<h1>{{ view.title }}</h1>", "page.html, the frame of code.html: it lacks the form"),
        ("page.html", "<h1>{{ view.title }}</h1>", "page.html, the frame of pay.html: it does not show the PIX code"),
        (
            "page.html",
            "<h1>{{ view.title }}</h1>",
            'page.html: it lacks the form <form method="post" action="/dismiss">',
        ),
        ("notice.html", "<h1>{{ view.title }}</h1>", "notice.html: it lacks the form"),
        ("pay.html", "<p>{{ bill.pix }} {{ bill.rows }}</p>", "pay.html: it does not show the boleto line"),
        ("pay.html", "<p>{{ bill.line }} {{ bill.rows }}</p>", "pay.html: it does not show the PIX code"),
        (
            "pay.html",
            "<p>{{ bill.line }} {{ bill.pix }}</p>",
            "pay.html: it does not show each text of {{ bill.rows }}",
        ),
        (
            "pay.html",
            ROWS + "{{ bill.line }}{% if bill.qr %}{{ bill.qr }}{% elif bill.pix %}{{ bill.pix }}{% endif %}",
            "pay.html: it does not show the PIX code",
        ),
        (
            "pay.html",
            f"{ROWS}{{{{ bill.line }}}}{{{{ bill.pix }}}}{{% if bill.qr %}}{{{{ bill.qr_code }}}}{{% endif %}}",
            "no attribute 'qr_code'",
        ),
        (
            "pay.html",
            "{{ bill.line }}{{ bill.pix }}<p>{% if bill.rows %}{{ bill.rows[0][1] }}{% endif %}",
            "it does not show each text of",
        ),
        ("pay.html", "{{ bill.line }}{{ bill.pix }}<p>{{ bill.rows | map(attribute=1) | first }}", "pay.html: "),
        ("pay.html", f"{ROWS}{{{{ bill.line }}}}{{{{ bill.get('pix') }}}}", "no attribute 'get'"),
        ("debt.html", "", "debt.html: what it draws is empty"),
        ("debt.html", " \n{# nothing #}", "debt.html: what it draws is empty"),
        ("debt.html", "<script>{{ script }}</script>", "debt.html: what it draws is no page"),
        ("debt.html", "only words", "debt.html: what it draws is no page"),
        (
            "debt.html",
            f'<form method="post" action="/promise">{HIDDEN}<button>x</button></form>',
            'debt.html: it has a form to "/promise", which is not taken there',
        ),
        ("debt.html", '<p data-n="{{ nonce }}">x</p>', "debt.html: it has {{ nonce }} where no form is taken"),
        ("page.html", f"{BEGIN}/dismiss{MIDDLE}{HIDDEN}{END}", "put that of /dismiss into {% if view.dismiss %}"),
        ("debt.html", "<p>{% for n in range(301) %}" + "x" * 100 + "{% endfor %}</p>", "at most 30000 are sent"),
        ("page.css", "a" * 15_001, "minify it; at most 15000 bytes, because it is in every page"),
    ],
)
async def test_a_template_is_tried_with_all_that_a_page_may_have(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    site = Site(OWES, tls=True, templates_dir=tmp_path)
    assert said in " ".join(render.faults(site.cfg))
    cookie = f"__Host-edged={TICKET.hex()}"
    assert PIX in (await site.get("/pay", cookie=cookie)).text  # by ours, where theirs does not do
    for path in ("/promise", "/pay"):
        page = await site.get(path)
        assert Structure(page.text).all("form")
        assert (
            await site.post(path, {"nonce": await nonce_of(site, path), "code": "AAAAAA"})
        ).where != f"{path}/expired"
    assert len((await site.get()).body) in range(1, 30_001)
    site.core.standing = NOTICE
    assert (await site.post("/dismiss", {"nonce": await nonce_of(site, "/")})).status in {200, 303}
    assert site.core.seen == [ADDRESS]


BUTTON, CODE = "<button>ok</button>", '<input name="code">'


@pytest.mark.parametrize(
    ("form", "more", "said"),
    [
        (' enctype="multipart/form-data"', CODE + BUTTON, "its form has an enctype"),
        (' enctype="text/plain"', CODE + BUTTON, "its form has an enctype"),
        ("", CODE + '<button formaction="/other">ok</button>', "button has formaction"),
        ("", CODE + '<input type="submit" formmethod="get">', "button has formmethod"),
        ("", CODE + BUTTON + '<button formenctype="text/plain">ok</button>', "button has formenctype"),
        ("", CODE + "<button disabled>ok</button>", "button is disabled"),
        ("", f"{CODE}<fieldset disabled>{BUTTON}</fieldset>", "button is disabled"),
        ("", CODE + '<button type="button">ok</button>', "lacks a button"),
        ("", CODE + "<button hidden>ok</button>", "it lacks the form|lacks a button that is not hidden"),
        ("", f"{CODE}<div hidden><p>x<br>{BUTTON}</p></div>", "lacks a button that is not hidden"),
        ("", f"{CODE}<noscript>{BUTTON}</noscript>", "lacks a button"),
        ("", f"{CODE}<template>{BUTTON}</template>", "lacks a button"),
        ("", f"<noscript>{CODE}</noscript>{BUTTON}", 'lacks <input name="code">'),
        ("", f'<input name="code" disabled>{BUTTON}', 'field "code" is disabled'),
        ("", f'<input name="code" readonly>{BUTTON}', 'field "code" is readonly'),
        ("", f"<p hidden>{CODE}</p><p>{BUTTON}", 'field "code" is hidden'),
        ("", f'<input type="hidden" name="code">{BUTTON}', 'no code that is typed: it is <input type="hidden">'),
        ("", f'<input type="number" name="code">{BUTTON}', 'it is <input type="number">'),
        ("", '<button name="code">ok</button>', "it is <button>"),
        ("", f'<input name="code" maxlength="31">{BUTTON}', "has maxlength=31, but a code has up to 32"),
        ("", f'<input name="code" minlength="7">{BUTTON}', "has minlength=7, but a code may have 6"),
        (
            "",
            f"{CODE}{BUTTON}</form><style>{{{{ style }}}} p {{}}</style>",
            "its <style> is not <style>{{",
        ),
        (
            "",
            f"{CODE}{BUTTON}</form><script>{{{{ script }}}} x()</script>",
            "its <script> is not",
        ),
        ("", f"{CODE}{BUTTON}</form><style>{{{{ style | e }}}} </style>", "put your rules into page.css"),
    ],
)
async def test_a_form_that_can_never_be_taken_is_refused_by_name(
    tmp_path: Path, form: str, more: str, said: str
) -> None:
    (tmp_path / "code.html").write_text(f'<h1>minha</h1><form method="post" action="/pay"{form}>{HIDDEN}{more}</form>')
    site = Site(OWES, tls=True, templates_dir=tmp_path)
    (fault, *_) = render.faults(site.cfg)
    assert re.search("code.html: .*(" + "|".join(map(re.escape, said.split("|"))) + ")", fault), fault
    page = await site.get("/pay")
    assert "minha" not in page.text
    assert 'name="code"' in page.text


@pytest.mark.parametrize(
    "text",
    [
        f'<form id="f1" method="post" action="/pay">{HIDDEN}{CODE}</form><button form="f1">ok</button>',
        (f'<form id="f1" method="post" action="/pay" hidden>{HIDDEN}</form>'
        '<input name="code" form="f1"><input type="submit" form="f1">'),
        f'<form method="post" action="/pay"><div hidden>{HIDDEN}</div><p hidden>x<p>{CODE}{BUTTON}</form>',
        (f'<form method="post" action="/pay" enctype="application/x-www-form-urlencoded">{HIDDEN}'
        f'{CODE}{BUTTON}<button type="button" disabled hidden>x</button></form>'),
        f'<form method="post" action="/pay">{HIDDEN}<textarea name="code" maxlength="32"></textarea>{BUTTON}</form>',
        (f'<style>{{{{ style }}}}</style><template><form></form></template><form method="post" action="/pay">{HIDDEN}'
        f'<input type="text" name="code" minlength="6">{BUTTON}</form><script>{{{{ script }}}}</script>'),
    ],
)  # fmt: skip
async def test_a_form_that_can_be_taken_is_taken_however_it_is_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "code.html").write_text(f"<h1>minha</h1>{text}")
    site = Site(OWES, tls=True, templates_dir=tmp_path)
    assert render.faults(site.cfg) == []
    assert "minha" in (await site.get("/pay")).text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROWS + "{{ bill.line }}<noscript>{{ bill.pix }}</noscript>", "the PIX code"),
        (ROWS + "{{ bill.line }}<div hidden><br><b>x</b>{{ bill.pix }}</div>", "the PIX code"),
        (ROWS + "{{ bill.line }}<template><p>{{ bill.pix }}</p></template>", "the PIX code"),
        (ROWS + '{{ bill.line }}<input hidden value="{{ bill.pix }}">', "the PIX code"),
        (ROWS.replace("{{ text }}", "{{ text | replace('\u00a0', ' ') }}") + "{{ bill.line }}{{ bill.pix }}", ""),
        (
            "{{ bill.line }}{{ bill.pix }}" + ROWS.replace("{{ text }}", "{{ text.split() | join('&nbsp;' | safe) }}"),
            "",
        ),
    ],
)
def test_what_a_bill_shows_is_what_can_be_seen_whatever_its_spaces(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pay.html").write_text(f"<h1>minha</h1>{text}")
    faults = render.faults(Site(OWES, tls=True, templates_dir=tmp_path).cfg)
    assert [said in fault for fault in faults] == [True] * len(faults)
    assert bool(faults) == bool(said)


@pytest.mark.parametrize("name", ["debt", "confirm", "code", "pay", "notice", "page"])
async def test_a_template_that_does_what_its_page_is_for_is_taken(tmp_path: Path, name: str) -> None:
    """Pages that are wholly the provider's own."""

    def form(where: str, more: str = "") -> str:
        return f'<form method="post" action="{where}">{HIDDEN}<button>ok</button>{more}</form>'

    dismiss = "{% if view.dismiss %}" + form("/dismiss") + "{% endif %}"
    rows = "{% for label, text in bill.rows %}<p>{{ text }}</p>{% endfor %}"
    middle = {
        "debt": '<p>minha</p><a href="/promise">x</a>', "notice": dismiss, "confirm": form("/promise"),
        "code": form("/pay", '<input name="code">'), "page": dismiss + "{% block middle %}{% endblock %}",
        "pay": f'<textarea>{{{{ bill.pix }}}}</textarea><input value="{{{{ bill.line }}}}">{rows}',
    }  # fmt: skip
    (tmp_path / f"{name}.html").write_text(f"<body><h1>minha</h1>{middle[name]}</body>")
    site = Site(NOTICE if name == "notice" else OWES, tls=True, templates_dir=tmp_path)
    assert render.faults(site.cfg) == []
    cookie = f"__Host-edged={TICKET.hex()}" if name == "pay" else ""
    where = {"confirm": "/promise", "code": "/pay", "pay": "/pay"}.get(name, "/")
    assert "<h1>minha</h1>" in (await site.get(where, cookie=cookie)).text


def test_bills_are_tried_in_the_shapes_that_are_shown() -> None:
    """A picture exactly beside a PIX code, up to three rows."""

    def shape(one: Bill) -> tuple[object, ...]:
        return type(one.rows), bool(one.pix), type(one.qr), str(one.qr)[:26], len(one.rows) == 3

    tried = [shape(one) for one in render._BILLS]
    speaks = languages(ZoneInfo("America/Sao_Paulo"))["en"]
    payees = Site(OWES, tls=True).cfg.portal.payees.checked()
    due = {"due": "2026-11-30"}
    for names, more in ((("amount", "month", "pix"), due), (("amount", "line"), {}), (("amount", "month"), due)):
        shown = bill({name: PAYMENT[name] for name in names} | more, speaks, payees)
        assert shown is not None
        assert shape(shown) in tried
    for one in render._BILLS:
        assert len({text for _, text in one.rows}) == len(one.rows)


async def test_a_page_that_grows_too_large_over_what_it_shows_is_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "debt.html").write_text("<p>minha {{ (view.title + ' ') * 400 }}</p>")
    site = Site(OWES, templates_dir=tmp_path)
    assert "minha" in (await site.get()).text
    assert not caplog.text
    site.core.texts = {"debt": {"title": "x" * 100}}
    page = (await site.get()).text
    assert "minha" not in page
    assert "x" * 100 in page
    assert "debt.html: what it draws has 40" in caplog.text


async def test_the_fullest_pages_bear_the_largest_style(tmp_path: Path) -> None:
    """Room for 15,000 bytes: more than that is left out at an upgrade, so it is as much as there is."""
    (tmp_path / "page.css").write_text("/*" + "a" * 14_996 + "*/")
    logo = tmp_path / "logo.png"
    logo.write_bytes(PNG)
    site = Site(tls=True, provider=Provider(**LONGEST), look=look("#c02060", logo), templates_dir=tmp_path)
    assert render.faults(site.cfg) == []
    site.core.payment = largest()
    later = now_ms() + 90_000_000_000
    debt = replace(OWES, broken=True, outage=True, eta_ms=later, deadline_ms=later)
    notice = replace(debt, level=1, reason="notice", next_ms=later, next_level=3)
    fullest_page = 0
    for texts in fullest():
        site.core.texts = {"debt": texts, "notice": texts}
        for standing, language in itertools.product((debt, notice), ("pt-BR", "en", "es")):
            site.core.standing = standing
            for cookie, path in (
                ("", "/"), ("", "/promise"), ("", "/promise/failed"), (f"__Host-edged={TICKET.hex()}", "/pay")
            ):  # fmt: skip
                page = await site.get(path, cookie=cookie, accept_language=language)
                assert "a" * 14_996 in page.text or page.where
                fullest_page = max(fullest_page, len(page.body))
    print(f"the fullest page with the largest style has {fullest_page} bytes")
    assert MOST_PAGE - 1000 < fullest_page <= MOST_PAGE


@pytest.mark.parametrize(
    "broken",
    [
        "{% if %}", "{{ nothing.there }}", "{{ view.__class__.__mro__ }}", "{{ ''.__class__ }}",
        "{% include '/etc/passwd' %}",
        "{% for n in range(10000000) %}x{% endfor %}", "{{ view.title.nothing() }}", "{{ 1 / 0 }}",
    ],
)  # fmt: skip
async def test_a_broken_template_is_said_and_ours_stands_in(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "page.html").write_text(f"<p>mine</p>{broken}")
    site = Site(OWES, templates_dir=tmp_path)
    text = (await site.get()).text
    assert "suspended" in text
    assert "mine" not in text
    assert "portal.templates_dir: " in caplog.text
    assert "ours stands in" in caplog.text
    (fault, *_) = render.faults(site.cfg)
    assert fault in caplog.text
