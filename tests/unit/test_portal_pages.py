"""Which page, in which words of which language, and what no page may say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from babel.messages import extract

import edged.portal
from edged.domain.standing import NOBODY, Standing
from edged.portal import pages, view
from edged.portal.languages import LANGUAGES, Language, choose_language, languages
from edged.portal.view import View, Way
from edged.portal.wire import REASONS

PORTAL = Path(edged.portal.__file__).parent
SPOKEN: Mapping[str, Language] = languages(ZoneInfo("America/Sao_Paulo"))
NOW = 1_795_000_000_000
HOUR = 3_600_000
WAY = Way("https://cliente.example.net/", pay=True)
NO_MONEY = ["contact", "operator", "abuse", "documents", "outage", "online", "dismissed"]


def see(standing: Standing | None, language: str = "en", way: Way = WAY, texts: view.Texts | None = None) -> View:
    return view.view(standing, SPOKEN[language], NOW, way, texts or {})


@pytest.mark.parametrize(
    ("standing", "name"),
    [
        (None, "general"),
        (NOBODY, "online"),
        (Standing(0, "", 0, outage=True), "outage"),
        (Standing(0, "debt", NOW + HOUR), "promise"),
        (Standing(0, "debt", NOW + HOUR, outage=True), "promise"),
        (Standing(1, "notice", 0), "notice"),
        (Standing(2, "debt_partial", 0), "reduced"),
        (Standing(2, "debt", 0, broken=True), "reduced"),
        (Standing(1, "operator", 0), "operator"),
        (Standing(2, "operator", 0), "operator"),
        (Standing(3, "debt", 0), "debt"),
        (Standing(3, "debt", 0, broken=True), "broken"),
        (Standing(3, "pause", 0, broken=True), "paused"),
        (Standing(3, "preventive", 0), "documents"),
        (Standing(3, "operator", 0), "operator"),
        (Standing(3, "abuse", 0), "abuse"),
        (Standing(4, "abuse", 0), "abuse"),
        (Standing(3, "fraud", 0), "contact"),
        (Standing(3, "other", 0), "contact"),
        (Standing(4, "debt", 0), "contact"),
        (Standing(4, "terminated", 0), "contact"),
        (Standing(4, "court", 0), "contact"),
    ],
)
def test_page_by_level_and_reason(standing: Standing | None, name: str) -> None:
    assert pages.page_name(standing) == name


@pytest.mark.parametrize("level", range(5))
@pytest.mark.parametrize("reason", ["", "other", *REASONS])
def test_every_standing_has_words_in_every_language(level: int, reason: str) -> None:
    for language in LANGUAGES:
        found = see(Standing(level, reason, 0), language)
        assert found.title
        assert found.paragraphs


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", pages.PAGES)
def test_no_amount_no_threat_no_discount(name: str, language: str) -> None:
    words, say = pages.PAGES[name], SPOKEN[language].say
    text = " ".join(map(say, [words.title, *words.paragraphs, words.action])).lower()
    assert not re.search(r"[\d$%]", text)
    banned = (
        "inadimpl devedor dívida protesto serasa spc judicial multa desconto moroso deuda descuento "
        "debtor default fine court discount fraud fraude".split()
    )
    assert not [word for word in banned if re.search(rf"\b{word}", text)]


@pytest.mark.parametrize("name", NO_MONEY)
def test_where_payment_changes_nothing_none_is_offered(name: str) -> None:
    assert not pages.PAGES[name].action
    assert not pages.may_pay(name)
    for language in LANGUAGES:
        text = " ".join(map(SPOKEN[language].say, pages.PAGES[name].paragraphs)).lower()
        assert not re.search(r"pag[aou]\b|pagamento|pay", text)


def test_a_milder_stage_of_what_is_no_debt_speaks_of_itself() -> None:
    for language in LANGUAGES:
        said = [see(Standing(level, "operator", 0, pays=True, can_trust=True), language) for level in (1, 2, 3)]
        assert len({one.title for one in said}) == 3
        assert [one.dismiss for one in said] == [True, False, False]
        assert not any(one.links for one in said)
        text = " ".join(" ".join(one.paragraphs) for one in said).lower()
        assert not re.search(r"pag[aou]\b|pagamento|pay", text)
    assert see(Standing(1, "operator", 0)).title == see(Standing(1, "notice", 0)).title
    assert see(Standing(2, "operator", 0)).title == see(Standing(2, "debt", 0)).title


def test_fraud_court_and_a_terminated_contract_cannot_be_told_apart() -> None:
    found = {
        replace(see(Standing(level, reason, 0, can_trust=False), language), language="", state="")
        for level, reason in [(3, "fraud"), (4, "court"), (4, "terminated")]
        for language in ["en"]
    }
    assert len(found) == 1


def sentences() -> set[str]:
    """All that the code and the templates mark for the catalogues."""
    found = extract.extract_from_dir(
        PORTAL, [("**.py", "python"), ("templates/*.html", "jinja2")], {"templates/*.html": {"silent": "false"}},
        keywords={"_": None},
    )  # fmt: skip
    return {message for _, _, message, _, _ in found if isinstance(message, str)}


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_a_catalogue_has_every_sentence_and_no_other(code: str) -> None:
    spoken = SPOKEN[code].catalogue
    wanted = sentences()
    assert len(wanted) > 70
    known = {key for key in spoken._catalog if key}  # type: ignore[attr-defined]
    assert known == wanted
    assert not [sentence for sentence in wanted if not spoken.gettext(sentence).strip()]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "pt-BR"),
        ("pt-BR,pt;q=0.9,en-US;q=0.8,en;q=0.7", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("en-US,en;q=0.9", "en"),
        ("EN", "en"),
        ("es-419,es;q=0.9", "es"),
        ("de, en;q=0.5, pt;q=0.4", "en"),
        ("en;q=0.3, pt;q=0.8", "pt-BR"),
        ("fr", "pt-BR"),
        ("*", "pt-BR"),
        ("en;q=0", "pt-BR"),
        ("en;q=banana", "pt-BR"),
        (",,;;q=,en", "en"),
        ("x" * 100_000, "pt-BR"),
    ],
)
def test_language(accepted: str, language: str) -> None:
    assert choose_language(accepted, "pt-BR") == language


def test_the_default_is_the_providers() -> None:
    assert choose_language("fr", "en") == "en"
    assert choose_language("fr, *;q=0.1", "es") == "es"


def test_moments_are_told_in_the_providers_zone() -> None:
    said = {code: one.moment(NOW) for code, one in SPOKEN.items()}  # 2026-11-18 11:06 UTC
    assert said == {
        "pt-BR": "quarta-feira, 18 de novembro, 08:06",
        "en": "Wednesday, November 18, 08:06",
        "es": "miércoles, 18 de noviembre, 08:06",
    }
    assert SPOKEN["pt-BR"].iso(NOW) == "2026-11-18T08:06-03:00"
    assert SPOKEN["pt-BR"].left(3 * HOUR) == "em 3 horas"
    assert SPOKEN["es"].money("1234.50") == "R$ 1.234,50"


def test_a_promise_is_offered_only_where_it_is_possible() -> None:
    def hrefs(standing: Standing) -> list[str]:
        return [link.href for link in see(standing).links]

    owes = Standing(3, "debt", 0, can_trust=True)
    assert "/promise" in hrefs(owes)
    assert "/promise" not in hrefs(replace(owes, can_trust=False))
    assert "/promise" not in hrefs(replace(owes, asked=True))
    assert not see(replace(owes, asked=True)).refresh
    assert "sent" in see(replace(owes, asked=True)).note
    for reason in ("fraud", "operator", "preventive"):
        assert "/promise" not in hrefs(replace(owes, reason=reason))
        assert not see(replace(owes, reason=reason, asked=True)).note
    assert not see(Standing(4, "court", 0, asked=True)).note


def test_the_first_way_out_is_payment() -> None:
    owes = Standing(3, "debt", 0, can_trust=True, pays=True)
    assert [(link.href, link.kind) for link in see(owes).links] == [
        ("/pay", "main"), (WAY.customer_area, "other"), ("/promise", "other"),
    ]  # fmt: skip
    assert [link.href for link in see(owes, way=Way("", pay=False)).links] == ["/promise"]
    for reason in ("fraud", "court", "pause", "preventive", "abuse", "operator"):
        assert "/pay" not in [link.href for link in see(Standing(3, reason, 0, pays=True)).links]


def test_moments_that_belong_to_a_page_are_on_it() -> None:
    def labels(standing: Standing) -> list[str]:
        return [fact.label for fact in see(standing).facts]

    later = NOW + 30 * HOUR
    assert labels(Standing(0, "debt", later, next_ms=later)) == ["Open until"]
    for level, reason in [(4, "fraud"), (3, "preventive"), (3, "debt"), (2, "debt_partial"), (2, "operator")]:
        closed = Standing(level, reason, later)
        assert labels(closed) == []
        assert view.state(closed) == view.state(replace(closed, until_ms=0))
    assert labels(Standing(1, "notice", later)) == ["Open until"]
    assert labels(Standing(3, "preventive", 0, deadline_ms=later)) == ["Please send them by"]
    assert labels(Standing(3, "pause", 0, deadline_ms=later)) == ["The pause ends"]
    assert labels(Standing(1, "notice", 0, next_ms=later)) == ["If nothing changes, the access pauses from"]
    assert labels(Standing(1, "notice", 0, next_ms=later, next_level=2)) == [
        "If nothing changes, the speed is reduced from"
    ]
    assert labels(Standing(1, "notice", later, next_ms=later, next_level=3)) == ["Open until"]  # said once
    assert labels(Standing(0, "debt", later, next_ms=later, next_level=2)) == ["Full speed until"]
    assert labels(Standing(3, "fraud", 0, deadline_ms=later, next_ms=later, since_ms=NOW)) == []
    (outage,) = see(Standing(0, "", 0, outage=True, eta_ms=later)).facts
    assert outage.left == "it may be extended"
    assert labels(Standing(0, "", 0, outage=True, eta_ms=NOW - HOUR)) == []  # late: no promise that is broken already


def test_the_providers_words_take_the_place_of_ours_by_language() -> None:
    texts = {
        "debt": {
            "title": "Aviso", "title.en": "Note", "text": "Um\n\nDois", "link": "https://loja.example.net/",
            "link_text": "Loja", "link_text.es": "Tienda",
        }
    }  # fmt: skip
    owes = Standing(3, "debt", 0)
    assert see(owes, "pt-BR", texts=texts).title == "Aviso"
    assert see(owes, "en", texts=texts).title == "Note"
    assert see(owes, "en", texts=texts).paragraphs == ("Um", "Dois")
    assert see(owes, "es", texts=texts).links[-1] == view.Link("Tienda", "https://loja.example.net/", "other")
    assert see(replace(owes, reason="pause"), texts=texts).title != "Note"
    assert see(replace(owes, broken=True), texts=texts).title == "Your internet access is suspended"
    assert see(replace(owes, level=2), texts=texts).title == "Your connection runs at reduced speed"
    for milder in (replace(owes, broken=True), replace(owes, level=2), replace(owes, level=1)):
        found = see(milder, texts=texts)
        assert found.paragraphs == see(milder).paragraphs  # what it says is not true there
        assert found.links[-1].label == "Loja"
    assert see(Standing(4, "abuse", 0), texts={"abuse": texts["debt"]}).title == "Note"  # it is no milder
    assert see(NOBODY, texts={"": texts["debt"]}).title == "You are online"
    plain = {"debt": {"link": "javascript:alert(1)"}}
    assert not [link for link in see(owes, texts=plain).links if link.href.startswith("javascript")]


def test_the_state_changes_when_the_page_does() -> None:
    base = Standing(3, "debt", 0)
    others = [
        NOBODY, None, replace(base, until_ms=NOW, level=0), replace(base, asked=True), replace(base, can_trust=True),
        replace(base, outage=True), replace(base, broken=True), replace(base, pays=True),
    ]  # fmt: skip
    assert len({view.state(one) for one in [base, *others]}) == len(others) + 1
    assert view.state(base) == view.state(replace(base, since_ms=NOW))
    assert view.state(Standing(4, "court", 0)) == view.state(Standing(4, "terminated", 0))  # it tells nothing more
