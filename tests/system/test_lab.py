"""The lab itself: a probe that cannot fail proves nothing, so each verdict is provoked once with plain nft rules."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import netns
from tests.lab.findings import Unmet, browses, is_cut_off, is_redirected, is_refused, wait_cut
from tests.lab.lab import Lab
from tests.lab.topology import BANK4, BANK6, WWW4, WWW6

SITES = (WWW4, WWW6)

RULES = """
table inet stand_in {
  chain pre {
    type filter hook prerouting priority -150;
    iifname "subs0" ip saddr 100.64.0.10 jump cut4
    iifname "subs0" ip6 saddr & ffff:ffff:ffff:ff00:: == 2001:db8:100:a00:: jump cut6
  }
  chain cut4 {
    ip daddr 198.51.100.80 accept
    meta l4proto tcp reject with tcp reset
    reject with icmp admin-prohibited
  }
  chain cut6 {
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    ip6 daddr 2001:db8:f::80 accept
    meta l4proto tcp reject with tcp reset
    reject with icmpv6 admin-prohibited
  }
  chain down {
    type filter hook forward priority 0;
    oifname "subs0" ip saddr != 198.51.100.80 ip daddr 100.64.0.10 drop
    oifname "subs0" ip6 saddr != 2001:db8:f::80 ip6 daddr & ffff:ffff:ffff:ff00:: == 2001:db8:100:a00:: drop
  }
}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def test_all_is_open_without_rules(lab: Lab) -> None:
    for address in (*SITES, BANK4, BANK6):
        host = f"[{address}]" if ":" in address else address
        assert lab.debtor.http(f"http://{host}/").status == 200
        assert lab.debtor.http(f"https://{host}/").status == 200
        assert lab.debtor.tcp(address, 443).outcome == "open"
        assert lab.debtor.udp(address, 443).outcome == "open"


def test_a_closed_port_is_told_from_an_open_one(lab: Lab) -> None:
    for address in SITES:
        assert lab.debtor.tcp(address, 9).outcome == "reset"
        assert lab.debtor.udp(address, 9).outcome == "icmp"


def test_refusals_and_dead_connections_are_seen(lab: Lab) -> None:
    old = [lab.debtor.flow(address, active=active) for address in SITES for active in (True, False)]
    innocent = [lab.neighbour.flow(address, active=active) for address in SITES for active in (True, False)]
    lab.nft(RULES)
    now = time.monotonic()
    for address in SITES:
        assert lab.debtor.tcp(address, 443).outcome == "reset"
        assert lab.debtor.udp(address, 443).outcome == "icmp"
        assert lab.neighbour.tcp(address, 443).outcome == "open"
    assert lab.debtor.tcp(WWW6, 443, source=lab.debtor.person.other_v6).outcome == "reset"
    assert lab.debtor.tcp(BANK4, 443).outcome == "open"
    assert lab.debtor.tcp(BANK6, 443).outcome == "open"
    assert all(flow.died_after(now) is not None for flow in old)
    assert all(flow.died_after(now, timeout=0.6) is None for flow in innocent)
    for flow in [*old, *innocent]:
        flow.close()


def test_silence_is_told_from_refusal(lab: Lab) -> None:
    lab.nft('table inet mute { chain c { type filter hook forward priority 0; iifname "subs0" drop; }; }\n')
    for address in SITES:
        assert lab.debtor.tcp(address, 443, timeout=0.2).outcome == "silent"
        assert lab.debtor.udp(address, 443, timeout=0.2).outcome == "silent"
        host = f"[{address}]" if ":" in address else address
        assert lab.debtor.http(f"http://{host}/", timeout=0.2).outcome == "silent"


def test_two_labs_do_not_meet(lab: Lab) -> None:
    with Lab() as other:
        other.nft(RULES)
        assert other.debtor.tcp(WWW4, 443).outcome == "reset"
        assert lab.debtor.tcp(WWW4, 443).outcome == "open"


CHILD = """
import signal, sys, time
from tests.lab.findings import Unmet, browses, is_cut_off, is_redirected, is_refused, wait_cut
from tests.lab.lab import Lab
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
try:
    with Lab() as lab:
        print(lab.network.gateway.name, lab.directory, flush=True)
        {body}
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("time.sleep(60)", signal.SIGINT),
        ("time.sleep(60)", signal.SIGTERM),
        ("raise SystemExit(3)", None),
    ],
    ids=["ctrl-c", "terminated", "exception"],
)
def test_nothing_is_left_behind(body: str, number: int | None) -> None:
    process = subprocess.Popen([sys.executable, "-c", CHILD.format(body=body)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout as out:
        name, directory = out.readline().split()
        if number is not None:
            assert (netns.RUN / name).exists()
            os.kill(process.pid, number)
        process.wait(20)
    assert not list(netns.RUN.glob(f"{netns.PREFIX}-{process.pid}-*"))
    assert not Path(directory).exists()


def test_what_a_killed_lab_left_is_swept_by_the_next() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(body="time.sleep(60)")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process, process.stdout as out:
        name, directory = out.readline().split()
        inside = netns.Namespace(name).pids()
        assert inside, "the broker runs in there"
        process.kill()
        process.wait(10)
    with Lab():
        assert not list(netns.RUN.glob(f"{netns.PREFIX}-{process.pid}-*"))
        assert not any(netns.alive(pid) for pid in inside)
        assert not Path(directory).exists()


PROMISE_RULES = """
table inet stand_in {
  set waived4 { type ipv4_addr; flags timeout; elements = { 100.64.0.10 timeout 1s }; }
  set waived6 { type ipv6_addr; flags timeout; elements = { 2001:db8:100:a00:: timeout 1s }; }
  chain pre {
    type filter hook prerouting priority -150;
    iifname "subs0" ip saddr @waived4 accept
    iifname "subs0" ip6 saddr & ffff:ffff:ffff:ff00:: @waived6 accept
    iifname "subs0" ip saddr 100.64.0.10 meta l4proto tcp reject with tcp reset
    iifname "subs0" ip6 saddr & ffff:ffff:ffff:ff00:: == 2001:db8:100:a00:: meta l4proto tcp reject with tcp reset
  }
}
"""


def test_the_end_of_a_promise_is_judged(lab: Lab) -> None:
    lab.nft(PROMISE_RULES)
    now = time.monotonic()
    with pytest.raises(Unmet, match="before the promise ended"):
        wait_cut(lab.debtor, now + 3)
    given = time.monotonic()  # the kernel counts from a moment behind this one, however long nft takes to end
    lab.nft(
        "flush set inet stand_in waived4\nflush set inet stand_in waived6\n"
        "add element inet stand_in waived4 { 100.64.0.10 timeout 1s }\n"
        "add element inet stand_in waived6 { 2001:db8:100:a00:: timeout 1s }\n"
    )
    assert wait_cut(lab.debtor, given + 1)
    with pytest.raises(Unmet, match="after the promise ended"):
        wait_cut(lab.neighbour, time.monotonic() - 9.9)


def test_the_words_of_the_story_can_be_false(lab: Lab) -> None:
    for claim in (is_refused, is_cut_off, is_redirected):
        with pytest.raises(Unmet):
            claim(lab.debtor)
    assert browses(lab.debtor)
    lab.nft(RULES)
    assert is_refused(lab.debtor)
    assert is_cut_off(lab.debtor)
    with pytest.raises(Unmet):
        browses(lab.debtor)
