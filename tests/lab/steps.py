"""The story of the main job, step by step: told by ``make run``, asserted one by one by tests/system/test_story.py.

A step is a function of the :class:`Story`. It returns what it measured, for people, or raises
:class:`~tests.lab.findings.Unmet`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.lab.client import Attempt, Flow
from tests.lab.findings import (
    AT_ONCE,
    applied,
    both,
    browses,
    expect,
    is_cut_off,
    is_redirected,
    is_refused,
    opens,
    url,
    wait_cut,
)
from tests.lab.lab import Lab, bind
from tests.lab.manager import Ack, Json, from_now, invoices
from tests.lab.netns import alive
from tests.lab.topology import BANK4, BANK6, WWW4, WWW6

PROMISE = 4.0  # seconds a promise of the story lasts


@dataclass
class Story:
    """The lab, and what one step leaves for a later one."""

    lab: Lab
    old: list[Flow] = field(default_factory=list)
    innocent: list[Flow] = field(default_factory=list)
    blocked: Ack | None = None
    batch: str = ""
    batch_commands: list[Json] = field(default_factory=list)
    promise_ends: float = 0.0
    broken: str = ""

    def close(self) -> None:
        """Hang up what is still connected."""
        for flow in [*self.old, *self.innocent]:
            flow.close()


@dataclass(frozen=True)
class Step:
    """A sentence of the story and how to make it true. ``key`` names it in a test."""

    key: str
    title: str
    play: Callable[[Story], str]


# -- the steps ------------------------------------------------------------------------------------------------------


def start(story: Story) -> str:
    """The daemon comes up and learns who has which address."""
    seconds = story.lab.start_daemon()
    people = [device.person for device in (story.lab.debtor, story.lab.neighbour, story.lab.promiser)]
    ack = story.lab.publish(*(bind(person) for person in people))
    return f"online in {seconds:.1f} s; bind: {applied(ack, 3)}"


def browse(story: Story) -> str:
    """Before anything happened: all open, and long connections are established."""
    lab = story.lab
    found = browses(lab.debtor)
    opens(lab.debtor, BANK4, "bank")
    opens(lab.debtor, BANK6, "bank")
    for address in (WWW4, WWW6):
        for active in (True, False):
            story.old.append(lab.debtor.flow(address, active=active))
            story.innocent.append(lab.neighbour.flow(address, active=active))
    return found


def block(story: Story) -> str:
    """Billing blocks for debt, over MQTT."""
    command = {"op": "block", "sub": story.lab.debtor.person.sub, "reason": "debt", "invoices": invoices("F-1")}
    story.blocked = story.lab.publish(command)
    return applied(story.blocked)


def old_connections(story: Story) -> str:
    """Connections of before the block carry nothing any more, whether they talk or only listen."""
    expect(story.blocked, "there was no block")
    assert story.blocked is not None
    findings = []
    for flow in story.old:
        kind = "talking" if flow.active else "listening"
        died = flow.died_after(story.blocked.at)
        expect(died is not None, f"a {kind} connection lives on")
        assert died is not None
        findings.append((kind, died))
    return ", ".join(
        f"{kind} {max(died for k, died in findings if k == kind) * 1000:.0f} ms after the ack"
        for kind in ("talking", "listening")
    )


def redirected(story: Story) -> str:
    """Http leads to the notice page."""
    return is_redirected(story.lab.debtor)


def page(story: Story) -> str:
    """The page opens where the redirect leads, in Portuguese and in English, and names nobody."""
    where = story.lab.debtor.http(url(WWW4)).location
    portuguese = story.lab.debtor.http(where, language="pt-BR")
    english = story.lab.debtor.http(where, language="en")
    for answer, word in ((portuguese, "Provedor Exemplo"), (english, "Provedor Exemplo")):
        expect(answer.status == 200, f"the page: {answer}")
        expect(word in answer.body, f"the page lacks {word!r}: {answer.body[:300]!r}")
        expect(story.lab.debtor.person.sub not in answer.body, "the page names the subscriber")
    expect('lang="pt' in portuguese.body, "the Portuguese page is not in Portuguese")
    expect('lang="en' in english.body, "the English page is not in English")
    return f"{portuguese}, {len(portuguese.body)} bytes"


def refused(story: Story) -> str:
    """Https fails at once instead of hanging."""
    return is_refused(story.lab.debtor)


def quic(story: Story) -> str:
    """UDP 443 is answered with ICMP, so that a browser does not wait for QUIC either."""
    attempts: list[Attempt] = [story.lab.debtor.udp(address, 443) for address in (WWW4, WWW6)]
    for attempt in attempts:
        expect(attempt.outcome == "icmp" and attempt.ms < AT_ONCE, f"UDP 443: {attempt}")
    return both(*attempts)


def bank(story: Story) -> str:
    """The garden stays open: the debtor can pay."""
    found = [opens(story.lab.debtor, address, "bank")[1] for address in (BANK4, BANK6)]
    return both(*found)


def whole_prefix(story: Story) -> str:
    """Every address of the delegated IPv6 prefix is refused, not only the one in use."""
    attempt = story.lab.debtor.tcp(WWW6, 443, source=story.lab.debtor.person.other_v6)
    expect(attempt.outcome == "reset" and attempt.ms < AT_ONCE, f"from {story.lab.debtor.person.other_v6}: {attempt}")
    return str(attempt)


def neighbour(story: Story) -> str:
    """Whoever pays notices nothing: pages open and old connections go on."""
    found = browses(story.lab.neighbour)
    expect(all(flow.wait_for_data(2.0) for flow in story.innocent), "a connection of the neighbour broke")
    gap = max(flow.longest_gap for flow in story.innocent)
    return f"{found}; longest pause {gap * 1000:.0f} ms"


def trust(story: Story) -> str:
    """A promise opens everything for some seconds."""
    until, story.promise_ends = from_now(PROMISE)
    ack = story.lab.publish({"op": "trust", "sub": story.lab.debtor.person.sub, "until": until, "basis": "promise"})
    found = applied(ack)
    browses(story.lab.debtor)
    return found


def promise_ends(story: Story) -> str:
    """The promise ends by itself, when it said."""
    return "off by " + wait_cut(story.lab.debtor, story.promise_ends)


def blocked_again(story: Story) -> str:
    """All is as before the promise."""
    is_refused(story.lab.debtor)
    quic(story)
    bank(story)
    return is_redirected(story.lab.debtor)


def paid(story: Story) -> str:
    """Payment opens everything."""
    found = applied(story.lab.publish({"op": "paid", "sub": story.lab.debtor.person.sub}))
    browses(story.lab.debtor)
    return found


def block_two(story: Story) -> str:
    """A new debt, and another subscriber whose promise will run out while the daemon is dead."""
    lab = story.lab
    until, story.promise_ends = from_now(PROMISE)
    story.batch = f"story-{int(time.time() * 1000)}"
    debtor, promiser = lab.debtor.person.sub, lab.promiser.person.sub
    story.batch_commands = [
        {"op": "block", "sub": debtor, "reason": "debt", "invoices": invoices("F-2")},
        {"op": "block", "sub": promiser, "reason": "debt", "invoices": invoices("F-3")},
        {"op": "trust", "sub": promiser, "until": until, "basis": "promise"},
    ]
    found = applied(lab.publish(*story.batch_commands, batch=story.batch), 3)
    is_redirected(lab.debtor)
    browses(lab.promiser)
    return found


def killed(story: Story) -> str:
    """kill -9: the kernel goes on refusing."""
    lab = story.lab
    lab.kill_daemon()
    expect("inet edged" in lab.tables(), f"the table is gone: {lab.tables()}")
    found = is_cut_off(lab.debtor)
    opens(lab.debtor, BANK4, "bank")
    running = lab.promiser.tcp(WWW4, 443).outcome == "open"
    # On a machine so slow that the promise has ended by now, the next step still judges when that was.
    expect(running or time.monotonic() > story.promise_ends, "the running promise was lost with the daemon")
    return found


def promise_ends_alone(story: Story) -> str:
    """The other one's promise ends on time with nobody there to end it."""
    found = wait_cut(story.lab.promiser, story.promise_ends)
    is_cut_off(story.lab.promiser)
    return "off by " + found


