"""Payment data as banks make it, and a million things that nearly are: BR Codes, boleto lines, bytes.

What is built here is built and read by another way than ``edged`` reads it: bit by bit, digit by digit.
``python -m tests.payments 1000000`` throws that many at the readers: none may raise anything but a sentence, no
sentence may quote what was sent, and what is let through must be whole and pay nobody who is not on the list.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from edged.domain import boleto, brcode
from edged.domain.payment import Payees, checked
from edged.domain.rejection import Rejected

KEY = "123e4567-e12b-12d1-a456-426655440000"
HOST = "pix.example.com"
OURS = Payees(pix=(KEY, HOST), boleto=("341/10912", "84/0160"))
OF_THE_MANUAL = (
    "00020126580014br.gov.bcb.pix0136123e4567-e12b-12d1-a456-4266554400005204000053039865802BR5913Fulano de Tal"
    "6008BRASILIA62070503***63041D3D"
)
"""The example of the Manual de Padrões para Iniciação do PIX."""


def crc(data: bytes) -> str:
    """CRC-16/CCITT-FALSE, bit by bit."""
    found = 0xFFFF
    for byte in data:
        found ^= byte << 8
        for _ in range(8):
            found = ((found << 1) ^ 0x1021 if found & 0x8000 else found << 1) & 0xFFFF
    return f"{found:04X}"


def field(name: str, value: str) -> str:
    return f"{name}{len(value):02}{value}"


def sealed(text: str) -> str:
    """With a checksum behind."""
    return text + "6304" + crc((text + "6304").encode())


def code(
    key: str = KEY, *, url: str = "", amount: str = "", before: str = "", behind: str = "", account: str = "26"
) -> str:
    """A BR Code; ``before`` and ``behind``: fields put in before the amount and before the checksum."""
    payee = field("25", url) if url else field("01", key)
    text = field("00", "01") + field(account, field("00", "br.gov.bcb.pix") + payee) + field("52", "0000")
    text += field("53", "986") + before + (field("54", amount) if amount else "") + field("58", "BR")
    return sealed(text + field("59", "Provedor") + field("60", "Campinas") + field("62", field("05", "***")) + behind)


def luhn(digits: str) -> str:
    """Modulus 10: every second digit from the right counts double, by its digits."""
    total = 0
    for place, digit in enumerate(digits[::-1]):
        doubled = int(digit) * 2 if place % 2 == 0 else int(digit)
        total += doubled - 9 if doubled > 9 else doubled
    return str((10 - total % 10) % 10)


def rest(digits: str) -> int:
    weights, total = [2, 3, 4, 5, 6, 7, 8, 9], 0
    for place, digit in enumerate(digits[::-1]):
        total += weights[place % 8] * int(digit)
    return total % 11


def bank(cents: int = 9990, factor: int = 1646, free: str = "1091200000000000000000001", bank: str = "341") -> str:
    """A bank's line. Factor 1646 is 30 November 2026."""
    head, tail = f"{bank}9", f"{factor:04}{cents:010}"
    digit = 11 - rest(head + tail + free)
    check = str(digit) if 1 < digit < 10 else "1"
    fields = (head + free[:5], free[5:15], free[15:])
    return "".join(f + luhn(f) for f in fields) + check + tail


def utility(cents: int = 9990, company: str = "0160", kind: str = "6", segment: str = "4") -> str:
    """A utility's line; ``kind`` is its third digit."""

    def check(digits: str) -> str:
        if kind in "67":
            return luhn(digits)
        found = rest(digits)
        return "0" if found < 2 else str(11 - found)

    head, tail = f"8{segment}{kind}", f"{cents:011}{company}".ljust(40, "7")
    whole = head + check(head + tail) + tail
    return "".join(whole[at : at + 11] + check(whole[at : at + 11]) for at in range(0, 44, 11))


VALID: tuple[Callable[[], str], ...] = (
    lambda: OF_THE_MANUAL,
    code,
    lambda: code(amount="99.90"),
    lambda: code(url=f"{HOST}/qr/v2/9d36b84fc70b478fb95c12729b90ca25"),
    lambda: code("+5511999990000"),
    lambda: code(behind=field("80", field("00", "br.gov.bcb.pix") + field("25", f"{HOST}/rec/1"))),
    bank,
    lambda: bank(0, 0),
    utility,
    lambda: utility(kind="8"),
    lambda: utility(company="9999", kind="7"),
)
_PIECES = (
    "br.gov.bcb.pix",
    "0014",
    "2658",
    "6304",
    "\0",
    "\ud800",
    "²",
    "é",
    "9" * 60,
    "00",
    "-",
    " ",
    "evil.example/x",
    "/../",
    "//",
    "%2e",
)


