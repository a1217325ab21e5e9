"""``edged why``: every word of the record has its sentence in both languages, and the first line answers the call."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged import plan
from edged.cli import why, words
from edged.domain import effect
from edged.domain.entry import Entry
from edged.domain.levels import Level
from edged.domain.model import REASONS, Deferral, Fact, Invoice, Policy, Promise, Reason, Subscriber
from edged.domain.region import Moratorium, Outage, Regions
from edged.published.words import WAITS
from edged.records import record
from tests.worlds import v4, v6

NOW = 1_795_262_400_000  # 2026-11-21T12:00:00Z, 09:00 in São Paulo
HOUR = 3_600_000
DAY = 24 * HOUR
PT, EN = words.LANGUAGES
PLAIN = Policy()
TROUBLED = Policy(
    regions=Regions(
        moratoria={"centro": Moratorium(NOW, NOW + 2 * DAY)},
        outages={"O-5": Outage("centro", NOW - HOUR, NOW + 2 * HOUR, "N-3", "noc")},
    )
)
BUSY = Subscriber(
    "C-7",
    rev=4,
    area="centro",
    reasons={
        "fraud": Reason(3, NOW - DAY, NOW - DAY, ref="P-1", issuer="seg"),
        "debt": Reason(
            3,
            NOW - 3 * DAY,
            NOW - 2 * DAY,
            (Invoice("F-1", "2026-10-01"), Invoice("F-2")),
            deadline=NOW + 58 * DAY,
            notified_at=NOW - 20 * DAY,
            ref="T-9",
            issuer="erp",
            override=True,
        ),
        "debt_partial": Reason(2, NOW, NOW + HOUR, page="slow", issuer="erp", pending=True, why="calendar"),
    },
    promise=Promise("payment_claimed", NOW, NOW + DAY, ("F-1", "F-2"), "app", "T-10", "erp"),
    deferrals={
        "hardship": Deferral(NOW, NOW + DAY, (), 2, "H-1", "erp"),
        "moratorium": Deferral(NOW, NOW + 2 * DAY, ("F-9",)),
    },
    notified=NOW + HOUR,
    level=3,
    since=NOW - DAY,
)


def busy() -> dict[str, Any]:
    truth = {v4(1): {"restricted": 0, "waived": 5_400_000}, v6(1): {"restricted": 0}}
    told = effect.entry(BUSY, NOW, TROUBLED)
    return record(BUSY, [v4(1), v6(1), v4(2)], truth, {"F-1": Fact(False, 1)}, NOW, TROUBLED, ["operator"], told)


def quiet() -> dict[str, Any]:
    return record(Subscriber("C-8"), [v4(3)], {v4(3): {}}, {}, NOW, PLAIN, told=Entry())


def breached() -> dict[str, Any]:
    sub = Subscriber("C-9", reasons={"debt": Reason(3, NOW - DAY, NOW - DAY)}, breached=True, level=3, since=NOW - DAY)
    return record(sub, [], {}, {"*": Fact(False, 1)}, NOW, Policy(timezone_of("America/Manaus")), told=Entry(3))


def timezone_of(name: str) -> Any:
    return words.Voice(EN, name).zone


GOLDEN = [
    (
        busy,
        """\
C-7: O KERNEL NÃO CONFERE COM A BASE em 100.64.0.1: defeito neste gateway; ver edged status
  BLOQUEIO NOSSO: só a página de aviso (walled), por fraude (fraud), desde 20/11/2026 09:00
  O kernel não respondeu sobre 100.64.0.2: não se sabe o que está em vigor; ver edged status
  FALHA NA REGIÃO centro: O-5, desde 21/11/2026 08:00; previsão 21/11/2026 11:00, pode ser prorrogada; protocolo N-3
  Retido pelo freio até alguém olhar (edged release-brake ou edged drop-held): bloqueio manual (operator)
  Motivos
    fraude (fraud), só a página de aviso (walled): em vigor desde 20/11/2026 09:00
      origem seg; protocolo P-1; registrado em 20/11/2026 09:00
    débito (debt), só a página de aviso (walled): levantado pela promessa, abaixo; começou em 19/11/2026 09:00
      origem erp; protocolo T-9; registrado em 18/11/2026 09:00
      faturas F-1 (vence 01/10/2026, promessas usadas: 1, não cabe outra), F-2
      avisado em 01/11/2026 09:00; prazo 18/01/2027 09:00; passa por cima de calendário, moratória e falha
    débito, parcial (debt_partial), velocidade reduzida (reduced): ainda não começou: o calendário só \
