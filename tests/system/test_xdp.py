"""The XDP program under the real daemon: quicker, never different; outlives it, follows it, and goes when told."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from edged.nft.socket import KernelBackend
from tests.lab.fast import accelerated, answered, differences, in_maps, in_sets, pins, wait_fast
from tests.lab.findings import browses, is_redirected, url
from tests.lab.lab import CONFIG, Lab, bind, edged_binary
from tests.lab.manager import from_now
from tests.lab.process import Child
from tests.lab.programs import Linked
from tests.lab.topology import SUBSCRIBER_INTERFACE, WWW4, WWW6
from tests.worlds import kernel_backend


def attached(lab: Lab) -> str:
    """``xdp``, ``xdpgeneric`` or nothing, as ``ip link`` says."""
    shown = json.loads(lab.network.gateway.run("ip", "-j", "link", "show", SUBSCRIBER_INTERFACE).stdout)[0]
    return {1: "xdp", 2: "xdpgeneric"}.get(shown.get("xdp", {}).get("mode", 0), "")


class Customer:
    """Asks for a page again and again; ``seen`` are the statuses."""

    def __init__(self, lab: Lab) -> None:
        self.seen: list[int] = []
        self._lab = lab
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            self.seen += [self._lab.debtor.http(url(address)).status for address in (WWW4, WWW6)]

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


def test_kill_restart_theft_other_layout_and_off() -> None:
    with accelerated("auto") as lab:
        lab.start_daemon()
        lab.publish(bind(lab.debtor.person), {"op": "block", "sub": lab.debtor.person.sub, "reason": "debt"})
        wait_fast(lab, "generic")
        assert "veth" in lab.edged_json("status")["xdp"]["why"]
        lab.manager.wait_state(lambda s: s.get("xdp") == "generic")
        is_redirected(lab.debtor)
        programs = [path.name for path in pins(lab).glob("program-*")]
        with contextlib.closing(Customer(lab)) as customer:
            lab.wait_until(lambda: len(customer.seen) > 4, "nobody asks")
            lab.kill_daemon()
            asked = len(customer.seen)
            lab.wait_until(lambda: len(customer.seen) > asked + 20, "nobody asks any more")
            lab.forget_daemon()
            lab.start_daemon()
            wait_fast(lab, "generic")
            asked = len(customer.seen)
            lab.wait_until(lambda: len(customer.seen) > asked + 20, "nobody asks any more")
        assert set(customer.seen) == {302}, "a start is no gap"
        assert answered(lab) >= len(customer.seen), "it was not the program that answered"
        after = [path.name for path in pins(lab).glob("program-*")]
        assert len(after) == 1
        assert after != programs

        lab.network.gateway.run("ip", "link", "set", SUBSCRIBER_INTERFACE, "xdpgeneric", "off")
        is_redirected(lab.debtor)
        lab.wait_until(lambda: attached(lab) == "xdpgeneric", "somebody took it away and it stayed away", 20)

        lab.stop_daemon()
        assert attached(lab) == "xdpgeneric"
        pins(lab).rename(pins(lab).with_name("999"))  # as an edged of another layout would have left them
        lab.start_daemon()
        wait_fast(lab, "generic")
        assert [path.name for path in pins(lab).parent.iterdir()] == [pins(lab).name]
        before = answered(lab)
        is_redirected(lab.debtor)
        assert answered(lab) == before + 2

        lab.stop_daemon()
        lab._extra_env["EDGED_XDP__MODE"] = "off"
        lab.start_daemon()
        assert attached(lab) == "", "nobody would keep its maps true"
        assert lab.edged_json("status")["xdp"]["mode"] == "off"
        is_redirected(lab.debtor)


def test_a_promise_ends_without_a_daemon_and_so_does_an_open_stop() -> None:
    with accelerated("native") as lab:
        lab.start_daemon()
        lab.publish(bind(lab.debtor.person), {"op": "block", "sub": lab.debtor.person.sub, "reason": "debt"})
        wait_fast(lab, "native")
        assert lab.debtor.http(url(WWW4)).status == 302
        until, ends = from_now(6)
        lab.publish({"op": "trust", "sub": lab.debtor.person.sub, "until": until})
        lab.stop_daemon()
        assert attached(lab) == "xdp"
        asked, answer = time.monotonic(), lab.debtor.http(url(WWW4))
        while answer.status != 302:
            assert asked < ends + 5, "the promise did not end in the program"
            # A connection that began before the end and asks behind it is dead, as it would be without XDP.
            assert answer.status == 200 or asked < ends + 0.5, f"{answer}: the portal is gone"
            asked, answer = time.monotonic(), lab.debtor.http(url(WWW4))
        assert time.monotonic() > ends - 0.5, "it ended too early"
        done = lab.edged("stop", "--open")
        assert f"XDP program on {SUBSCRIBER_INTERFACE}" in done.stdout, done.stdout + done.stderr
        assert attached(lab) == ""
        assert not pins(lab).exists()
        browses(lab.debtor)
        with contextlib.closing(Linked(lab.network.gateway, SUBSCRIBER_INTERFACE, "edged_xdp")):
            done = lab.edged("stop", "--open")
            assert done.returncode == 1
            assert f"still on {SUBSCRIBER_INTERFACE}" in done.stderr


# -- the maps and the sets ------------------------------------------------------------------------------------------


@pytest.fixture
def fast() -> Iterator[tuple[Lab, KernelBackend]]:
    with accelerated("native") as lab:
        lab.start_daemon()
        backend = kernel_backend(lab.network.gateway, owner=False)
        try:
            yield lab, backend
        finally:
            backend.close()


def orders(rng: random.Random) -> list[dict[str, Any]]:
    """Some commands about some of twenty subscribers."""
    out: list[dict[str, Any]] = []
    for _ in range(rng.randint(1, 12)):
        n = rng.randrange(20)
        sub = f"W-{n}"
        out.append(
            rng.choice(
                [
                    {
                        "op": "bind",
                        "sub": sub,
                        "addresses": [f"100.64.7.{rng.randrange(20)}", f"2001:db8:7:{n:x}::/64"],
                    },
                    {"op": "bind", "sub": sub, "addresses": [f"100.64.7.{n}", f"2001:db8:8:{n:x}00::/56"]},
                    {"op": "block", "sub": sub, "reason": "debt"},
                    {"op": "block", "sub": sub, "reason": "debt", "level": "reduced", "rate": 512},
                    {"op": "block", "sub": sub, "reason": "notice"},
                    {"op": "block", "sub": sub, "reason": "abuse", "level": "blocked"},
                    {"op": "unblock", "sub": sub, "reason": "abuse"},
                    {"op": "trust", "sub": sub, "hours": 1},
                    {"op": "paid", "sub": sub},
                    {"op": "forget", "sub": sub},
                ]
            )
        )
    return out


def test_after_a_random_walk_with_kills_the_maps_are_the_sets(fast: tuple[Lab, KernelBackend]) -> None:
    lab, backend = fast
    rng = random.Random(6)
    found = 0
    for life in range(3):
        wait_fast(lab, "native")
        for step in range(8):
            lab.publish(*orders(rng))
            if step % 4 == 3:
                of_sets = in_sets(backend)
                assert differences(in_maps(pins(lab)), of_sets) == []
                found += len(of_sets)
        if life < 2:
            mark, names = lab.manager.mark, [f"walk-{life}-{n}" for n in range(6)]
            for name in names:
                lab.manager.send(json.dumps({"v": 1, "id": name, "issuer": "billing", "commands": orders(rng)}))
            if rng.random() < 0.7:
                lab.manager.wait_answer(names[rng.randrange(3)], mark)
            lab.kill_daemon()
            lab.forget_daemon()
            lab.start_daemon()
            for name in names:
                lab.manager.wait_answer(name, mark, 30)
            wait_fast(lab, "native")
            assert differences(in_maps(pins(lab)), in_sets(backend)) == []
    assert found > 60, "a walk that restricts nobody shows nothing"


# -- what a core may do ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["+bpf,+perfmon", ""])
def test_with_the_capabilities_of_the_unit_and_without(more: str) -> None:
    """Root with the unit's capabilities alone; without the two for BPF there is no XDP, and nothing else ails."""
    allowed = ",".join(filter(None, ["-all,+net_admin,+net_bind_service,+chown,+setuid,+setgid", more]))
    with Lab(env={"EDGED_XDP__MODE": "auto"}) as lab:
        lab.run_dir.mkdir()
        core = Child(
            lab.network.gateway,
            [
                *("setpriv", f"--bounding-set={allowed}", f"--inh-caps={allowed}"),
                *(str(edged_binary()), "core", "--config", str(CONFIG)),
            ],
            lab.directory / "core.log",
            lab.overrides,
        )
        try:
            lab.wait_until(lambda: lab.edged("status").returncode == 0, f"no core: {core.tail()}", 30)
            lab.wait_until(lambda: lab.edged_json("status")["in_sync"], f"not in sync: {core.tail()}", 30)
            if more:
                wait_fast(lab, "generic")
            order = {"op": "block", "sub": lab.debtor.person.v4, "reason": "debt"}
            assert lab.edged("apply", "-", stdin=json.dumps(order) + "\n").returncode == 0
            told = lab.edged_json("status")["xdp"]
            if more:
                assert lab.debtor.http(url(WWW4)).status == 302, "without a portal only the program can have said that"
            else:
                assert told["mode"] == "off"
                assert "not permitted" in told["why"]
            assert lab.debtor.tcp(WWW4, 443).outcome == "reset"
        finally:
            core.stop()
