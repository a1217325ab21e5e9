"""What ``edged why`` says: each sentence and each name in Portuguese and English, (pt-BR, en), and how it is said."""

from __future__ import annotations

import contextlib
import datetime as dt
import zoneinfo
from collections.abc import Mapping
from typing import Any

from edged.cli.screens import plain

LANGUAGES = ("pt-BR", "en")
Both = tuple[str, str]


def spoken(environ: Mapping[str, str]) -> str:
    """The language of whoever is at the terminal, by LC_ALL, LC_MESSAGES or LANG; English where it is none of ours."""
    found = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return "pt-BR" if found.lower().startswith("pt") else "en"


LEVELS: dict[str, Both] = {
    "open": ("sem restrição", "no restriction"),
    "notice": ("só um lembrete", "a reminder only"),
    "reduced": ("velocidade reduzida", "reduced speed"),
    "walled": ("só a página de aviso", "the notice page only"),
    "blocked": ("cortado", "cut off"),
}
REASONS: dict[str, Both] = {
    "court": ("ordem judicial", "court order"),
    "terminated": ("contrato encerrado", "contract terminated"),
    "fraud": ("fraude", "fraud"),
    "abuse": ("abuso", "abuse"),
    "preventive": ("bloqueio preventivo", "preventive block"),
    "operator": ("bloqueio manual", "block by hand"),
    "pause": ("suspensão a pedido", "pause at the customer's wish"),
    "debt": ("débito", "debt"),
    "debt_partial": ("débito, parcial", "debt, partial"),
    "notice": ("lembrete de fatura", "invoice reminder"),
}
STATES: dict[str, Both] = {
    "in_force": ("em vigor desde {onset}", "in force since {onset}"),
    "waived": ("levantado pela promessa, abaixo; começou em {onset}", "lifted by the promise below; began {onset}"),
    "deferred": ("adiado, ver abaixo; começou em {onset}", "deferred, see below; began {onset}"),
    "eased": ("abrandado por adiamento, ver abaixo; começou em {onset}", "eased by what is below; began {onset}"),
    "pending": ("ainda não começou", "has not begun"),
}
WAITS: dict[str, Both] = {
    "not_before": ("a cobrança pediu início em {onset}", "billing asked for {onset}"),
    "notice_days": ("o prazo do aviso corre até {onset}", "the notice period runs until {onset}"),
    "moratorium": ("moratória na região até {onset}", "moratorium in the area until {onset}"),
    "outage": ("falha na região, reavaliado em {onset}", "outage in the area, looked at again {onset}"),
    "calendar": ("o calendário só permite em {onset}", "the calendar allows it {onset}"),
    "clock": (
        "o relógio deste gateway não é confiável (edged status), reavaliado em {onset}",
        "this gateway's clock is not to be trusted (edged status), looked at again {onset}",
    ),
}
PARTS: dict[str, Both] = {
    "invoice": ("a fatura {invoice} ainda não conta", "invoice {invoice} does not count yet"),
    "rest": ("o restante da dívida ainda não conta", "the rest of the debt does not count yet"),
    "level": ("{level} ainda não vale", "{level} does not count yet"),
}
BASES: dict[str, Both] = {
    "promise": ("o cliente promete pagar", "the customer will pay"),
    "payment_claimed": ("o cliente diz que já pagou", "the customer says it is paid"),
}
KINDS: dict[str, Both] = {
    "agreement": ("Acordo", "Agreement"),
    "dispute": ("Contestação", "Dispute"),
    "hardship": ("Caso sensível", "Hardship"),
    "moratorium": ("Moratória", "Moratorium"),
    "onset": ("Aguarda data permitida", "Waits for a permitted moment"),
}
ROLES: dict[str, Both] = {
    "restricted": ("restrito", "restricted"),
    "blocked": ("cortado", "cut off"),
    "reduced": ("velocidade reduzida", "reduced speed"),
    "reduced_up": ("limite de envio", "upload limit"),
    "reduced_down": ("limite de recepção", "download limit"),
    "notice": ("lembrete", "reminder"),
    "waived": ("liberado pela promessa", "waived by the promise"),
    "waived_notice": ("na promessa, só o lembrete", "reminder only during the promise"),
    "waived_reduced": ("na promessa, velocidade reduzida", "reduced speed during the promise"),
    "notified": ("lembrete já visto", "reminder seen"),
}