permite em 21/11/2026 10:00
      origem erp; registrado em 21/11/2026 09:00
      toda a dívida
      1024 kbit/s; página slow
  Promessa e adiamentos
    Promessa até 22/11/2026 09:00: o cliente diz que já pagou (payment_claimed); faturas F-1, F-2; canal app; \
origem erp; protocolo T-10; dada em 21/11/2026 09:00
    Promessa já usada: não cabe outra para o que ela cobriu
    Caso sensível (hardship) até 22/11/2026 09:00: no máximo velocidade reduzida (reduced); toda a dívida; origem erp; \
protocolo H-1; registrado em 21/11/2026 09:00
    Moratória (moratorium) até 23/11/2026 09:00: débito suspenso; faturas F-9; registrado em 21/11/2026 09:00
  Endereços, segundo o kernel
    100.64.0.1: restrito, só a página de aviso; liberado pela promessa por mais 1 h 30 min; NÃO CONFERE
    100.64.0.2: o kernel não respondeu
    2001:db8:0:100::/56: restrito, só a página de aviso; confere
  Região centro; moratória até 23/11/2026 09:00: nenhum bloqueio novo
  Lembrete visto: não volta antes de 21/11/2026 10:00
  Próxima mudança por si só: 21/11/2026 10:00
  Revisão 4
  Horários de America/Sao_Paulo""",
        """\
C-7: THE KERNEL DOES NOT AGREE WITH THE STORE for 100.64.0.1: a fault of this gateway's; see edged status
  RESTRICTED BY US: the notice page only (walled), because of fraud, since 2026-11-20 09:00
  The kernel did not answer for 100.64.0.2: what is in force is not known; see edged status
  OUTAGE IN THE AREA centro: O-5, since 2026-11-21 08:00; expected to end 2026-11-21 11:00, may be extended; ticket N-3
  Held by the brake until somebody looks (edged release-brake or edged drop-held): block by hand (operator)
  Reasons
    fraud, the notice page only (walled): in force since 2026-11-20 09:00
      from seg; ticket P-1; set 2026-11-20 09:00
    debt, the notice page only (walled): lifted by the promise below; began 2026-11-19 09:00
      from erp; ticket T-9; set 2026-11-18 09:00
      invoices F-1 (due 2026-10-01, promises used: 1, none left), F-2
      notified 2026-11-01 09:00; deadline 2027-01-18 09:00; in spite of calendar, moratorium and outage
    debt, partial (debt_partial), reduced speed (reduced): has not begun: the calendar allows it 2026-11-21 10:00
      from erp; set 2026-11-21 09:00
      the whole debt
      1024 kbit/s; page slow
  Promise and deferrals
    Promise until 2026-11-22 09:00: the customer says it is paid (payment_claimed); invoices F-1, F-2; by app; \
from erp; ticket T-10; given 2026-11-21 09:00
    The promise is used up: there is no other one for what it covered
    Hardship until 2026-11-22 09:00: at most reduced speed (reduced); the whole debt; from erp; ticket H-1; \
set 2026-11-21 09:00
    Moratorium until 2026-11-23 09:00: debt lifted; invoices F-9; set 2026-11-21 09:00
  Addresses, by the kernel's word
    100.64.0.1: restricted, the notice page only; waived by the promise for 1 h 30 min more; NOT AS IT SHOULD BE
    100.64.0.2: the kernel did not answer
    2001:db8:0:100::/56: restricted, the notice page only; as it should be
  Area centro; moratorium until 2026-11-23 09:00: no new debt block
  Reminder seen: it does not come back before 2026-11-21 10:00
  Next change by itself: 2026-11-21 10:00
  Revision 4
  Times of America/Sao_Paulo""",
    ),
    (
        quiet,
        """\
C-8: NÃO BLOQUEADO POR NÓS: verificar a linha ou o equipamento (CPE)
  Nenhum motivo de bloqueio
  Promessa e adiamentos
    Nenhuma promessa em vigor
  Endereços, segundo o kernel
    100.64.0.3: sem restrição; confere
  Horários de America/Sao_Paulo""",
        """\