def restart(story: Story) -> str:
    """The daemon comes back to the same truth."""
    seconds = story.lab.start_daemon()
    for device in (story.lab.debtor, story.lab.promiser):
        is_redirected(device)
        is_refused(device)
    return f"online in {seconds:.1f} s"


def duplicate(story: Story) -> str:
    """The batch of before, sent again, is recognised and changes nothing."""
    ack = story.lab.publish(*story.batch_commands, batch=story.batch)
    expect(ack.duplicate, f"not recognised: {ack.document}")
    expect(ack.count("applied") == 3, f"not the same answer: {ack.document}")
    is_refused(story.lab.promiser)
    return f"duplicate in {ack.ms:.1f} ms"


def support(story: Story) -> str:
    """Whoever answers the telephone sees why: by contract, by address, in the list, in the state document."""
    lab = story.lab
    by_sub = lab.edged_json("why", lab.debtor.person.sub)
    by_address = lab.edged_json("why", lab.debtor.person.v4)
    for record in (by_sub, by_address):
        text = str(record)
        expect("debt" in text and lab.debtor.person.v4 in text and "walled" in text, f"edged why: {record}")
    rows = rows_of(lab.edged_json("list", "--level", "walled"))
    expect({row.get("sub") for row in rows} == {lab.debtor.person.sub, lab.promiser.person.sub}, f"edged list: {rows}")
    state = lab.manager.wait_state(lambda s: s.get("levels", {}).get("walled") == 2, 5.0, "2 walled in the state")
    expect(state.get("in_sync") is True and state.get("online") is True, f"state: {state}")
    return f"{len(rows)} walled in list and state, in sync"


