"""Payment data as pure values: BR Codes, boleto lines, what goes together; each law of the modules has its rows."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest

from edged.domain import boleto, brcode, paytoken
from edged.domain.payment import LONGEST_MS, Payees, check_payee, checked, payment, typed
from edged.domain.rejection import Rejected
from tests import payments as made

NOW = 1_790_000_000_000
PIX = made.field("00", "br.gov.bcb.pix")


# -- BR Code -----------------------------------------------------------------------------------------------------------


def test_the_manuals_example() -> None:
    assert brcode.read(made.OF_THE_MANUAL) == ((made.KEY,), None)


CODES: dict[str, tuple[str, tuple[tuple[str, ...], int | None]]] = {
    "by key": (made.code(), ((made.KEY,), None)),
    "with an amount": (made.code(amount="99.90"), ((made.KEY,), 9990)),
    "whole reais": (made.code(amount="7"), ((made.KEY,), 700)),
    "one digit behind the point": (made.code(amount="7.5"), ((made.KEY,), 750)),
    "an amount of nothing is left open": (made.code(amount="0.00"), ((made.KEY,), None)),
    "by URL": (made.code(url="pix.example.com/qr/v2/9d36"), (("pix.example.com/qr/v2/9d36",), None)),
    "a host in capitals": (made.code(url="PIX.Example.com/a"), (("pix.example.com/a",), None)),
    "a telephone": (made.code("+5511999990000"), (("+5511999990000",), None)),
    "an e-mail address": (made.code("Caixa@Example.com"), (("caixa@example.com",), None)),
    "CPF": (made.code("12345678909"), (("12345678909",), None)),
    "CNPJ": (made.code("12345678000195"), (("12345678000195",), None)),
    "CNPJ with letters": (made.code("12ABC34501DE35"), (("12abc34501de35",), None)),
    "PIX in capitals": (
        made.sealed(made.code()[:-8].replace("br.gov.bcb.pix", "BR.GOV.BCB.PIX")), ((made.KEY,), None),
    ),
    "checksum in small letters": (made.code()[:-4] + made.code()[-4:].lower(), ((made.KEY,), None)),
    "automatic PIX beside it": (
        made.code(behind=made.field("80", PIX + made.field("25", "rec.example.com/1"))),
        ((made.KEY, "rec.example.com/1"), None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CODES)
def test_a_code_is_read(name: str) -> None:
    text, found = CODES[name]
    assert brcode.read(text) == found


def without(name: str) -> str:
    whole, at = made.code()[:-8], 0
    while whole[at : at + 2] != name:
        at += 4 + int(whole[at + 2 : at + 4])
    return made.sealed(whole[:at] + whole[at + 4 + int(whole[at + 2 : at + 4]) :])


BROKEN: dict[str, tuple[str, str]] = {
    "nothing": ("", "begins with field 00"),
    "noise": ("hello", "character 1"),
    "too long": (made.sealed(made.field("00", "01") + made.field("62", "x" * 99) * 5), "at most 512"),
    "an accent": (made.code().replace("Campinas", "Açailand"), "ASCII"),
    "a line feed": (made.code() + "\n", "ASCII"),
    "cut": (made.code()[:-1], "longer than what is left"),
    "a letter changed": (made.code().replace("Provedor", "Provador"), "checksum"),
    "something behind": (made.code() + made.field("64", "x"), "begins with field 00 and ends"),
    "another format": (made.sealed("000202" + made.code()[6:-8]), "field 00"),
    "a payee twice": (made.code(before=made.field("26", PIX + made.field("01", "evil@example.com"))), "field 26 comes"),
    "another network": (made.code(before=made.field("27", made.field("00", "com.example"))), "another payment network"),
    "a card network": (made.code(before=made.field("04", "123")), "another payment network"),
    "a tip": (made.code(before=made.field("55", "01")), "a fee or a tip"),
    "a reserved field": (made.code(before=made.field("70", "x")), "field 70 is not one"),
    "PIX elsewhere": (made.code(account="27"), "another payment network"),
    "another arrangement": (made.sealed(made.code()[:-8].replace("bcb.pix", "bcb.pax")), "is not of br.gov.bcb.pix"),
    "dollars": (made.sealed(made.code()[:-8].replace("5303986", "5303840")), "field 53"),
    "another country": (made.sealed(made.code()[:-8].replace("5802BR", "5802US")), "field 58"),
    "amount with a comma": (made.code(amount="9,90"), "field 54"),
    "three digits behind the point": (made.code(amount="9.901"), "field 54"),
    "a URL with scheme": (made.code(url="https://pix.example.com/a"), "host/path"),
    "a URL with user": (made.code(url="pix.example.com@evil.example/a"), "host/path"),
    "a URL with port": (made.code(url="pix.example.com:8443/a"), "host/path"),
    "a URL without path": (made.code(url="pix.example.com"), "host/path"),
    "an address for a host": (made.code(url="192.0.2.1/a"), "host/path"),
    "no key that there is": (made.code("somebody"), "no PIX key"),
    "a withdrawal": (
        made.code(behind=made.field("80", PIX + made.field("03", "12345678") + made.field("01", "a@b.example"))),
        "80.03 is not one",
    ),
    "an extra that is none of PIX": (made.code(behind=made.field("80", made.field("00", "com.example"))), "field 80"),
    "an extra that is empty": (made.code(behind=made.field("80", "")), "field 80"),
    "other digits": (made.code().replace("0002", "00²2", 1), "ASCII"),
    **{f"no field {name}": (without(name), f"field {name}") for name in ("26", "52", "53", "58", "59", "60")},
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_code_is_not(name: str) -> None:
    text, said = BROKEN[name]
    with pytest.raises(ValueError, match=r"field|character|ASCII|checksum|longer") as caught:
        brcode.read(text)
    assert said in str(caught.value)


def test_either_key_or_url_and_each_once() -> None:
    def account(*fields: str) -> str:
        text = made.field("00", "01") + made.field("26", PIX + "".join(fields)) + made.field("52", "0000")
        return made.sealed(text + "53039865802BR" + made.field("59", "P") + made.field("60", "C"))

    key, url = made.field("01", "a@b.example"), made.field("25", "b.example/a")
    assert brcode.read(account(key)).payees == ("a@b.example",)
    for fields in ((), (key, url), (key, key), (url, made.field("02", "x"), url)):
        with pytest.raises(ValueError, match=r"either a key|comes twice"):
            brcode.read(account(*fields))


def test_the_checksum_is_the_one_everybody_computes() -> None:
    for text in (made.OF_THE_MANUAL, made.code(), made.code(amount="1.00")):
        assert text[-4:] == made.crc(text[:-4].encode())


# -- boleto ------------------------------------------------------------------------------------------------------------

LINES: dict[str, tuple[str, tuple[str, int | None, int | None]]] = {
    "Banco do Brasil, as FEBRABAN prints it": (
        "00190.50095 40144.816069 06809.350314 3 37370000000100", ("001/0500940144816060680935031", 100, 3737),
    ),
    "a utility, modulus 10": (
        "83620000000-5 66780048100-0 18097565731-3 00158963608-1", ("83/00481001809756573100158963608", 6678, None),
    ),
    "a utility, modulus 11": (
        "848900000002404201622015806051904292586034111220", ("84/01622018060519042958603411122", 4042, None),
    ),
    "made here": (made.bank(), ("341/1091200000000000000000001", 9990, 1646)),
    "of any day and amount": (made.bank(0, 0), ("341/1091200000000000000000001", None, None)),
    "a utility's quantity": (made.utility(kind="7"), ("84/0160" + "7" * 25, None, None)),
    "a utility's quantity, modulus 11": (made.utility(kind="9"), ("84/0160" + "7" * 25, None, None)),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_line_is_read(name: str) -> None:
    text, found = LINES[name]
    line = boleto.read(text)
    assert line.digits == "".join(c for c in text if c.isdigit())
    assert (line.payee, line.cents, line.factor) == found


@pytest.mark.parametrize("text", [made.bank(9991), made.bank(0, 0), made.utility(), made.utility(kind="8")])
def test_one_mistyped_digit_is_always_noticed(text: str) -> None:
    """Where the bank's check digit is not 1, which stands for three rests."""
    assert len(text) == 48 or text[32] != "1"
    for at, digit in itertools.product(range(len(text)), "0123456789"):
        if digit == text[at]:
            continue
        with pytest.raises(ValueError, match="digit"):
            boleto.read(text[:at] + digit + text[at + 1 :])


