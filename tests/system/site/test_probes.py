"""The exact probe of each operating system, sent through a real gateway, before and after payment."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.browser.probes import PROBES, Vendors, send
from tests.browser.stage import Stage
from tests.lab.topology import SITE_URL

VENDOR = "198.51.100.20"


@pytest.fixture(scope="module")
def vendors(stage: Stage) -> Iterator[None]:
    internet = stage.lab.network.internet
    internet.ip(f"addr add {VENDOR}/24 dev lab0")
    one = Vendors(internet, VENDOR)
    yield
    one.close()


def verdicts(stage: Stage) -> dict[str, str]:
    space, source = stage.lab.network.subscriber, stage.lab.debtor.person.v4
    found = {}
    for probe in PROBES:
        answer = send(space, source, VENDOR, probe.request)
        found[probe.system] = probe.verdict(answer)
        if found[probe.system] == "portal":
            assert urlsplit(answer.headers["location"]).netloc == urlsplit(SITE_URL).netloc
            assert answer.headers["cache-control"] == "no-store"  # or it would be believed after the payment
            assert probe.host.encode() not in answer.body
    return found


def test_every_system_raises_its_sheet_and_believes_the_payment_at_once(stage: Stage, vendors: None) -> None:
    everybody = {probe.system for probe in PROBES}
    stage.become("probes")
    assert verdicts(stage) == dict.fromkeys(everybody, "free")
    stage.owe()
    assert verdicts(stage) == dict.fromkeys(everybody, "portal")
    stage.say("paid")
    assert verdicts(stage) == dict.fromkeys(everybody, "free")


def test_a_reminder_raises_the_sheet_until_it_was_read(stage: Stage, vendors: None) -> None:
    everybody = {probe.system for probe in PROBES}
    stage.become("probes-notice")
    stage.owe("notice")
    assert verdicts(stage) == dict.fromkeys(everybody, "portal")
    for _ in range(3):  # on the screen three times, never clicked away
        assert stage.lab.debtor.http(SITE_URL).status == 200
    stage.lab.wait_until(lambda: verdicts(stage) == dict.fromkeys(everybody, "free"), "a reminder blocks")
