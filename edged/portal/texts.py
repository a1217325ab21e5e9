"""What the page says: by standing and language. Neutral: no threat, no amount, no name, nothing about the person.

The page is plain HTTP and anybody in the house may see it, so it says what is the matter with the connection and whom
to ask, and leaves the rest to the customer area (domain.md §6). A reason without words of its own asks to get in touch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edged.domain.levels import Level
from edged.domain.standing import Standing

LANGUAGES = ("pt-BR", "en")


@dataclass(frozen=True, slots=True)
class Words:
    """One page: its title, its paragraphs, and what the link to the customer area says ("" for no such link)."""

    title: str
    paragraphs: tuple[str, ...]
    action: str = ""


@dataclass(frozen=True, slots=True)
class Labels:
    """What stands on every page of a language."""

    contact: str
    phone: str
    whatsapp: str
    provider: str


LABELS = {
    "pt-BR": Labels("Fale com a gente", "Telefone", "WhatsApp", "Seu provedor de internet"),
    "en": Labels("Get in touch", "Telephone", "WhatsApp", "Your internet provider"),
}

_PAGES = {
    "pt-BR": {
        "online": Words(
            "Você está conectado",
            ("Não há nenhuma restrição no seu acesso à internet.", "Pode fechar esta página e continuar navegando."),
        ),
        "notice": Words(
            "Um lembrete sobre a sua assinatura",
            (
                "Há uma pendência na sua assinatura de internet. O seu acesso continua normal.",
                "Os detalhes estão na área do cliente. Se já foi resolvida, desconsidere este lembrete.",
            ),
            "Abrir a área do cliente",
        ),
        "reduced": Words(
            "A sua conexão está com velocidade reduzida",
            (
                "Há uma pendência na sua assinatura de internet e, por isso, a velocidade está reduzida.",
                "Assim que o pagamento for reconhecido, a velocidade volta ao normal automaticamente.",
            ),
            "Ver a fatura e pagar",
        ),
        "debt": Words(
            "O seu acesso à internet está suspenso",
            (
                "Há uma pendência na sua assinatura de internet. Os detalhes estão na área do cliente.",
                "Assim que o pagamento for reconhecido, o acesso volta automaticamente.",
                "Se você já pagou, fale com a gente.",
            ),
            "Ver a fatura e pagar",
        ),
        "contact": Words(
            "O seu acesso à internet está suspenso",
            ("Para saber mais e restabelecer o acesso, fale com a gente.",),
        ),
        "general": Words(
            "Informações sobre a sua conexão",
            (
                "Não foi possível consultar agora a situação da sua conexão. Tente de novo em alguns instantes.",
                "Se a dificuldade continuar, fale com a gente.",
            ),
            "Abrir a área do cliente",
        ),
    },
    "en": {
        "online": Words(
            "You are online",
            ("There is no restriction on your internet access.", "You can close this page and go on browsing."),
        ),
        "notice": Words(
            "A reminder about your subscription",
            (
                "There is an open matter with your internet subscription. Your access works as usual.",
                "The details are in the customer area. If it is settled already, please disregard this reminder.",
            ),
            "Open the customer area",
        ),
        "reduced": Words(
            "Your connection runs at reduced speed",
            (
                "There is an open matter with your internet subscription, so the speed is reduced.",
                "As soon as the payment is recognised, full speed returns by itself.",
            ),
            "See the invoice and pay",
        ),
        "debt": Words(
            "Your internet access is suspended",
            (
                "There is an open matter with your internet subscription. The details are in the customer area.",
                "As soon as the payment is recognised, access returns by itself.",
                "If you have paid already, please get in touch.",
            ),
            "See the invoice and pay",
        ),
        "contact": Words(
            "Your internet access is suspended",
            ("To learn more and to restore access, please get in touch.",),
        ),
        "general": Words(
            "About your connection",
            (
                "The state of your connection could not be looked up just now. Please try again in a moment.",
                "If this goes on, please get in touch.",
            ),
            "Open the customer area",
        ),
    },
}


def page_name(standing: Standing | None) -> str:
    """Which page somebody gets; None is somebody about whom the core did not answer."""
    match standing:
        case None:
            return "general"
        case Standing(level=Level.OPEN):
            return "online"
        case Standing(level=Level.NOTICE):
            return "notice"
        case Standing(level=Level.REDUCED):
            return "reduced"
        case Standing(level=Level.WALLED, reason="debt" | "debt_partial" | "notice"):
            return "debt"
        case _:
            return "contact"


def words(name: str, language: str) -> Words:
    """The words of a page; ``language`` is one of LANGUAGES."""
    return _PAGES[language][name]


_RANGE = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]{1,35})?\s*(?:;\s*[qQ]\s*=\s*([01](?:\.\d{0,3})?)\s*)?")


def choose_language(accepted: str, default: str) -> str:
    """The one of LANGUAGES that an Accept-Language header (RFC 9110 §12.5.4) likes best; ``default`` if it names none.

    Regions are not told apart: whoever reads pt-PT is better served with pt-BR than with English.
    """
    best, weight = default, 0.0
    for part in accepted[:512].split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            continue
        quality = float(found[2]) if found[2] else 1.0
        spoken = default if found[1] == "*" else {"pt": "pt-BR", "en": "en"}.get(found[1].lower())
        if spoken is not None and quality > weight:
            best, weight = spoken, quality
    return best
