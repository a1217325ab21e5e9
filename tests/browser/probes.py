"""How operating systems ask whether they are behind a captive portal: request, what the vendor's server says, verdict.

Each probe is sent byte for byte as its system sends it (the fields that matter, in its order), and its answer is judged
as that system judges: ``free``, ``portal`` (it raises its sheet or notification and opens where the answer leads), or
``lost``. The servers stand on one address of the lab's internet, told apart by Host.
"""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tests.lab.netns import Namespace

APPLE = b"<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>\n"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Probe:
    """``free``: whether the system takes an answer for the open Internet."""

    system: str
    host: str
    path: str
    agent: str
    real: tuple[int, bytes]
    free: Callable[[Answer], bool]
    fields: str = ""

    @property
    def request(self) -> bytes:
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\n"
            + (f"User-Agent: {self.agent}\r\n" if self.agent else "")
            + f"{self.fields}\r\n"
        ).encode()

    def verdict(self, answer: Answer) -> str:
        if self.free(answer):
            return "free"
        leads = answer.status in {301, 302, 303, 307, 308} and answer.headers.get("location", "").startswith("http")
        return "portal" if leads or (200 <= answer.status < 300 and answer.body) else "lost"


def _is(body: bytes) -> Callable[[Answer], bool]:
    return lambda answer: answer.status == 200 and answer.body.strip() == body.strip()


_ANDROID = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/60.0.3112.32 Safari/537.36"
_CLOSE = "Accept: */*\r\nConnection: close\r\n"

PROBES = (
    Probe(
        "Apple: iOS, iPadOS, macOS", "captive.apple.com", "/hotspot-detect.html", "CaptiveNetworkSupport-481.0.1 wispr",
        (200, APPLE), lambda a: a.status == 200 and b"<BODY>Success</BODY>" in a.body, "Connection: close\r\n",
    ),
    Probe(
        "Android", "connectivitycheck.gstatic.com", "/generate_204", _ANDROID, (204, b""),
        lambda a: a.status == 204, "Connection: close\r\nAccept-Encoding: gzip\r\n",
    ),
    Probe(
        "Android, second try", "www.google.com", "/gen_204", _ANDROID, (204, b""), lambda a: a.status == 204,
        "Connection: close\r\nAccept-Encoding: gzip\r\n",
    ),
    Probe(
        "ChromeOS, Chromium", "www.gstatic.com", "/generate_204", _ANDROID, (204, b""), lambda a: a.status == 204,
        "Pragma: no-cache\r\nCache-Control: no-cache\r\nConnection: close\r\n",
    ),
    Probe(
        "Windows 10, 11", "www.msftconnecttest.com", "/connecttest.txt", "Microsoft NCSI",
        (200, b"Microsoft Connect Test"), _is(b"Microsoft Connect Test"), "Connection: Close\r\n",
    ),
    Probe(
        "Windows 7, 8", "www.msftncsi.com", "/ncsi.txt", "Microsoft NCSI", (200, b"Microsoft NCSI"),
        _is(b"Microsoft NCSI"), "Connection: Close\r\n",
    ),
    Probe(
        "Firefox", "detectportal.firefox.com", "/canonical.html",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        (200, b'<meta http-equiv="refresh" content="0;url=https://support.mozilla.org/kb/captive-portal"/>'),
        _is(b'<meta http-equiv="refresh" content="0;url=https://support.mozilla.org/kb/captive-portal"/>'),
        "Cache-Control: no-cache\r\nPragma: no-cache\r\nConnection: keep-alive\r\n",
    ),
    Probe(
        "GNOME (NetworkManager)", "nmcheck.gnome.org", "/check_network_status.txt", "",
        (200, b"NetworkManager is online\n"), lambda a: a.body.startswith(b"NetworkManager is online"), _CLOSE,
    ),
    Probe(
        "Debian (NetworkManager)", "network-test.debian.org", "/nm", "", (200, b"NetworkManager is online\n"),
        lambda a: a.body.startswith(b"NetworkManager is online"), _CLOSE,
    ),
    Probe(
        "KDE neon (NetworkManager)", "networkcheck.kde.org", "/", "", (200, b"OK\n"),
        lambda a: a.status == 200 and a.body.startswith(b"OK"), _CLOSE,
    ),
    Probe(
        "Ubuntu (NetworkManager)", "connectivity-check.ubuntu.com", "/", "", (204, b""),
        lambda a: a.status == 204, _CLOSE,
    ),
    Probe(
        "Kindle", "spectrum.s3.amazonaws.com", "/kindle-wifi/wifistub.html", "",
        (200, b"81ce4465-7167-4dcb-835b-dcc9e44c112a"),
        lambda a: b"81ce4465-7167-4dcb-835b-dcc9e44c112a" in a.body, _CLOSE,
    ),
)  # fmt: skip


class Vendors:
    """All the vendors' servers, on ``address`` in a namespace, until closed."""

    def __init__(self, space: Namespace, address: str) -> None:
        self._said = {(probe.host, probe.path): probe.real for probe in PROBES}
        self._listener = space.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, 80))
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._serve, name="vendors", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(5)
                data = b""
                while b"\r\n\r\n" not in data and (more := sock.recv(4096)):
                    data += more
                path = data.split(b" ")[1].decode()
                host = data.split(b"Host: ")[1].split(b"\r\n")[0].decode()
                status, body = self._said[host, path]
                sock.sendall(
                    b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body)
                )

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def send(space: Namespace, source: str, address: str, request: bytes) -> Answer:
    """One probe from ``source``, its answer as it came."""
    with space.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.bind((source, 0))
        sock.connect((address, 80))
        sock.sendall(request)
        response = http.client.HTTPResponse(sock, method="GET")
        response.begin()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