@pytest.mark.parametrize(("text", "parts"), [
    (made.bank(9991), {"field 1": range(9), "field 2": range(10, 20), "field 3": range(21, 31), "code": range(33, 47)}),
    (made.utility(), {f"block {n}": range(12 * n - 8, 12 * n) for n in (1, 2, 3, 4)}),
])  # fmt: skip
def test_where_a_digit_was_mistyped_is_said(text: str, parts: dict[str, range]) -> None:
    for part, places in parts.items():
        for at in places:
            with pytest.raises(ValueError, match=part):
                boleto.read(text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :])


def test_every_check_digit_agrees_with_one_counted_otherwise() -> None:
    """Two hundred lines of each kind, of which some have the odd digits (10 and 11 for the modulus)."""
    for n in range(200):
        free = f"{n * 7919:025}"
        assert boleto.read(made.bank(n * 31, 1000 + n, free, "001")).payee == f"001/{free}"
        for kind in "6789":
            assert boleto.read(made.utility(n * 13, f"{n:04}", kind)).digits


BAD_LINES = {
    "nothing": "",
    "letters": "x" * 47,
    "46 digits": made.bank()[:-1],
    "48 digits of a bank": made.bank() + "0",
    "other digits": "²" * 47,
    "a utility's third digit": made.utility().replace("846", "841", 1),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_broken_line_is_not(name: str) -> None:
    with pytest.raises(ValueError, match=r"digit|currency"):
        boleto.read(BAD_LINES[name])


def test_a_foreign_currency_is_named() -> None:
    first = "3418" + "10912"
    line = made.bank()
    with pytest.raises(ValueError, match="real"):
        boleto.read(first + made.luhn(first) + line[10:])


@pytest.mark.parametrize(
    ("day", "factor"),
    [("2000-07-03", 1000), ("2007-12-31", 3737), ("2025-02-21", 9999), ("2025-02-22", 1000), ("2026-11-30", 1646)],
)
def test_due_factors(day: str, factor: int) -> None:
    assert boleto.factor(dt.date.fromisoformat(day)) == factor


# -- what a command brings ---------------------------------------------------------------------------------------------

WHOLE = {
    "amount": "99.90", "month": "2026-11", "due": "2026-11-30", "line": made.bank(), "pix": made.code(amount="99.90"),
    "code": "k7q2-99 31", "expires": "2026-12-01T00:00:00Z",
}  # fmt: skip


def test_a_whole_bill() -> None:
    laid_out = f"{WHOLE['line'][:5]}.{WHOLE['line'][5:10]} {WHOLE['line'][10:]}"
    found = payment({**WHOLE, "line": laid_out}, made.OURS, NOW)
    assert found.shown == {name: WHOLE[name] for name in ("amount", "month", "due", "line", "pix")}
    assert found.code == "K7Q29931" == typed(" K7Q2 9931\n")
    assert found.expires == 1_796_083_200_000
    assert checked(found.shown, made.OURS) == found.shown


def test_little_is_enough_and_nothing_stays_for_ever() -> None:
    found = payment({"amount": "0.01"}, Payees(), NOW)
    assert (found.shown, found.code, found.expires) == ({"amount": "0.01"}, "", NOW + LONGEST_MS)
    late = {"amount": "1.00", "expires": "2099-01-01T00:00:00Z"}
    assert payment(late, Payees(), NOW).expires == NOW + LONGEST_MS


FAULTS: dict[str, tuple[dict[str, str], str]] = {
    "nothing to show": ({"month": "2026-11"}, "give amount, line or pix"),
    "a comma": ({"amount": "99,90"}, "fields.amount: write reais"),
    "no centavos": ({"amount": "99"}, "fields.amount"),
    "a leading nought": ({"amount": "099.90"}, "fields.amount"),
    "nothing to pay": ({"amount": "0.00"}, "fields.amount"),
    "a month": ({"month": "2026-13"}, "fields.month"),
    "a day": ({"due": "2026-02-30"}, "fields.due"),
    "a moment for a day": ({"due": "2026-11-30T00:00:00Z"}, "fields.due"),
    "a short code": ({"code": "12345"}, "fields.code: 6 to 32"),
    "an empty code": ({"code": ""}, "fields.code"),
    "a code of dots": ({"code": "123.456"}, "fields.code"),
    "a long code": ({"code": "1" * 33}, "fields.code"),
    "over already": ({"expires": "2026-01-01T00:00:00Z"}, "fields.expires: it has passed"),
    "an end without zone": ({"expires": "2026-12-31T00:00:00"}, "fields.expires"),
    "a broken line": ({"line": made.bank()[:-1] + "5"}, "fields.line: the check digit"),
    "a foreign line": ({"line": made.bank(bank="001")}, "fields.line: it pays somebody"),
    "our bank, another account": ({"line": made.bank(free="2" * 25)}, "fields.line: it pays somebody"),
    "a foreign utility": ({"line": made.utility(company="0161")}, "fields.line: it pays somebody"),
    "the same company elsewhere": ({"line": made.utility(segment="3")}, "fields.line: it pays somebody"),
    "a broken code": ({"pix": made.code()[:-1] + "x"}, "fields.pix: the checksum"),
    "a foreign key": ({"pix": made.code("evil@example.com")}, "fields.pix: it pays somebody"),
    "a foreign host": ({"pix": made.code(url="pix.example.com.evil.example/a")}, "fields.pix: it pays somebody"),
    "ours, and a foreign one beside": (
        {"pix": made.code(behind=made.field("80", PIX + made.field("01", "evil@example.com")))}, "fields.pix: it pays",
    ),
    "another amount in the code": ({"pix": made.code(amount="99.91")}, "same amount"),
    "another amount in the line": ({"line": made.bank(9991)}, "same amount"),
    "another day in the line": ({"line": made.bank(factor=1645)}, "fields.line: it is due on another day"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_no_value_is(name: str) -> None:
    fields, said = FAULTS[name]
    alone = name == "nothing to show"
    with pytest.raises(Rejected) as caught:
        payment(fields if alone else {**WHOLE, **fields}, made.OURS, NOW)
    assert caught.value.code == "malformed"
    assert said in caught.value.detail
    for value in fields.values():
        assert len(value) < 6 or value not in caught.value.detail


def test_line_and_code_alone_must_agree_too() -> None:
    with pytest.raises(Rejected, match="same amount"):
        checked({"line": made.bank(9990), "pix": made.code(amount="1.00")}, made.OURS)
    checked({"line": made.bank(0), "pix": made.code(), "amount": "5.00"}, made.OURS)


def test_an_empty_list_lets_nothing_through() -> None:
    for fields in ({"pix": made.code()}, {"line": made.bank()}, {"line": made.utility()}):
        with pytest.raises(Rejected, match="does not list"):
            checked(fields, Payees())


def test_a_bank_may_be_named_alone_and_a_utility_may_not() -> None:
    assert checked({"line": made.bank()}, Payees(boleto=("341",)))
    with pytest.raises(Rejected, match="does not list"):
        checked({"line": made.utility()}, Payees(boleto=("84", "846")))


@pytest.mark.parametrize("text", ["341", "341/109", "84/0160", "84/01600000"])
def test_payees_of_boletos(text: str) -> None:
    assert check_payee("boleto", text) == text


@pytest.mark.parametrize("text", ["", "84", "84/01", "341/", "341/x", "34", "80/0160", "341/" + "1" * 26])
def test_what_is_no_payee_of_boletos(text: str) -> None:
    with pytest.raises(ValueError, match="341/109"):
        check_payee("boleto", text)


@pytest.mark.parametrize(
    "text",
    [made.KEY.upper(), "Pix.Example.com", "+5511999990000", "12345678000195", "a@b.example", "pix.example.com/qr/v2"],
)
def test_payees_of_pix(text: str) -> None:
    assert check_payee("pix", text) == text.lower()


@pytest.mark.parametrize(
    "text", ["", "https://pix.example.com", "pix.example.com/", "pix.example.com/../a", "somebody", "*.example.com"]
)
def test_what_is_no_payee_of_pix(text: str) -> None:
    with pytest.raises(ValueError, match="PIX key"):
        check_payee("pix", text)


def test_a_host_may_be_trusted_in_part() -> None:
    entry = check_payee("pix", "PIX.example.com/qr/v2/Ours/")
    assert entry == "pix.example.com/qr/v2/Ours"
    ours = Payees(pix=(entry,))
    for path in ("qr/v2/Ours", "qr/v2/Ours/9d36", "qr/v2/Ours/"):
        assert checked({"pix": made.code(url=f"Pix.example.com/{path}")}, ours)
    for path in ("qr/v2/ATTACKER", "qr/v2/OursToo", "qr/v2/ours/1", "qr/v2", "x/qr/v2/Ours/1"):
        with pytest.raises(Rejected, match="does not list"):
            checked({"pix": made.code(url=f"pix.example.com/{path}")}, ours)


@pytest.mark.parametrize(
    "path",
    [
        "Ours/../x",
        "..",
        "./x",
        "x/.",
        "x/./y",
        "/evil",
        "x//y",
        "x..y",
        "x@y",
        "x\\y",
        "x/%2e%2e/y",
        "x%2Fy",
        "x%40",
        "%252e",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    for listed in ("pix.example.com", "pix.example.com/Ours"):
        with pytest.raises(Rejected, match=r"26\.25 must be host/path"):
            checked({"pix": made.code(url=f"pix.example.com/{path}")}, Payees(pix=(listed,)))


def test_a_key_that_looks_like_a_hosts_path_is_no_url() -> None:
    with pytest.raises(Rejected, match="does not list"):
        checked({"pix": made.code("pix.example.com/x@evil.example")}, made.OURS)


def test_some_thousand_things_that_nearly_are_payments() -> None:
    seen = made.run(4000, 7)
    assert seen.total() == 4000
    assert seen.keys() == {"refused", "pix", "line", "pix, foreign", "line, foreign"}


# -- signed links ------------------------------------------------------------------------------------------------------

TOKEN = '{"typ":"edged-pay","aud":"gw1","exp":1790000060,"sub":"C-1","jti":"0123456789abcdef"}'


def test_a_token() -> None:
    found = paytoken.read(TOKEN.encode(), NOW)
    assert (found.audience, found.sub, found.expires) == (["gw1"], "C-1", NOW + 60_000)
    more = TOKEN.replace('"gw1"', '["gw1","all"]').replace("}", ',"iss":"erp","iat":1790000000}')
    assert paytoken.read(more.encode(), NOW).audience == ["gw1", "all"]


@pytest.mark.parametrize(
    ("was", "becomes", "code"),
    [
        ("edged-pay", "JWT", "malformed"),
        ('"typ":"edged-pay",', "", "malformed"),
        ("0123456789abcdef", "0123456789abcde", "malformed"),
        ('"gw1"', "[]", "malformed"),
        ("1790000060", "1790000000", "expired"),
        ("1790000060", "1790003661", "from_the_future"),
        ("1790000060", "1e300", "malformed"),
        ('"sub"', '"name":"Maria","sub"', "malformed"),
        ("}", "", "malformed"),
        (TOKEN, "\xff", "malformed"),
        (TOKEN, "[" * 5000, "malformed"),
    ],
)
def test_a_token_that_is_none(was: str, becomes: str, code: str) -> None:
    assert was in TOKEN
    with pytest.raises(Rejected) as caught:
        paytoken.read(TOKEN.replace(was, becomes).encode("latin-1"), NOW)
    assert caught.value.code == code
    assert "Maria" not in caught.value.detail