def rows_of(document: Any) -> list[Json]:
    """``edged list --json`` as rows, whether it prints one array or one object."""
    return list(document) if isinstance(document, list) else [document]


def open_stop(story: Story) -> str:
    """``edged stop --open`` leaves no restriction, no table, no rule, no route and no process."""
    lab = story.lab
    pids = set(lab.network.gateway.pids()) - {lab.broker.pid}
    began = time.monotonic()
    done = lab.edged("stop", "--open")
    expect(done.returncode == 0, f"edged stop --open: {done.stderr.strip()}")
    lab.forget_daemon()
    lab.wait_until(lambda: not any(map(alive, pids)), "the daemon's processes are still there")
    seconds = time.monotonic() - began
    expect("inet edged" not in lab.tables(), f"tables: {lab.tables()}")
    for family in ("-4", "-6"):
        rules = lab.network.gateway.run("ip", family, "rule").stdout
        expect("8880" not in rules, f"a rule is left: {rules}")
        routes = lab.network.gateway.run("ip", family, "route", "show", "table", "8880", check=False).stdout
        expect(not routes.strip(), f"a route is left: {routes}")
    for device in (lab.debtor, lab.promiser, lab.neighbour):
        browses(device)
    return f"all open after {seconds:.1f} s"


STEPS: tuple[Step, ...] = (
    Step("start", "the gateway starts and learns its subscribers", start),
    Step("browse", "browsing works", browse),
    Step("block", "billing blocks one for debt, over MQTT", block),
    Step("old", "connections opened before are dead", old_connections),
    Step("redirect", "http is redirected to the page", redirected),
    Step("page", "the page opens, in Portuguese and English", page),
    Step("https", "https is refused at once", refused),
    Step("quic", "QUIC is refused at once", quic),
    Step("bank", "the bank opens", bank),
    Step("prefix", "so is the rest of the IPv6 prefix refused", whole_prefix),
    Step("neighbour", "the neighbour notices nothing", neighbour),
    Step("trust", f"a promise of {PROMISE:g} s: browsing works", trust),
    Step("promise-ends", "it ends by itself", promise_ends),
    Step("blocked-again", "blocked again", blocked_again),
    Step("paid", "paid: browsing works", paid),
    Step("block-two", "blocked once more; another one promises", block_two),
    Step("kill", "kill -9: still blocked", killed),
    Step("promise-alone", "a promise ends with no daemon there", promise_ends_alone),
    Step("restart", "restart: still blocked, page back", restart),
    Step("duplicate", "the same batch again changes nothing", duplicate),
    Step("support", "why, list and the state document agree", support),
    Step("neighbour-still", "the neighbour noticed nothing of it all", neighbour),
    Step("stop", "edged stop --open leaves nothing behind", open_stop),
)
