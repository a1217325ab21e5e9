"""What the redirector says to the first bytes of a connection. Pure: bytes in, verdict out.

The answer hangs on the request line alone. Header fields are waited for, because a client that is answered before it
has finished may see a reset instead, but they are not looked at: no Host, no NUL byte, no folded line changes where a
restricted browser has to go, and nothing of them can reach the answer.

| what came                                                     | answer |
|---------------------------------------------------------------|--------|
| a head of HTTP/1.x, any method, origin- or absolute-form, CONNECT, more behind it | 302 |
| something that cannot become one: HTTP/0.9, the HTTP/2 preface, TLS, noise        | 400, at once |
| more than the limit without an end                            | 431    |
| neither within the time                                       | 408 by the caller |
"""

from __future__ import annotations

import html
import re
from enum import Enum

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}"
_TARGET = rb"[^\x00-\x20\x7f]+"
_LINE = re.compile(rb"(" + _TOKEN + rb") " + _TARGET + rb" HTTP/1\.\d\r?\n")
_LINE_SO_FAR = re.compile(
    _TOKEN + rb"(?: (?:" + _TARGET + rb"(?: (?:H|HT|HTT|HTTP|HTTP/|HTTP/1|HTTP/1\.|HTTP/1\.\d\r?)?)?)?)?"
)
_HEAD_END = re.compile(rb"\n\r?\n")

is_plain_get = re.compile(rb"GET " + _TARGET + rb" HTTP/1\.[01]\r\n").match
"""Whether the first line is what nearly all clients send; one look instead of :func:`judge` on the hot path."""
HEAD_END = b"\r\n\r\n"


class Verdict(Enum):
    """What to do; the value is the HTTP status, 0 for waiting."""

    MORE = 0
    FOUND = 302
    FOUND_NO_BODY = -302
    BAD = 400
    SLOW = 408
    LARGE = 431

    @property
    def status(self) -> int:
        return abs(self.value)


def judge(data: bytes, limit: int) -> Verdict:
    """What the bytes received so far deserve, where a head may have ``limit`` bytes."""
    start = 0
    while data.startswith((b"\r\n", b"\n"), start):  # RFC 9112 §2.2: empty lines before a request are skipped
        start += 1 + (data[start] == 0x0D)
    line = _LINE.match(data, start)
    if line is None:
        rest = data[start:]
        if rest in {b"", b"\r"} or _LINE_SO_FAR.fullmatch(rest):
            return Verdict.LARGE if len(data) > limit else Verdict.MORE
        return Verdict.BAD
    end = _HEAD_END.search(data, line.end() - 1)
    if end is None or end.end() > limit:
        return Verdict.LARGE if len(data) > limit else Verdict.MORE
    return Verdict.FOUND_NO_BODY if line[1] == b"HEAD" else Verdict.FOUND


def ends_clean(data: bytes) -> bool:
    """Whether a client that sent a whole head has nothing more to say: no body, no second request."""
    return data.startswith((b"GET ", b"HEAD ")) and data.endswith(HEAD_END)


def answers(url: str) -> dict[Verdict, bytes]:
    """Every answer, ready to be written. ``url`` comes from the configuration, which has checked it."""
    link = html.escape(url)
    page = f'<!doctype html><title>302</title><a href="{link}">{link}</a>\n'.encode()
    # 302 for every method. 303 would say more exactly "fetch that with GET", 307 would make a browser send its form to
    # us; every browser and captive-portal detector follows a 302 with GET, and some know nothing else. Never 301,
    # 308: those are cached for ever, and a customer who has paid would still land on the notice.
    found = _response("302 Found", page, f"Location: {url}\r\nContent-Type: text/html; charset=utf-8\r\n")
    plain = "Content-Type: text/plain\r\n"
    return {
        Verdict.FOUND: found,
        Verdict.FOUND_NO_BODY: found.removesuffix(page),
        Verdict.BAD: _response("400 Bad Request", b"Bad request.\n", plain),
        Verdict.SLOW: _response("408 Request Timeout", b"Request timeout.\n", plain),
        Verdict.LARGE: _response("431 Request Header Fields Too Large", b"Request head too large.\n", plain),
    }


def _response(status: str, body: bytes, fields: str) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n"
    )
    return head.encode("ascii") + b"\r\n" + body
