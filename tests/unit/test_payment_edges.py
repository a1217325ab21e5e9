"""The edges of what may be shown of a bill: the last value that passes, and the first that does not."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from edged.domain import boleto, brcode, paytoken
from edged.domain.page import LENGTHS, MOST_BYTES, check_texts
from edged.domain.payment import LONGEST_MS, Payees, Payment, check_names, check_payee, checked, payment, typed
from edged.domain.rejection import Rejected
from tests import payments as made

NOW = 1_790_000_000_000
PIX = made.field("00", "br.gov.bcb.pix")
DAY_MS = 86_400_000


# -- BR Codes ----------------------------------------------------------------------------------------------------------

KNOWN = {"00", "01", "26", "52", "53", "54", "58", "59", "60", "61", "62", "63", "64", *map(str, range(80, 100))}


def test_each_field_is_known_or_named_for_what_it_is() -> None:
    """Law 3: no other network (02 to 51 but for 26), no fee, no tip (55 to 57)."""
    for number in range(100):
        name = f"{number:02}"
        if name in {"00", "26", "52", "53", "58", "59", "60", "62", "63"}:
            continue  # in every code
        given = {"01": "11", "54": "1.00"}.get(name, PIX + made.field("01", "a@b.example"))
        where = {"before" if number < 63 else "behind": made.field(name, given)}
        if name in KNOWN:
            assert brcode.read(made.code(**where)).payees == (made.KEY, "a@b.example")[: 2 if number >= 80 else 1]
            continue
        with pytest.raises(ValueError, match=rf"field {name} ") as caught:
            brcode.read(made.code(**where))
        what = "a fee or a tip" if 55 <= number <= 57 else "another payment network" if number < 52 else "is not one of"
        assert what in str(caught.value)


def instead(name: str, field: str) -> str:
    """A code with this in the place of one of its fields."""
    whole = made.code()[:-8]
    at = 0
    while whole[at : at + 2] != name:
        at += 4 + int(whole[at + 2 : at + 4])
    return made.sealed(whole[:at] + field + whole[at + 4 + int(whole[at + 2 : at + 4]) :])


def test_a_code_is_read_to_its_last_character() -> None:
    whole = made.code()
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"field|checksum"):
            brcode.read(whole[:end])


@pytest.mark.parametrize(("text", "said"), [
    ("0", "at character 1 of the code stands no field"),
    ("000", "at character 1 of the code stands no field"),
    ("0x02", "at character 1 of the code stands no field"),
    ("00x2", "at character 1 of the code stands no field"),
    ("0002017", "at character 7 of the code stands no field"),
    ("000201700", "at character 7 of the code stands no field"),
    ("0003", "field 00 is longer than what is left"),
    ("00020101020199", "field 01 comes twice|no field"),
])  # fmt: skip
def test_where_a_code_breaks_off_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        brcode.read(text)


@pytest.mark.parametrize(("more", "said"), [
    ("x", "at character 1 of 62 stands no field"),
    ("0503ab", "field 62.05 is longer"),
    ("0501a0501b", "field 62.05 comes twice"),
    ("0501a06", "at character 6 of 62 stands"),
])  # fmt: skip
def test_inside_a_field_as_well(more: str, said: str) -> None:
    for name in ("62", "26"):
        with pytest.raises(ValueError, match=said.replace("62", name)):
            brcode.read(instead(name, made.field(name, more)))


NAMES: dict[str, tuple[str, bool]] = {
    "25 letters": ("59" + "25" + "x" * 25, True),
    "26 letters": ("59" + "26" + "x" * 26, False),
    "nothing": ("5900", False),
    "15 letters of a city": ("60" + "15" + "x" * 15, True),
    "16 letters of a city": ("60" + "16" + "x" * 16, False),
    "three digits of a category": ("5203123", False),
    "five digits of a category": ("520512345", False),
}


@pytest.mark.parametrize("row", NAMES)
def test_how_long_a_field_is(row: str) -> None:
    field, good = NAMES[row]
    text = instead(field[:2], field)
    if good:
        assert brcode.read(text).payees == (made.KEY,)
    else:
        with pytest.raises(ValueError, match=f"field {field[:2]} does not have"):
            brcode.read(text)


CENTS = {"0.01": 1, "0.1": 10, "1": 100, "1.0": 100, "1234567890.12": 123_456_789_012, "0": None, "0.0": None}


@pytest.mark.parametrize("amount", CENTS)
def test_the_amount_of_a_code(amount: str) -> None:
    assert brcode.read(made.code(amount=amount)).cents == CENTS[amount]


KEYS = {
    "a@b.ex": True, "x" * 64 + "@b.example": True, "x" * 65 + "@b.example": False, "a@b": False, "@b.example": False,
    "+12345678": True, "+1234567": False, "+123456789012345": True, "+1234567890123456": False, "+01234567890": False,
    "12345678901": True, "1234567890": False, "123456789012": False, "1234567890123": False, "12345678901234": True,
    "123456789012345": False, "1234567890123a": False, "123456789012a1": False,
    "01234567-89ab-cdef-0123-456789abcdef": True, "0123456789abcdef0123456789abcdef": False,
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_what_is_a_key(key: str) -> None:
    if KEYS[key]:
        assert brcode.listed(key) == key
        if len(key) < 50:
            assert brcode.read(made.code(key)).payees == (key,)
    else:
        with pytest.raises(ValueError, match=r"neither|stands"):
            brcode.listed(key)


HOSTS = {
    "a.io": True, "a.i": False, "abc": False, "a-b.example": True, "-a.example": False, "a-.example": False,
    "a.1x": False, "a.x1": True, "x" * 63 + ".io": True, "x" * 64 + ".io": False, "a_b.example": False,
}  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_a_host(host: str) -> None:
    if HOSTS[host]:
        assert (brcode.listed(host), brcode.listed(host + "/p/")) == (host, host + "/p")
    else:
        with pytest.raises(ValueError, match="neither"):
            brcode.listed(host)


def test_a_payee_passes_by_itself_or_behind_a_slash() -> None:
    assert brcode.pays("a.io/x", "a.io")
    assert brcode.pays("a.io/x/y", "a.io/x")
    assert brcode.pays("a@b.io", "a@b.io")
    for payee, entry in (("a.iox/x", "a.io"), ("a.io/xy", "a.io/x"), ("a.io/x@b.io", "a.io"), ("a.io", "a.io/x")):
        assert not brcode.pays(payee, entry)


# -- boleto ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("laid_out", ["{}", " {} ", "{}-", ". {}"])
def test_dots_spaces_and_hyphens_count_for_nothing(laid_out: str) -> None:
    line = made.bank()
    assert boleto.read(laid_out.format(line)).digits == line
    for odd in ("/", "_", "\t", "x"):
        with pytest.raises(ValueError, match="47 digits"):
            boleto.read(line + odd)


@pytest.mark.parametrize(("digits", "said"), [(46, "47 digits"), (48, "a utility's"), (49, "47 digits")])
def test_how_many_digits(digits: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        boleto.read((made.bank() + "00")[:digits])


@pytest.mark.parametrize("kind", "0123456789")
def test_the_third_digit_of_a_utilitys(kind: str) -> None:
    if kind in "6789":
        line = boleto.read(made.utility(4321, kind=kind))
        assert line.cents == (4321 if kind in "68" else None)
        assert line.factor is None
    else:
        text = made.utility()
        with pytest.raises(ValueError, match="the third digit must be 6, 7, 8 or 9"):
            boleto.read(text[:2] + kind + text[3:])


@pytest.mark.parametrize(("days", "factor"), [
    (999, 999), (1000, 1000), (9999, 9999), (10_000, 1000), (10_001, 1001), (18_999, 9999), (19_000, 1000),
])  # fmt: skip
def test_the_due_factor_goes_round(days: int, factor: int) -> None:
    assert boleto.factor(dt.date(1997, 10, 7) + dt.timedelta(days)) == factor


# -- what a command brings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "good"), [
    ("0.01", True), ("0.10", True), ("999999999.99", True), ("1000000000.00", False), ("0.00", False), ("00.10", False),
    (".10", False), ("1.1", False), ("1.111", False), ("10.00", True), ("-1.00", False), ("100.00", True),
])  # fmt: skip
def test_amounts(amount: str, good: bool) -> None:
    if good:
        assert checked({"amount": amount}, Payees()) == {"amount": amount}
    else:
        with pytest.raises(Rejected, match=r"fields\.amount"):
            checked({"amount": amount}, Payees())


@pytest.mark.parametrize(("month", "good"), [
    ("2026-01", True), ("2026-12", True), ("2026-00", False), ("2026-13", False), ("1999-01", False), ("2026-1", False),
])  # fmt: skip
def test_months(month: str, good: bool) -> None:
    if good:
        assert checked({"month": month}, Payees()) == {"month": month}
    else:
        with pytest.raises(Rejected, match=r"fields\.month"):
            checked({"month": month}, Payees())


@pytest.mark.parametrize(("code", "good"), [("1" * 6, True), ("1" * 32, True), ("1" * 5, False), ("1" * 33, False)])
def test_codes(code: str, good: bool) -> None:
    if good:
        assert payment({"amount": "1.00", "code": code}, Payees(), NOW).code == code
    else:
        with pytest.raises(Rejected, match=r"fields\.code"):
            payment({"amount": "1.00", "code": code}, Payees(), NOW)
    assert typed(" a-b\tc ") == "ABC"


@pytest.mark.parametrize(("ms", "kept"), [
    (0, None), (-1, None), (1, 1), (LONGEST_MS, LONGEST_MS), (LONGEST_MS - 1, LONGEST_MS - 1),
    (LONGEST_MS + 1, LONGEST_MS),
])  # fmt: skip
def test_how_long_payment_data_stays(ms: int, kept: int | None) -> None:
    assert LONGEST_MS == 90 * DAY_MS
    at = dt.datetime.fromtimestamp((NOW + ms) // 1000, dt.UTC) + dt.timedelta(milliseconds=(NOW + ms) % 1000)
    fields = {"amount": "1.00", "expires": at.isoformat()}
    if kept is None:
        with pytest.raises(Rejected, match="it has passed"):
            payment(fields, Payees(), NOW)
    else:
        assert payment(fields, Payees(), NOW) == Payment({"amount": "1.00"}, "", NOW + kept)


@pytest.mark.parametrize("expires", ["0001-01-01T00:00:00+14:00", "soon", "2026-12-01", "1790000001"])
def test_a_moment_that_no_clock_has(expires: str) -> None:
    with pytest.raises(Rejected, match=r"fields\.expires: "):
        payment({"amount": "1.00", "expires": expires}, Payees(), NOW)


@pytest.mark.parametrize("name", ["amount", "line", "pix"])
def test_each_of_three_is_enough(name: str) -> None:
    whole = {"amount": "99.90", "line": made.bank(), "pix": made.code()}
    assert payment({name: whole[name]}, made.OURS, NOW).shown.keys() == {name}
    check_names({name: "", "month": "", "due": "", "code": "", "expires": ""})
    with pytest.raises(ValueError, match=r"fields\.month\.en: unknown"):
        check_names({name: "", "month.en": ""})


@pytest.mark.parametrize(("left", "good"), [
    ({"amount": "99.90"}, True), ({"amount": "99.91"}, False), ({"pix": made.code(amount="99.90")}, True),
    ({"pix": made.code(amount="99.91")}, False), ({"pix": made.code()}, True), ({"due": "2026-11-30"}, True),
    ({"due": "2026-12-01"}, False), ({}, True),
])  # fmt: skip
def test_line_and_what_stands_beside_it(left: dict[str, str], good: bool) -> None:
    for line, open_ in ((made.bank(), False), (made.bank(0, 0), True)):
        if good or open_:
            assert checked({"line": line, **left}, made.OURS)["line"] == line
        else:
            with pytest.raises(Rejected, match=r"same amount|another day"):
                checked({"line": line, **left}, made.OURS)


@pytest.mark.parametrize(("entry", "pays"), [
    ("341", True), ("34", False), ("342", False), ("341/1091", True), ("341/1092", False), ("341/0912", False),
])  # fmt: skip
def test_a_bank_or_the_begin_of_its_free_field(entry: str, pays: bool) -> None:
    payees = Payees(boleto=("001", entry))
    if pays:
        assert checked({"line": made.bank()}, payees)
    else:
        with pytest.raises(Rejected, match="does not list"):
            checked({"line": made.bank()}, payees)


@pytest.mark.parametrize(("text", "good"), [
    ("84/0160", True), ("84/016", False), ("89/0160", True), ("80/0160", False), ("84/" + "1" * 29, True),
    ("84/" + "1" * 30, False), ("341/" + "1" * 25, True), ("341/" + "1" * 26, False), ("3411", False),
])  # fmt: skip
def test_what_a_list_of_boletos_may_name(text: str, good: bool) -> None:
    if good:
        assert check_payee("boleto", text) == text
    else:
        with pytest.raises(ValueError, match="write a bank"):
            check_payee("boleto", text)


# -- texts of a page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LENGTHS)
def test_how_long_a_text_is(kind: str) -> None:
    assert LENGTHS == {"title": 120, "text": 1200, "link": 300, "link_text": 80}
    begin = "https://a.example/" if kind == "link" else ""
    for name in (kind, f"{kind}.en", f"{kind}.pt-BR", f"{kind}.es"):
        check_texts({name: begin + "x" * (LENGTHS[kind] - len(begin))})
        for bad in ("", begin + "x" * (LENGTHS[kind] - len(begin) + 1)):
            with pytest.raises(ValueError, match=f"1 to {LENGTHS[kind]} characters"):
                check_texts({name: bad})
    for name in (f"{kind}.", f"{kind}.fr", f"{kind}.en.es", f"{kind} ", f".{kind}"):
        with pytest.raises(ValueError, match="unknown; known are"):
            check_texts({name: begin + "x"})


def test_how_much_all_texts_are() -> None:
    fields = {"text": "ã" * 1200, "text.en": "ã" * 1200, "text.es": "ã" * 1200, "text.pt-BR": ""}
    left = MOST_BYTES - len(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode())
    assert MOST_BYTES == 8000
    check_texts(fields | {"text.pt-BR": "x" * left})
    with pytest.raises(ValueError, match="more than 8000 bytes"):
        check_texts(fields | {"text.pt-BR": "x" * (left + 1)})


@pytest.mark.parametrize(("fields", "size"), [
    ({"text": "&\n" * 599 + "&&"}, "fields.text: on the page in pt-BR .* 8404 bytes"),
    ({"text": "&" * 1200}, "6008 bytes, at most 6000; write fewer lines"),
    ({"text": "x", "text.es": "&" * 1200}, "fields.text.es: on the page in es"),
    ({"text": "&" * 1000, "link": "https://" + "&" * 200}, "7024 bytes"),
    ({"text": "&" * 1000, "link": "https://" + "&" * 200, "link_text": "x"}, "6017 bytes"),
])  # fmt: skip
def test_texts_are_bounded_as_they_are_written(fields: dict[str, str], size: str) -> None:
    with pytest.raises(ValueError, match=size):
        check_texts(fields)


def test_each_language_has_its_bytes_for_itself() -> None:
    check_texts({"text.es": "&" * 700, "text.en": "&" * 700, "text": "&" * 700})
    check_texts({"title": "\U0001f4b3" * 120, "text": "\U0001f4b3" * 1200, "link": "https://" + "a" * 292})


@pytest.mark.parametrize(("name", "value", "good"), [
    ("text", "a\nb", True), ("text", "a\tb", False), ("text", "a\r\nb", False), ("title", "a\nb", False),
    ("title", "R$\u00a099", True), ("link_text", "a\nb", False), ("title", "a\u200bb", False), ("text", "\n", True),
])  # fmt: skip
def test_texts_are_plain(name: str, value: str, good: bool) -> None:
    """Law 1."""
    if good:
        check_texts({name: value})
    else:
        with pytest.raises(ValueError, match="printable characters only") as caught:
            check_texts({name: value})
        assert str(caught.value).endswith("and line feeds") == (name == "text")


@pytest.mark.parametrize(("link", "good"), [
    ("https://a.example", True), ("https://a.example:8443/x?y#z", True), ("http://a.example", False),
    ("https://a.example:0/", False), ("https://a.example:1/", True), ("https://a.example:65536/", False),
    ("https://a@a.example/", False), ("https://@a.example/", False), ("https:///x", False), ("https://", False),
    ("https://[::1/", False), ("https://a.example/ã", False), ("https://a.example/a b", False),
    ("https://a.example/|", False), ("//a.example/", False), ("sftp://a.example", False), ("wss://a.example", False),
    ("javascript:alert(1)", False),
])  # fmt: skip
def test_a_link_is_https_and_shown_as_what_it_is(link: str, good: bool) -> None:
    """Law 2."""
    if good:
        check_texts({"link.es": link})
    else:
        with pytest.raises(ValueError, match=r"fields\.link\.es: write an https address"):
            check_texts({"link.es": link})


# -- signed links ------------------------------------------------------------------------------------------------------

TOKEN: dict[str, Any] = {"typ": paytoken.KIND, "aud": "gw", "exp": NOW / 1000 + 60, "sub": "C-1", "jti": "0" * 16}


def token(**fields: Any) -> paytoken.PayToken:
    return paytoken.read(json.dumps(TOKEN | fields).encode(), NOW)


@pytest.mark.parametrize(("fields", "code"), [
    ({"exp": NOW / 1000 + 0.001}, ""), ({"exp": NOW / 1000}, "expired"), ({"exp": 0}, "expired"),
    ({"exp": -1}, "malformed"), ({"exp": NOW / 1000 + 3660}, ""), ({"exp": NOW / 1000 + 3660.001}, "from_the_future"),
    ({"exp": 1e11}, "from_the_future"), ({"exp": 1.1e11}, "malformed"), ({"jti": "0" * 15}, "malformed"),
    ({"jti": "0" * 64}, ""), ({"jti": "0" * 65}, "malformed"), ({"aud": []}, "malformed"), ({"aud": ["g"] * 100}, ""),
    ({"aud": ["g"] * 101}, "malformed"), ({"iat": 0}, ""), ({"iat": -1}, "malformed"), ({"iat": None}, ""),
    ({"typ": "edged-batch"}, "malformed"), ({"name": "x"}, "malformed"), ({"iss": "erp"}, ""),
])  # fmt: skip
def test_a_link_lives_an_hour_at_most_and_a_minute_for_the_clocks(fields: dict[str, Any], code: str) -> None:
    if code:
        with pytest.raises(Rejected, match=f"^{code}: link: ") as caught:
            token(**fields)
        assert len(caught.value.detail) <= len("link: ") + 120
    else:
        found = token(**fields)
        assert found.expires == int(fields.get("exp", TOKEN["exp"]) * 1000)
        assert found.audience == (found.aud if isinstance(found.aud, list) else [found.aud])
