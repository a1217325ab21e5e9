"""Signed messages: what is genuine opens, everything else ends in Rejected with its own code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey

from edged import envelope
from edged.domain.keytext import WORTHLESS
from edged.domain.rejection import Rejected
from edged.domain.roles import EVERY_ROLE
from edged.envelope import Issuer, Keyring, OKPKey, Opened

MINUTE, HOUR = 60_000, 3_600_000
NOW = 1_790_000_000_000
BODY = b'{"v":1,"id":"b1","commands":[]}'
ERP, ERP_NEXT, NOC, STRANGER = (OKPKey.derive_key(word) for word in ("erp", "next", "noc", "stranger"))


def public(key: OKPKey) -> OKPKey:
    return envelope.read_public(envelope.public_text(key))


def ring(*, required: bool = True) -> Keyring:
    issuers = [
        Issuer("erp", (public(ERP), public(ERP_NEXT)), frozenset({"billing"})),
        Issuer("noc", (public(NOC),), frozenset({"noc"})),
    ]
    return Keyring(issuers, required=required, audience=["gw1", "all"], max_ahead=5 * MINUTE, max_age=24 * HOUR)


RING = ring()
GENUINE = envelope.sign(BODY, ERP, "erp")


def b64(raw: bytes | str) -> bytes:
    return base64.urlsafe_b64encode(raw.encode() if isinstance(raw, str) else raw).rstrip(b"=")


def forged(header: Any, body: bytes = BODY, key: OKPKey = ERP) -> bytes:
    """Any header at all, with a signature that is right for it."""
    head = b64(header if isinstance(header, bytes | str) else json.dumps(header)) + b"." + b64(body)
    return head + b"." + mark(head, key)


def mark(head: bytes, key: OKPKey = ERP) -> bytes:
    """The encoded signature over anything."""
    return b64(envelope._ed25519.sign(head, key))


def code(payload: bytes, keyring: Keyring = RING) -> str:
    with pytest.raises(Rejected) as refused:
        keyring.open(payload)
    str(refused.value).encode()  # it will be published
    return refused.value.code


# -- what is genuine ---------------------------------------------------------------------------------------------


def test_what_is_signed_opens_and_says_whose_it_is() -> None:
    assert RING.open(GENUINE) == Opened(BODY, "erp", frozenset({"billing"}))
    assert RING.open(envelope.sign(BODY, NOC, "noc")) == Opened(BODY, "noc", frozenset({"noc"}))


def test_both_keys_of_an_issuer_are_good_while_one_replaces_the_other() -> None:
    assert RING.open(envelope.sign(BODY, ERP_NEXT, "erp")).issuer == "erp"


@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
def test_both_names_of_the_algorithm(algorithm: str) -> None:
    assert RING.open(forged({"alg": algorithm, "kid": "erp"})).body == BODY


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", ["EdDSA", "Ed25519"])
def test_an_ordinary_library_signs_and_verifies_the_same(algorithm: str) -> None:
    text = jws.serialize_compact({"alg": algorithm, "kid": "erp", "typ": "JOSE"}, BODY, ERP, algorithms=[algorithm])
    assert RING.open(text.encode()).body == BODY
    assert jws.deserialize_compact(GENUINE, public(ERP), algorithms=["Ed25519"]).payload == BODY


def test_openssl_verifies_our_signature_and_we_its(tmp_path: Path) -> None:
    private, text, out = tmp_path / "key", tmp_path / "text", tmp_path / "out"
    private.write_text(envelope.private_text(ERP))
    head, _, signature = GENUINE.rpartition(b".")
    text.write_bytes(head)
    subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", private, "-rawin", "-in", text, "-out", out], check=True)
    assert b64(out.read_bytes()) == signature  # Ed25519 is deterministic


@pytest.mark.parametrize("size", [*range(8), 150_000, 1_000_001])
def test_bodies_of_every_length_come_back_as_they_were(size: int) -> None:
    body = bytes(i * 7 % 256 for i in range(size))
    if not body:
        assert code(envelope.sign(body, ERP, "erp")) == "malformed"
        return
    assert RING.open(envelope.sign(body, ERP, "erp")).body == body


@given(st.binary(min_size=1, max_size=300))
def test_any_body_comes_back(body: bytes) -> None:
    assert RING.open(envelope.sign(body, ERP, "erp")).body == body


# -- unsigned ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [BODY, b" \n" + BODY, b"{", b'{"payload":"e30","signature":"AAAA"}'])
def test_unsigned_is_refused_where_signatures_are_required(body: bytes) -> None:
    assert code(body) == "unsigned"
    assert RING.open(body, local=True) == Opened(body, None, EVERY_ROLE)
    assert ring(required=False).open(body) == Opened(body, None, EVERY_ROLE)


@pytest.mark.parametrize("body", [b"", b" ", b"[]", b'"x"', b"\xff\xfe", b"\0", b"=", b".", b"..", b"\xc3\xa9", b"-"])
def test_what_is_nothing_at_all_is_malformed(body: bytes) -> None:
    assert code(body) == "malformed"


def test_a_signature_is_verified_also_where_none_is_needed() -> None:
    relaxed = ring(required=False)
    assert relaxed.open(GENUINE).roles == {"billing"}
    assert code(envelope.sign(BODY, STRANGER, "erp"), relaxed) == "bad_signature"
    empty = Keyring([], required=False, audience=["gw1"], max_ahead=0, max_age=0)
    assert code(GENUINE, empty) == "bad_signature"
    with pytest.raises(Rejected, match="bad_signature"):
        RING.open(envelope.sign(BODY, STRANGER, "erp"), local=True)


# -- forged ------------------------------------------------------------------------------------------------------

HEADER = {"alg": "Ed25519", "kid": "erp"}
DEEP = '{"alg":"Ed25519","kid":"erp","x":' + "[" * 600
HEADERS: dict[str, tuple[Any, str]] = {
    "alg none": ({"alg": "none", "kid": "erp"}, "bad_signature"),
    "alg None": ({"alg": "None", "kid": "erp"}, "bad_signature"),
    "alg null": ({"alg": None, "kid": "erp"}, "bad_signature"),
    "alg list": ({"alg": ["Ed25519"], "kid": "erp"}, "bad_signature"),
    "alg object": ({"alg": {"a": 1}, "kid": "erp"}, "bad_signature"),
    "alg Ed448": ({"alg": "Ed448", "kid": "erp"}, "bad_signature"),
    "alg ES256": ({"alg": "ES256", "kid": "erp"}, "bad_signature"),
    "alg case": ({"alg": "ED25519", "kid": "erp"}, "bad_signature"),
    "alg surrogate": ('{"alg":"\\ud800","kid":"erp"}', "bad_signature"),
    "no alg": ({"kid": "erp"}, "bad_signature"),
    "crit": ({**HEADER, "crit": ["exp"], "exp": 1}, "bad_signature"),
    "crit empty": ({**HEADER, "crit": []}, "bad_signature"),
    "b64 false": ({**HEADER, "b64": False, "crit": ["b64"]}, "bad_signature"),
    "b64 true": ({**HEADER, "b64": True}, "bad_signature"),
    "no kid": ({"alg": "Ed25519"}, "malformed"),
    "kid null": ({"alg": "Ed25519", "kid": None}, "malformed"),
    "kid number": ({"alg": "Ed25519", "kid": 7}, "malformed"),
    "kid list": ({"alg": "Ed25519", "kid": ["erp"]}, "malformed"),
    "kid object": ({"alg": "Ed25519", "kid": {"erp": 1}}, "malformed"),
    "kid unknown": ({"alg": "Ed25519", "kid": "nobody"}, "bad_signature"),
    "kid of another": ({"alg": "Ed25519", "kid": "noc"}, "bad_signature"),
    "kid case": ({"alg": "Ed25519", "kid": "ERP"}, "bad_signature"),
    "kid space": ({"alg": "Ed25519", "kid": "erp "}, "bad_signature"),
    "kid nul": ({"alg": "Ed25519", "kid": "erp\0"}, "bad_signature"),
    "kid path": ({"alg": "Ed25519", "kid": "../../etc/passwd"}, "bad_signature"),
    "kid surrogate": ('{"alg":"Ed25519","kid":"\\ud800"}', "bad_signature"),
    "kid twice": ('{"alg":"Ed25519","kid":"noc","kid":"erp"}', "malformed"),
    "alg twice": ('{"alg":"none","alg":"Ed25519","kid":"erp"}', "malformed"),
    "kid twice, escaped": ('{"alg":"Ed25519","kid":"noc","k\\u0069d":"erp"}', "malformed"),
    "twice below": ('{"alg":"Ed25519","kid":"erp","jwk":{"x":1,"x":2}}', "malformed"),
    "not JSON": ("alg=Ed25519", "malformed"),
    "two documents": ('{"alg":"Ed25519","kid":"erp"}{}', "malformed"),
    "list": (["alg"], "malformed"),
    "null": ("null", "malformed"),
    "NaN": ('{"alg":"Ed25519","kid":"erp","x":NaN}', "malformed"),
    "not UTF-8": (b'{"alg":"Ed25519","kid":"\xff"}', "malformed"),
    "UTF-16": (json.dumps(HEADER).encode("utf-16"), "malformed"),
    "byte order mark": (b'\xef\xbb\xbf{"alg":"Ed25519","kid":"erp"}', "malformed"),
    "deep": (DEEP, "malformed"),
    "huge": ({**HEADER, "x": "y" * 2000}, "malformed"),
    "huge number": ('{"alg":"Ed25519","kid":"erp","x":' + "9" * 690 + ",}", "malformed"),
    "empty": (b"", "malformed"),
}


@pytest.mark.parametrize(("header", "expected"), HEADERS.values(), ids=HEADERS)
def test_a_header_that_asks_for_anything_else_is_refused_even_when_signed(header: Any, expected: str) -> None:
    assert code(forged(header)) == expected


def test_keys_and_addresses_of_keys_in_the_header_are_not_looked_at() -> None:
    its_own = {"jwk": STRANGER.as_dict(private=False), "jku": "https://keys.example/", "x5u": "file:///", "x5c": ["A"]}
    assert code(forged({**HEADER, **its_own}, key=STRANGER)) == "bad_signature"
    assert RING.open(forged({**HEADER, **its_own})).issuer == "erp"


def test_the_public_key_is_no_secret_to_authenticate_with() -> None:
    for secret in (
        envelope.public_text(ERP).encode(),
        base64.urlsafe_b64decode(envelope.public_text(ERP) + "="),
        ERP.as_pem(private=False),
    ):
        head = b64(json.dumps({"alg": "HS256", "kid": "erp"})) + b"." + b64(BODY)
        assert code(head + b"." + b64(hmac.digest(secret, head, "sha256"))) == "bad_signature"
        lie = b64(json.dumps(HEADER)) + b"." + b64(BODY)
        assert code(lie + b"." + b64(hmac.new(secret, lie, hashlib.sha512).digest())) == "bad_signature"


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("HS256", OctKey.generate_key(256)), ("ES256", ECKey.generate_key()), ("RS256", RSAKey.generate_key(2048))],
    ids=["HS256", "ES256", "RS256"],
)
def test_other_algorithms_are_refused(algorithm: str, key: Any) -> None:
    text = jws.serialize_compact({"alg": algorithm, "kid": "erp"}, BODY, key, algorithms=[algorithm])
    assert code(text.encode()) == "bad_signature"


def test_no_signature_is_no_signature() -> None:
    head = GENUINE.rpartition(b".")[0]
    for wrong in (b"", b"A" * 86, b"A" * 85, b"A" * 87, b64(bytes(64)), b64(b"\1" + bytes(63)), b64(bytes(65))):
        assert code(head + b"." + wrong) == "bad_signature"
    none = b64('{"alg":"none","kid":"erp"}') + b"." + b64(BODY) + b"."
    assert code(none) == "bad_signature"
    assert code(none[:-1]) == "malformed"


def spellings(segment: bytes) -> Iterator[bytes]:
    """Other base64 that a lenient decoder takes for the same bytes."""
    yield segment + b"="
    yield segment + b"=="
    yield segment + b"\n"
    yield b" " + segment
    yield segment[:5] + b"\r\n" + segment[5:]
    yield segment[:5] + b"=" + segment[5:]
    yield segment[:5] + b"!" + segment[5:]
    if len(segment) % 4 == 0:
        yield segment + b"A"
    last = envelope._ALPHABET.index(segment[-1])
    for bits in range(1, {0: 1, 2: 16, 3: 4}[len(segment) % 4]):  # the bits that no byte holds
        yield segment[:-1] + envelope._ALPHABET[last ^ bits : (last ^ bits) + 1]


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("body", [BODY, BODY + b" ", BODY + b"  "])
def test_there_is_one_spelling_of_a_message(part: int, body: bytes) -> None:
    """Signed anew over the other spelling, so that only the spelling is at fault."""
    for segment in spellings(envelope.sign(body, ERP, "erp").split(b".")[part]):
        parts = envelope.sign(body, ERP, "erp").split(b".")
        parts[part] = segment
        if part < 2:
            head = parts[0] + b"." + parts[1]
            parts[2] = mark(head)
        assert code(b".".join(parts)) in {"malformed", "bad_signature"}


def test_the_classic_alphabet_is_not_ours() -> None:
    body = b"\xfb\xef\xbe\xff\xff\xff"
    head, text, _ = envelope.sign(body, ERP, "erp").split(b".")
    assert text == b"----____"
    for other in (b"++++____", b"----////", rb"\u002d---____", b'"---____'):
        lie = head + b"." + other
        assert code(lie + b"." + mark(lie)) == "malformed"


@pytest.mark.parametrize("dots", [0, 1, 3, 4, 1000])
def test_two_dots_no_more_no_less(dots: int) -> None:
    assert code(b"eyJ" + b".eyJ" * dots) == "malformed"
    if dots > 2:
        assert code(GENUINE + b"." * (dots - 2)) == "malformed"
        assert code(b"." + GENUINE) == "malformed"


def test_every_truncation_is_refused() -> None:
    for end in range(len(GENUINE)):
        assert code(GENUINE[:end]) in {"malformed", "bad_signature"}
        assert end == 0 or code(GENUINE[end:]) in {"malformed", "bad_signature"}


def test_every_single_bit_counts() -> None:
    for at, bit in itertools.product(range(len(GENUINE)), range(8)):
        flipped = bytearray(GENUINE)
        flipped[at] ^= 1 << bit
        assert code(bytes(flipped)) in {"malformed", "bad_signature", "unsigned"}


def test_parts_of_genuine_messages_do_not_combine() -> None:
    other = envelope.sign(BODY.replace(b"b1", b"b2"), ERP, "erp").split(b".")
    noc = envelope.sign(BODY, NOC, "noc").split(b".")
    mine = GENUINE.split(b".")
    for parts in itertools.product(*zip(mine, other, noc, strict=True)):
        message = b".".join(parts)
        if message in (GENUINE, b".".join(other), b".".join(noc)):
            assert RING.open(message)
        else:
            assert code(message) == "bad_signature"


@given(st.binary(max_size=400) | st.text(alphabet=envelope._ALPHABET.decode() + ".={", max_size=400).map(str.encode))
@example(b"e30.e30." + b"A" * 86)
@example(b"bnVsbA.e30." + b"A" * 86)
def test_no_bytes_open_or_crash(payload: bytes) -> None:
    assert code(payload) in {"malformed", "bad_signature", "unsigned"}


@given(st.binary(max_size=400), st.binary(max_size=40), st.sampled_from([ERP, NOC, STRANGER]))
def test_no_signed_header_crashes(header: bytes, body: bytes, key: OKPKey) -> None:
    assert code(forged(header, body, key)) in {"malformed", "bad_signature"}


# -- for us, and of now ------------------------------------------------------------------------------------------

SIGNED = Opened(BODY, "erp", frozenset({"billing"}))
UNSIGNED = Opened(BODY, None, EVERY_ROLE)
FIT: dict[str, Any] = {"issuer": "erp", "ts": NOW - 1000, "expires": NOW + HOUR, "aud": ["gw1"]}


def admitted(opened: Opened = SIGNED, **claims: Any) -> str:
    try:
        RING.admit(opened, name="b1", now=NOW, **{**FIT, **claims})
    except Rejected as e:
        if e.batch != "b1":
            return "without the batch's id"
        return e.code + (f" {e.detail.partition(':')[0]}" if e.code == "malformed" else "")
    return "admitted"


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, "admitted"),
        ({"aud": ["gw2", "all"]}, "admitted"),
        ({"aud": ["gw2"]}, "wrong_audience"),
        ({"aud": []}, "wrong_audience"),
        ({"aud": ["GW1"]}, "wrong_audience"),
        ({"aud": "gw1"}, "wrong_audience"),  # text is no list of names: its letters are compared
        ({"channel": "gw1"}, "admitted"),
        ({"channel": "all"}, "wrong_audience"),
        ({"channel": "all", "aud": ["gw1", "all"]}, "admitted"),
        ({"channel": "gw2", "aud": ["gw2"]}, "wrong_audience"),
        ({"ts": NOW + 5 * MINUTE}, "admitted"),
        ({"ts": NOW + 5 * MINUTE + 1}, "from_the_future"),
        ({"ts": NOW - 24 * HOUR}, "admitted"),
        ({"ts": NOW - 24 * HOUR - 1}, "expired"),
        ({"ts": 1 << 80}, "from_the_future"),
        ({"ts": -(1 << 80)}, "expired"),
        ({"expires": NOW + 1}, "admitted"),
        ({"expires": NOW}, "expired"),
        ({"expires": -(1 << 80)}, "expired"),
        ({"expires": 1 << 80}, "admitted"),
        ({"issuer": "noc"}, "bad_signature"),
        ({"issuer": ""}, "bad_signature"),
        ({"issuer": None}, "malformed issuer"),
        ({"ts": None}, "malformed ts"),
        ({"expires": None}, "malformed expires"),
        ({"aud": None}, "malformed aud"),
    ],
)
def test_a_signed_batch_is_for_us_and_of_now(claims: dict[str, Any], expected: str) -> None:
    assert admitted(**claims) == expected


def test_of_an_unsigned_batch_only_the_expiry_is_judged() -> None:
    anything = {"issuer": "noc", "ts": NOW + HOUR, "aud": ["gw9"], "channel": "all"}
    assert admitted(UNSIGNED, **anything) == "admitted"
    assert admitted(UNSIGNED, issuer=None, ts=None, aud=None, expires=None) == "admitted"
    assert admitted(UNSIGNED, **anything, expires=NOW) == "expired"


# -- keys --------------------------------------------------------------------------------------------------------


def test_keys_come_back_from_their_texts() -> None:
    key = envelope.generate()
    again = envelope.read_private(envelope.private_text(key))
    assert envelope.public_text(again) == envelope.public_text(key) != envelope.public_text(envelope.generate())
    keyring = Keyring([Issuer("erp", (public(key),), EVERY_ROLE)], required=True, audience=[], max_ahead=0, max_age=0)
    assert keyring.open(envelope.sign(BODY, again, "erp")).body == BODY
    assert keyring.names == ["erp"]
    assert not public(key).is_private


def test_openssl_keys_are_read(tmp_path: Path) -> None:
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True, text=True)
    key = envelope.read_private(made.stdout)
    told = subprocess.run(["openssl", "pkey", "-pubout"], check=True, input=made.stdout, capture_output=True, text=True)
    with pytest.raises(ValueError, match=envelope.public_text(key)):
        envelope.read_public(told.stdout)


def wrapped(kind: str, key: OKPKey = ERP) -> str:
    raw = base64.urlsafe_b64decode(envelope.public_text(key) + "=")
    ssh = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + raw
    forms: dict[str, Callable[[], str]] = {
        "hexadecimal": raw.hex,
        "padded": lambda: envelope.public_text(key) + "=",
        "classic base64": lambda: base64.b64encode(raw).decode(),
        "PEM": lambda: ERP.as_pem(private=False).decode(),
        "SPKI": lambda: base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode(),
        "ssh": lambda: f"ssh-ed25519 {base64.b64encode(ssh).decode()} erp@office",
        "JWK": lambda: json.dumps(key.as_dict(private=False)),
    }
    return forms[kind]()


@pytest.mark.parametrize("kind", ["hexadecimal", "padded", "classic base64", "PEM", "SPKI", "ssh", "JWK"])
def test_a_public_key_in_another_form_is_answered_with_the_right_one(kind: str) -> None:
    with pytest.raises(ValueError, match=f'write .*"{envelope.public_text(ERP)}"'):
        envelope.read_public(wrapped(kind))


def test_a_private_key_is_recognised_and_not_repeated() -> None:
    pem = envelope.private_text(ERP)
    lines = "".join(pem.splitlines()[1:-1])
    seed = base64.b64decode(lines)[-32:]
    both = seed + base64.urlsafe_b64decode(envelope.public_text(ERP) + "=")
    for text in (pem, lines, json.dumps(ERP.as_dict(private=True)), both.hex(), b64(both).decode()):
        with pytest.raises(ValueError, match="this is a private key") as refused:
            envelope.read_public(text)
        assert b64(seed).decode() not in str(refused.value)


@pytest.mark.parametrize("text", ["", "x", "A" * 42, "A" * 44, "key", "ã" * 43, "A" * 42 + "!", "ssh-ed25519 AAAA"])
def test_what_is_no_key_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match="43 characters of base64url"):
        envelope.read_public(text)


@pytest.mark.parametrize("y", sorted(WORTHLESS))
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_keys_under_which_anybody_can_sign_are_refused(y: int, sign: int) -> None:
    with pytest.raises(ValueError, match="anybody could sign"):
        envelope.read_public(b64((y | sign).to_bytes(32, "little")).decode())


def test_such_a_key_would_indeed_be_forged() -> None:
    """The reason for the refusal: a signature without a secret, under the key that is all zeros."""
    careless = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": "A" * 43})
    keyring = Keyring([Issuer("erp", (careless,), EVERY_ROLE)], required=True, audience=[], max_ahead=0, max_age=0)
    easy = b64((1).to_bytes(32, "little") + bytes(32))
    head = b64(json.dumps(HEADER))
    accepted = 0
    for n in range(64):
        try:
            keyring.open(head + b"." + b64(f"{n}") + b"." + easy)
            accepted += 1
        except Rejected:
            pass
    assert accepted


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no private key in PEM form"),
        (envelope.public_text(ERP), "no private key in PEM form"),
        (ERP.as_pem(private=False).decode(), "no private key in PEM form"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not an Ed25519 key"),
        (RSAKey.generate_key(2048).as_pem(private=True).decode(), "Ed25519"),
        (ECKey.generate_key().as_pem(private=True).decode(), "Ed25519"),
        (OKPKey.generate_key("Ed448").as_pem(private=True).decode(), "another kind"),
        (OKPKey.generate_key("X25519").as_pem(private=True).decode(), "another kind"),
        (ERP.as_pem(private=True, password="x").decode(), "passphrase"),
    ],
)
def test_what_is_no_private_key_is_refused_with_the_remedy(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        envelope.read_private(text)


def test_a_public_key_signs_nothing() -> None:
    with pytest.raises(ValueError, match="public key"):
        envelope.sign(BODY, public(ERP), "erp")
