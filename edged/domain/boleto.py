"""The typed line of a boleto, *linha digitável* (FEBRABAN; Carta-Circular BCB 2926; Layout de Arrecadação v5). Pure.

Laws:

1. 47 digits are a bank's boleto: three fields with a check digit each (modulus 10), the check digit of the bar code
   (modulus 11), a due factor, an amount. 48 digits that begin with 8 are a utility's (*arrecadação*): four blocks of
   eleven with a check digit each, by modulus 10 or 11 as the third digit says, and one over all.
2. The due factor counts days from 7 October 1997; behind 9999 (21 February 2025) it went on at 1000.
3. An amount or a due factor of nothing leaves it open.
4. The payee of a bank's boleto is the bank and what it keeps in the free field; of a utility's, segment and company.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import NamedTuple

_LAID_OUT = re.compile(r"[ .-]")
_BASE = dt.date(1997, 10, 7)
_FIRST, _LAST = 1000, 9999
_REAL = "9"
_MODULUS_10 = frozenset("67")
_VALUES = frozenset("68")
"""Third digit of a utility's: the amount is in reais; else it is a quantity of something."""


class Line(NamedTuple):
    """``digits``: the line without dots and spaces; ``payee``: ``341/…`` or ``84/…`` (law 4); None: left open."""

    digits: str
    payee: str
    cents: int | None
    factor: int | None


def read(text: str) -> Line:
    """What a line says. Raises ValueError with a sentence that names the fault, never a value."""
    digits = _LAID_OUT.sub("", text)
    if not digits.isascii() or not digits.isdigit() or len(digits) not in {47, 48}:
        raise ValueError(
            "47 digits, or 48 of a utility's that begin with 8; dots, spaces and hyphens may stand between"
        )
    if len(digits) == 47:
        return _bank(digits)
    if digits[0] != "8":
        raise ValueError("48 digits are a utility's, and that begins with 8")
    return _utility(digits)


def factor(due: dt.date) -> int:
    """The due factor of a day (law 2)."""
    days = (due - _BASE).days
    return days if days <= _LAST else (days - _FIRST) % (_LAST - _FIRST + 1) + _FIRST


def _bank(digits: str) -> Line:
    for number, (first, last) in enumerate(((0, 9), (10, 20), (21, 31)), 1):
        if _modulus_10(digits[first:last]) != digits[last]:
            raise ValueError(f"the check digit of field {number} does not fit: a digit was mistyped")
    bank, check, due, amount = digits[:4], digits[32], digits[33:37], digits[37:]
    if bank[3] != _REAL:
        raise ValueError("its currency is not the real")
    free = digits[4:9] + digits[10:20] + digits[21:31]
    if _bank_check(bank + due + amount + free) != check:
        raise ValueError("the check digit of the bar code (the fourth field) does not fit")
    return Line(digits, f"{bank[:3]}/{free}", int(amount) or None, int(due) or None)


def _utility(digits: str) -> Line:
    check = _modulus_10 if digits[2] in _MODULUS_10 else _modulus_11
    if digits[2] not in "6789":
        raise ValueError("the third digit must be 6, 7, 8 or 9")
    blocks = [digits[at : at + 12] for at in range(0, len(digits), 12)]
    for number, block in enumerate(blocks, 1):
        if check(block[:11]) != block[11]:
            raise ValueError(f"the check digit of block {number} does not fit: a digit was mistyped")
    code = "".join(block[:11] for block in blocks)
    if check(code[:3] + code[4:]) != code[3]:
        raise ValueError("the check digit over all (the fourth digit) does not fit")
    cents = int(code[4:15]) if code[2] in _VALUES else 0
    return Line(digits, f"{code[:2]}/{code[15:]}", cents or None, None)


def _modulus_10(digits: str) -> str:
    total = sum(sum(divmod(int(d) * (2 - n % 2), 10)) for n, d in enumerate(reversed(digits)))
    return str(-total % 10)


def _weighed(digits: str) -> int:
    """The rest by 11 of the digits, weighed 2 to 9 from the right, again and again."""
    return sum(int(d) * (n % 8 + 2) for n, d in enumerate(reversed(digits))) % 11


def _modulus_11(digits: str) -> str:
    found = 11 - _weighed(digits)
    return str(found) if found < 10 else "0"


def _bank_check(digits: str) -> str:
    found = 11 - _weighed(digits)
    return str(found) if found < 10 else "1"
