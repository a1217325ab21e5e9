"""What the redirector says to the first bytes of a connection: one table, read in several ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.portal.head import HEAD_END, Verdict, answers, ends_clean, is_plain_get, judge

LIMIT = 2048
FOUND, NO_BODY, BAD, MORE, LARGE = (
    Verdict.FOUND,
    Verdict.FOUND_NO_BODY,
    Verdict.BAD,
    Verdict.MORE,
    Verdict.LARGE,
)

TABLE = [
    ("a browser", b"GET / HTTP/1.1\r\nHost: example.net\r\n\r\n", FOUND),
    ("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n", FOUND),
    ("HTTP/1.1 without Host", b"GET / HTTP/1.1\r\n\r\n", FOUND),
    ("HEAD gets no body", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", NO_BODY),
    ("a form", b"POST /login HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", FOUND),
    ("a form whose body is still to come", b"POST /login HTTP/1.1\r\nContent-Length: 5\r\n\r\n", FOUND),
    ("any method", b"M-SEARCH * HTTP/1.1\r\n\r\n", FOUND),
    ("pipelined", b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", FOUND),
    ("absolute form", b"GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n", FOUND),
    ("CONNECT", b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n", FOUND),
    ("bare line feeds", b"GET / HTTP/1.1\nHost: a\n\n", FOUND),
    ("empty lines before", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", FOUND),
    ("NUL in a field", b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", FOUND),
    ("high bytes in the path", b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", FOUND),
    ("Location in the path", b"GET /%0d%0aLocation:%20http://evil/ HTTP/1.1\r\n\r\n", FOUND),
    ("nothing yet", b"", MORE),
    ("an empty line", b"\r\n", MORE),
    ("half a method", b"GE", MORE),
    ("half a line", b"GET /index.html HTT", MORE),
    ("line without its end", b"GET / HTTP/1.1\r", MORE),
    ("half a head", b"GET / HTTP/1.1\r\nHost: exam", MORE),
    ("head without its last byte", b"GET / HTTP/1.1\r\nHost: a\r\n\r", MORE),
    ("HTTP/0.9", b"GET /\r\n", BAD),
    ("no version", b"GET /index.html\r\nHost: a\r\n\r\n", BAD),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", BAD),
    ("TLS", bytes.fromhex("1603010200010001fc0303"), BAD),
    ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", BAD),
    ("NUL in the path", b"GET /\0 HTTP/1.1\r\n\r\n", BAD),
    ("NUL alone", b"\0", BAD),
    ("two spaces", b"GET  / HTTP/1.1\r\n\r\n", BAD),
    ("space in the path", b"GET /a b HTTP/1.1\r\n\r\n", BAD),
    ("a method without end", b"A" * 40, BAD),
    ("something behind the version", b"GET / HTTP/1.1 x\r\n\r\n", BAD),
    ("an HTTP of the future", b"GET / HTTP/3.0\r\n\r\n", BAD),
    ("a path without end", b"GET /" + b"a" * LIMIT, LARGE),
    ("a cookie without end", b"GET / HTTP/1.1\r\nCookie: " + b"a" * LIMIT, LARGE),
    ("a whole head that is too large", b"GET / HTTP/1.1\r\nCookie: " + b"a" * LIMIT + HEAD_END, LARGE),
    ("empty lines without end", b"\r\n" * LIMIT, LARGE),
]


@pytest.mark.parametrize(("data", "verdict"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_table(data: bytes, verdict: Verdict) -> None:
    assert judge(data, LIMIT) is verdict


@pytest.mark.parametrize(("data", "verdict"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_byte_by_byte_ends_at_the_same_verdict(data: bytes, verdict: Verdict) -> None:
    found = next((v for n in range(len(data) + 1) if (v := judge(data[:n], LIMIT)) is not MORE), MORE)
    assert found is verdict


def test_a_head_of_exactly_the_limit_is_taken() -> None:
    data = b"GET / HTTP/1.1\r\nX: "
    data += b"a" * (LIMIT - len(data) - 4) + HEAD_END
    assert len(data) == LIMIT
    assert judge(data, LIMIT) is FOUND
    assert judge(data + b"x", LIMIT) is FOUND
    assert judge(b"GET / HTTP/1.1\r\nX: a" + data[19:], LIMIT) is LARGE


@given(st.binary(max_size=300) | st.sampled_from([row[1] for row in TABLE]))
def test_the_hot_path_never_disagrees(data: bytes) -> None:
    if is_plain_get(data) and data.endswith(HEAD_END) and len(data) <= LIMIT:
        assert judge(data, LIMIT) is FOUND
        assert ends_clean(data)


@given(st.binary(max_size=4000), st.integers(256, 2048))
def test_noise_gets_a_verdict_and_a_full_buffer_never_waits(data: bytes, limit: int) -> None:
    verdict = judge(data, limit)
    if len(data) > limit:
        assert verdict is not MORE


@given(st.text(alphabet="GET /HTP1.\r\n:aPOS\0", max_size=60))
def test_nearly_http_is_judged_the_same_in_pieces(text: str) -> None:
    data = text.encode()
    verdicts = [judge(data[:n], LIMIT) for n in range(len(data) + 1)]
    settled = [v for v in verdicts if v is not MORE]
    # what was said once stays said: more bytes cannot turn a 400 into a 302
    assert len(set(settled)) <= 1


def test_answers_are_whole_and_uncacheable() -> None:
    for verdict, data in answers("http://aviso.example.net/?a=1&b=2").items():
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:])
        assert lines[0].startswith(f"HTTP/1.1 {verdict.status} ")
        assert fields["Cache-Control"] == "no-store"
        assert fields["Connection"] == "close"
        if verdict is NO_BODY:
            assert not body
            assert int(fields["Content-Length"]) > 0
        else:
            assert int(fields["Content-Length"]) == len(body)


def test_the_place_to_go_is_the_configured_one_escaped_in_the_page() -> None:
    found = answers("http://aviso.example.net/?a=1&b=2")[FOUND]
    assert b"\r\nLocation: http://aviso.example.net/?a=1&b=2\r\n" in found
    assert b'href="http://aviso.example.net/?a=1&amp;b=2"' in found


@pytest.mark.parametrize(
    ("data", "clean"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"HEAD / HTTP/1.1\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\n\r\nx", False),
    ],
)
def test_only_a_client_with_nothing_left_to_say_is_closed_at_once(data: bytes, clean: bool) -> None:
    assert ends_clean(data) is clean
