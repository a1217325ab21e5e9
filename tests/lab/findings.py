"""What a subscriber finds, in words that are true or raise: browses, is redirected, is refused, is cut off in time.

Each returns what it measured, for people, or raises :class:`Unmet`.
"""

from __future__ import annotations

import time

from tests.lab.client import Answer, Device
from tests.lab.manager import Ack
from tests.lab.topology import SITE_URL, WWW4, WWW6

LATE = 1.0  # seconds a promise may end late: the contract's "at that second"
EARLY = 0.05  # seconds it may end early: the daemon rounds to its kernel's timer
AT_ONCE = 250.0  # ms within which a refusal counts as immediate; a hang is measured in seconds


class Unmet(AssertionError):
    """A step found something else than the story tells."""


def expect(condition: object, otherwise: object) -> None:
    """Raise :class:`Unmet` saying ``otherwise`` unless ``condition`` holds."""
    if not condition:
        raise Unmet(str(otherwise))


def url(address: str, scheme: str = "http") -> str:
    """A URL of a literal address."""
    return f"{scheme}://[{address}]/" if ":" in address else f"{scheme}://{address}/"


def both(first: object, second: object) -> str:
    """Two findings, IPv4 and IPv6, for people."""
    return f"v4 {first}, v6 {second}"


def opens(device: Device, address: str, says: str) -> tuple[Answer, Answer]:
    """Http and https of a site open and are the real site, not the portal."""
    plain, secure = device.http(url(address)), device.http(url(address, "https"))
    for answer in (plain, secure):
        expect(answer.status == 200 and says in answer.body, f"{device.person.sub} -> {address}: {answer}")
    return plain, secure


def browses(device: Device) -> str:
    """Everything works for this device, on IPv4 and IPv6: http, https, QUIC's port."""
    findings = []
    for address in (WWW4, WWW6):
        plain, secure = opens(device, address, "www")
        quic = device.udp(address, 443)
        expect(quic.outcome == "open", f"UDP 443 to {address}: {quic}")
        findings.append(f"http {plain.ms:.1f} https {secure.ms:.1f} udp {quic.ms:.1f} ms")
    return both(*findings)


def is_redirected(device: Device) -> str:
    """Http of both families gets a temporary, uncacheable redirect to the notice page."""
    answers = [device.http(url(address)) for address in (WWW4, WWW6)]
    for answer in answers:
        expect(answer.status == 302, f"{answer} instead of 302")
        expect(answer.location == SITE_URL, f"Location is {answer.location!r}, not {SITE_URL!r}")
        expect("no-store" in answer.headers.get("cache-control", ""), f"a browser may keep it: {answer.headers}")
    return both(*answers)


def is_refused(device: Device) -> str:
    """Https of both families is refused at once, with RST."""
    attempts = [device.tcp(address, 443) for address in (WWW4, WWW6)]
    for attempt in attempts:
        expect(attempt.outcome == "reset" and attempt.ms < AT_ONCE, f"https: {attempt}")
    return both(*attempts)


def is_cut_off(device: Device) -> str:
    """Neither http nor https of either family reaches the internet, portal or no portal."""
    found = is_refused(device)
    for address in (WWW4, WWW6):
        answer = device.http(url(address), timeout=1.0)
        expect(answer.status != 200 and "www" not in answer.body, f"http to {address} got through: {answer}")
    return found


def wait_cut(device: Device, ends: float) -> str:
    """Wait until the device is refused again on both families, and judge how far from ``ends`` (monotonic) that was."""
    last_open = dict.fromkeys((WWW4, WWW6), 0.0)
    cut: dict[str, float] = {}
    while len(cut) < len(last_open):
        for address in last_open.keys() - cut.keys():
            attempt = device.tcp(address, 443, timeout=0.5)
            now = time.monotonic() - ends
            expect(now < 10, f"{address} is still {attempt} {now:.1f} s after the promise ended")
            if attempt.outcome == "open":
                last_open[address] = now
            else:
                expect(attempt.outcome == "reset", f"{address}: {attempt}")
                cut[address] = now
        time.sleep(0.005)
    for address, moment in cut.items():
        expect(moment >= -EARLY, f"{address} was refused {-moment:.2f} s before the promise ended")
        expect(last_open[address] <= LATE, f"{address} was open {last_open[address]:.2f} s after the promise ended")
    return both(*(f"{cut[address] * 1000:+.0f} ms" for address in (WWW4, WWW6)))


def applied(ack: Ack, n: int = 1) -> str:
    """All ``n`` commands were applied; says how long it took."""
    expect(ack.count("applied") == n, f"not applied: {ack.document}")
    return f"ack in {ack.ms:.1f} ms, enforced in {ack.document.get('enforced_ms')} ms"