C-8: NOT RESTRICTED BY US: look at the line or the CPE
  No reason to restrict
  Promise and deferrals
    No promise is running
  Addresses, by the kernel's word
    100.64.0.3: no restriction; as it should be
  Times of America/Sao_Paulo""",
    ),
    (
        breached,
        """\
C-9: BLOQUEIO NOSSO: só a página de aviso (walled), por débito (debt), desde 20/11/2026 08:00
  Nenhum endereço ligado a este assinante: nada é aplicado neste gateway
  Motivos
    débito (debt), só a página de aviso (walled): em vigor desde 20/11/2026 08:00
      registrado em 20/11/2026 08:00
      toda a dívida
  Promessa e adiamentos
    Nenhuma promessa em vigor
    Uma promessa venceu sem pagamento: nenhuma outra até quitar
    Promessa já usada: não cabe outra para o que ela cobriu
  Horários de America/Manaus""",
        """\
C-9: RESTRICTED BY US: the notice page only (walled), because of debt, since 2026-11-20 08:00
  No address is bound to this subscriber: nothing is enforced on this gateway
  Reasons
    debt, the notice page only (walled): in force since 2026-11-20 08:00
      set 2026-11-20 08:00
      the whole debt
  Promise and deferrals
    No promise is running
    A promise ran out unpaid: none is given until the debt is paid
    The promise is used up: there is no other one for what it covered
  Times of America/Manaus""",
    ),
]


def text(told: list[why.Line]) -> str:
    return "\n".join(line.text for line in told)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case[0].__name__)
@pytest.mark.parametrize("language", words.LANGUAGES)
def test_a_record_in_sentences(case: Any, language: str) -> None:
    made, *texts = case
    assert text(why.told(made(), language)) == texts[words.LANGUAGES.index(language)]


def one(level: int, name: str = "debt", policy: Policy = PLAIN, truth: Any = None, **more: Any) -> str:
    """The first lines, up to the reasons, of somebody with one reason (or none), in English."""
    reasons = {name: Reason(level, NOW, NOW)} if level else {}
    sub = Subscriber("C-1", area="centro", reasons=reasons, level=level, since=NOW if level else 0)
    told = effect.entry(sub, NOW, policy)
    sets = {e.role: 0 for e in plan.elements(v4(1), plan.Owned(1, told))} if truth is None else truth
    found = record(sub, [v4(1)], {v4(1): sets} if sets is not False else {}, {}, NOW, policy, told=told)
    lines = text(why.told(found | more, EN)).splitlines()
    head = [line.strip() for line in lines if not line.startswith("    ")]
    return " / ".join(head[: next(i for i, line in enumerate(head) if line in {"Reasons", "No reason to restrict"})])


OUTAGE = (
    "OUTAGE IN THE AREA centro: O-5, since 2026-11-21 08:00; expected to end 2026-11-21 11:00, may be extended;"
    " ticket N-3"
)
FAULT = "THE KERNEL DOES NOT AGREE WITH THE STORE for 100.64.0.1: a fault of this gateway's; see"


@pytest.mark.parametrize(
    ("made", "first"),
    [
        (one(0), "C-1: NOT RESTRICTED BY US: look at the line or the CPE"),
        (one(0, policy=TROUBLED), f"C-1: NOT RESTRICTED BY US / {OUTAGE}"),
        (one(0, truth={"restricted": 0}), f"C-1: {FAULT} edged status / NOT RESTRICTED BY US"),
        (
            one(0, truth=False),
            "C-1: NOT RESTRICTED BY US / The kernel did not answer for 100.64.0.1: what is in force is not known; see",
        ),
        (
            one(1, "notice"),
            "C-1: NOT RESTRICTED BY US, it browses; a reminder is shown, because of invoice reminder (notice), since",
        ),
        (
            one(2, "debt_partial"),
            "C-1: RESTRICTED BY US: reduced speed (reduced), because of debt, partial (debt_partial)",
        ),
        (one(3, policy=TROUBLED), "C-1: RESTRICTED BY US: the notice page only (walled), because of debt, since"),
        (one(3, policy=TROUBLED), OUTAGE),
        (one(4, "court"), "C-1: RESTRICTED BY US: cut off (blocked), because of court order (court)"),
        (
            one(3, held=["debt"]),
            "Held by the brake until somebody looks (edged release-brake or edged drop-held): debt",
        ),
        (one(3, addresses=[]), "No address is bound to this subscriber: nothing is enforced on this gateway"),
    ],
)
def test_the_first_line_answers_block_outage_or_fault(made: str, first: str) -> None:
    assert first in made
    assert made.startswith("C-1: ")


@pytest.mark.parametrize("wait", WAITS)
def test_what_a_reason_waits_for_is_said_and_until_when(wait: str) -> None:
    sub = Subscriber("C-1", reasons={"debt": Reason(3, NOW, NOW + HOUR, pending=True, why=wait)})
    for language, when in ((PT, "21/11/2026 10:00"), (EN, "2026-11-21 10:00")):
        said = text(why.told(record(sub, [], {}, {}, NOW, PLAIN), language))
        assert words.WAITS[wait][words.LANGUAGES.index(language)].format(onset=when) in said


def test_an_eased_and_a_deferred_debt() -> None:
    sub = Subscriber(
        "C-1", reasons={"debt": Reason(3, NOW, NOW)}, deferrals={"agreement": Deferral(NOW, NOW + DAY, up_to=2)}
    )
    assert "eased by what is below; began 2026-11-21 09:00" in text(why.told(record(sub, [], {}, {}, NOW, PLAIN), EN))
    sub = Subscriber("C-1", reasons=sub.reasons, deferrals={"dispute": Deferral(NOW, NOW + DAY)})
    said = text(why.told(record(sub, [], {}, {}, NOW, PLAIN), EN))
    assert "deferred, see below" in said
    assert "Dispute until 2026-11-22 09:00: debt lifted; the whole debt" in said


def test_the_tables_know_every_word_of_the_contract() -> None:
    assert list(words.LEVELS) == [level.word for level in Level]
    assert list(words.REASONS) == list(REASONS)
    assert words.WAITS.keys() == WAITS.keys()
    assert set(words.ROLES) == set(plan.ROLES)
    assert words.KINDS.keys() == {"agreement", "dispute", "hardship", "moratorium", "onset"}
    assert words.STATES.keys() == {"in_force", "pending", "waived", "deferred", "eased"}
    assert words.BASES.keys() == {"promise", "payment_claimed"}


def test_both_languages_say_the_same_values() -> None:
    tables = (words.SAID, words.LEVELS, words.REASONS, words.STATES, words.WAITS, words.BASES, words.KINDS, words.ROLES)
    for name, said in ((name, said) for table in tables for name, said in table.items()):
        here, there = (set(re.findall(r"{\w+}", x)) for x in said)
        assert here == there, name


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, EN),
        ({"LANG": "pt_BR.UTF-8"}, PT),
        ({"LANG": "pt_BR.UTF-8", "LC_ALL": "C"}, EN),
        ({"LANG": "C", "LC_MESSAGES": "pt_PT"}, PT),
        ({"LC_ALL": "", "LANG": "pt_BR"}, PT),
        ({"LANG": "de_DE.UTF-8"}, EN),
    ],
)
def test_the_language_is_that_of_the_terminal(environ: dict[str, str], language: str) -> None:
    assert words.spoken(environ) == language


TEXTS = (
    "", "a\x1b[2J", "\u202e", "debt", "2026-11-21", "2026-11-21T12:00:00Z", "2026-11-21T12:00:00",
    "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(TEXTS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted({*why._TOLD, *why._REASON, "running", "kernel", "sets", "until", "x"})), inner
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(why._TOLD), JSON), st.sampled_from(words.LANGUAGES))
def test_an_older_or_newer_daemon_still_shows(found: dict[str, Any], language: str) -> None:
    lines = why.told(found, language)
    assert all(line.text.isprintable() for line in lines)


def test_what_is_unknown_is_shown_and_what_is_missing_is_not_invented() -> None:
    assert [line.text for line in why.told({"sub": "C-1\x1b[2J"}, EN)] == ["C-1\ufffd[2J: ?", "  Times of UTC"]
    newer = {
        "sub": "C-1",
        "level": "open",
        "later": {"new": 1},
        "reasons": [{"reason": "whim", "level": "x", "odd": 2}],
    }
    said = text(why.told(newer, EN))
    assert "whim, x: -" in said
    assert "odd 2" in said
    assert "later new 1" in said
    assert "promise" not in said.lower()