def mutated(draw: random.Random) -> str:
    """Something that once was in order; now and then its checksum is mended, so that what is behind it is reached."""
    text = list(draw.choice(VALID)())
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        at = draw.randrange(len(text) + 1)
        match draw.randrange(7):
            case 0:
                text[at : at + 1] = [draw.choice("0123456789")]
            case 1:
                text[at : at + 1] = [chr(draw.randrange(1, 256))]
            case 2:
                del text[at : at + draw.randrange(1, 9)]
            case 3:
                text[at:at] = draw.choice(_PIECES)
            case 4:
                other = draw.randrange(len(text) + 1)
                text[at:at] = text[other : other + draw.randrange(1, 40)]
            case 5:
                text[at : at + 2] = text[at : at + 2][::-1]
            case _:
                text[at : at + 2] = f"{draw.randrange(100):02}"
        text = text or ["0"]
    found = "".join(text)
    if draw.random() < 0.5 and found[-8:-4] == "6304" and found.isascii():
        found = found[:-4] + crc(found[:-4].encode())
    return found


def noise(draw: random.Random) -> str:
    """Bytes, or characters that the readers like."""
    if draw.random() < 0.5:
        return draw.randbytes(draw.randrange(200)).decode("latin-1")
    return "".join(draw.choice("0123456789.- ") for _ in range(draw.choice((44, 46, 47, 48, 49, 54, 58))))


def accounts(text: str) -> list[str]:
    """Every payee that a wallet could find in a code, by brute force: behind each mention of PIX, key and URL."""
    found = re.finditer(r"0014br\.gov\.bcb\.pix(01|25)([0-9][0-9])", text, flags=re.IGNORECASE)
    return [text[match.end() : match.end() + int(match[2])].lower() for match in found]


def _refusal(read: Callable[[str], object], text: str) -> str:
    """The sentence with which it is refused, empty where it is not. Anything else that is raised goes on up."""
    try:
        read(text)
    except Rejected as e:
        return f"{e.code}: {e.detail}"
    except ValueError as e:
        if type(e) is not ValueError:
            raise
        return str(e)
    return ""


def _shown(name: str, text: str) -> object:
    return checked({name: text}, OURS)


def judge(text: str) -> str:
    """What became of it, in a word. Raises AssertionError for what must not happen."""
    told = ""
    for name, read in (("pix", brcode.read), ("line", boleto.read)):
        if sentence := _refusal(read, text):
            said = sentence.replace(brcode.GUI, "")
            pieces = (text[at : at + 12] for at in range(0, len(text) - 11, 4))
            assert not any(piece in said for piece in pieces), f"{name}: {said} quotes what was sent: {text!a}"
            continue
        told = name
        if _refusal(partial(_shown, name), text):
            told = f"{name}, foreign"
            continue
        if name == "pix":
            assert text[-4:].upper() == crc(text[:-4].encode()), text
            assert accounts(text), text
            assert all(a == KEY or a.startswith(HOST + "/") for a in accounts(text)), text
            assert not any(piece in a for a in accounts(text) for piece in ("..", "/./", "//", "%")), text
        else:
            digits = re.sub(r"\D", "", text)
            good = digits.startswith("34191") if len(digits) == 47 else digits.startswith("84")
            assert good, text
    return told or "refused"


def run(count: int, seed: int) -> Counter[str]:
    """So many inputs; what became of them."""
    draw = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(count):
        text = noise(draw) if draw.random() < 0.2 else mutated(draw)
        seen[judge(text)] += 1
    return seen


def main() -> int:
    """Returns the exit status: 0 when nothing was found."""
    count, began = int(sys.argv[1]), time.monotonic()
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"seed {seed}")
    seen = run(count, seed)
    print("\n".join(f"{n:>9,} {what}" for what, n in seen.most_common()))
    print(f"{count:,} inputs in {time.monotonic() - began:.0f} s, no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