SAID: dict[str, Both] = {
    # the answer
    "restricted": ("BLOQUEIO NOSSO: {level}, por {reason}", "RESTRICTED BY US: {level}, because of {reason}"),
    "reminded": (
        "NÃO BLOQUEADO POR NÓS, navega; recebe um lembrete, por {reason}",
        "NOT RESTRICTED BY US, it browses; a reminder is shown, because of {reason}",
    ),
    "open": ("NÃO BLOQUEADO POR NÓS", "NOT RESTRICTED BY US"),
    "since": (", desde {since}", ", since {since}"),
    "look": (": verificar a linha ou o equipamento (CPE)", ": look at the line or the CPE"),
    "outage": ("FALHA NA REGIÃO {area}: {id}, desde {since}", "OUTAGE IN THE AREA {area}: {id}, since {since}"),
    "eta": ("; previsão {eta}, pode ser prorrogada", "; expected to end {eta}, may be extended"),
    "no_eta": ("; sem previsão", "; nobody knows until when"),
    "disagrees": (
        "O KERNEL NÃO CONFERE COM A BASE em {addresses}: defeito neste gateway; ver edged status",
        "THE KERNEL DOES NOT AGREE WITH THE STORE for {addresses}: a fault of this gateway's; see edged status",
    ),
    "silent": (
        "O kernel não respondeu sobre {addresses}: não se sabe o que está em vigor; ver edged status",
        "The kernel did not answer for {addresses}: what is in force is not known; see edged status",
    ),
    "unbound": (
        "Nenhum endereço ligado a este assinante: nada é aplicado neste gateway",
        "No address is bound to this subscriber: nothing is enforced on this gateway",
    ),
    "held": (
        "Retido pelo freio até alguém olhar (edged release-brake ou edged drop-held): {reasons}",
        "Held by the brake until somebody looks (edged release-brake or edged drop-held): {reasons}",
    ),
    # reasons
    "reasons": ("Motivos", "Reasons"),
    "no_reasons": ("Nenhum motivo de bloqueio", "No reason to restrict"),
    "issuer": ("origem {issuer}", "from {issuer}"),
    "ref": ("protocolo {ref}", "ticket {ref}"),
    "set": ("registrado em {since}", "set {since}"),
    "invoices": ("faturas {invoices}", "invoices {invoices}"),
    "whole": ("toda a dívida", "the whole debt"),
    "due": ("vence {due}", "due {due}"),
    "promised": ("promessas usadas: {n}", "promises used: {n}"),
    "promised_out": ("promessas usadas: {n}, não cabe outra", "promises used: {n}, none left"),
    "notified_at": ("avisado em {at}", "notified {at}"),
    "deadline": ("prazo {at}", "deadline {at}"),
    "page": ("página {page}", "page {page}"),
    "rate": ("{rate} kbit/s", "{rate} kbit/s"),
    "overridden": (
        "passa por cima de calendário, moratória e falha",
        "in spite of calendar, moratorium and outage",
    ),
    # waivers
    "waivers": ("Promessa e adiamentos", "Promise and deferrals"),
    "promise": ("Promessa até {until}: {basis}", "Promise until {until}: {basis}"),
    "kept": ("já cumprida, não pode mais ser quebrada", "kept already, it cannot be broken any more"),
    "no_promise": ("Nenhuma promessa em vigor", "No promise is running"),
    "spent": (
        "Promessa já usada: não cabe outra para o que ela cobriu",
        "The promise is used up: there is no other one for what it covered",
    ),
    "breached": (
        "Uma promessa venceu sem pagamento: nenhuma outra até quitar",
        "A promise ran out unpaid: none is given until the debt is paid",
    ),
    "quota": ("Promessas em 30 dias: {n} de {most}", "Promises in 30 days: {n} of {most}"),
    "channel": ("canal {channel}", "by {channel}"),
    "given": ("dada em {since}", "given {since}"),
    "deferral": ("{kind} até {until}: {effect}", "{kind} until {until}: {effect}"),
    "lifts": ("débito suspenso", "debt lifted"),
    "caps": ("no máximo {level}", "at most {level}"),
    # area, kernel, the rest
    "area": ("Região {area}", "Area {area}"),
    "no_area": ("sem nome", "without a name"),
    "moratorium": ("moratória até {until}: nenhum bloqueio novo", "moratorium until {until}: no new debt block"),
    "addresses": ("Endereços, segundo o kernel", "Addresses, by the kernel's word"),
    "agrees": ("confere", "as it should be"),
    "differs": ("NÃO CONFERE", "NOT AS IT SHOULD BE"),
    "changing": ("em alteração agora", "being changed right now"),
    "xdp": ("em XDP: {level}", "in XDP: {level}"),
    "no_answer": ("o kernel não respondeu", "the kernel did not answer"),
    "only_page": ("só a página de aviso", "the notice page only"),
    "left": ("por mais {left}", "for {left} more"),
    "shown": ("Página vista pela última vez: {at}", "A page was last looked at: {at}"),
    "seen": ("Lembrete visto: não volta antes de {at}", "Reminder seen: it does not come back before {at}"),
    "next": ("Próxima mudança por si só: {at}", "Next change by itself: {at}"),
    "rev": ("Revisão {rev}", "Revision {rev}"),
    "zone": ("Horários de {zone}", "Times of {zone}"),
}


class Voice:
    """Says sentences, names and moments in one of :data:`LANGUAGES`; moments by the clocks of ``zone``, or of UTC."""

    def __init__(self, language: str, zone: str) -> None:
        self._language = LANGUAGES.index(language)
        self._day = ("%d/%m/%Y", "%Y-%m-%d")[self._language]
        self.zone: dt.tzinfo = dt.UTC
        with contextlib.suppress(zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            self.zone = zoneinfo.ZoneInfo(zone)

    def say(self, sentence: str, **values: Any) -> str:
        """One of :data:`SAID` with its values in place."""
        return SAID[sentence][self._language].format(**values)

    def name(self, table: Mapping[str, Both], word: Any, *, coded: bool = False) -> str:
        """A word of the record as people say it; ``coded``: with the word itself behind it, to look it up."""
        if not isinstance(word, str) or word not in table:
            return plain(word)
        said = table[word][self._language]
        return f"{said} ({word})" if coded and said.casefold() != word else said

    def moment(self, value: Any) -> str:
        """A moment (RFC 3339) or a date as people write it; anything else as it came."""
        text = plain(value)
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            return text
        if len(text) <= len("2026-11-21"):
            return moment.strftime(self._day)
        if moment.tzinfo is None:
            return text
        with contextlib.suppress(OverflowError):
            moment = moment.astimezone(self.zone)
        return moment.strftime(f"{self._day} %H:%M")
