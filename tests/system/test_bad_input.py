"""What a broken or hostile sender can put on the wire: one clear answer each, and the daemon goes on as before.

Real daemon, real broker. After every test the same process must still obey: block, enforce, release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab, bind
from tests.lab.topology import GATEWAY4, WWW4

GOOD = "C-1003"  # the bystander whose commands stand beside the bad ones
DEEP = 20_000
WEDGED: list[str] = []  # the test after which the daemon no longer obeyed: the rest need not wait for it in vain


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    with Lab() as lab:
        WEDGED.clear()
        lab.start_daemon()
        people = [device.person for device in (lab.debtor, lab.neighbour, lab.promiser)]
        assert lab.publish(*(bind(person) for person in people)).count("applied") == 3
        yield lab


@pytest.fixture
def lab(running: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    if WEDGED:
        pytest.fail(f"the daemon no longer obeys since {WEDGED[0]}")
    pid = running.core_pid()
    yield running
    WEDGED.append(request.node.name)
    assert running.core_pid() == pid, "the daemon was replaced"
    assert running.daemon is not None
    assert running.daemon.exit_status is None, running.daemon_log()
    obeys(running)
    WEDGED.clear()


def obeys(lab: Lab) -> None:
    """The next command works, down to the packets."""
    order = {"sub": lab.neighbour.person.sub, "reason": "operator"}
    assert lab.publish({"op": "block", **order}).statuses == ["applied"]
    assert lab.neighbour.tcp(WWW4, 443).outcome == "reset"
    assert lab.publish({"op": "unblock", **order}).statuses == ["applied"]
    assert lab.neighbour.tcp(WWW4, 443).outcome == "open"


def batch(*commands: Any, **envelope: Any) -> bytes:
    return json.dumps({"v": 1, "id": "bad-1", "commands": list(commands), **envelope}).encode()


UNREADABLE = {
    "not json": b'{"v": 1, "id": "x", "commands": [',
    "empty": b"",
    "white space": b" \r\n\t ",
    "binary garbage": bytes(range(256)) * 7,
    "utf-16": json.dumps({"v": 1, "id": "x", "commands": []}).encode("utf-16"),
    "broken utf-8": b'{"op":"block","sub":"\xc3\x28","reason":"debt"}',
    "a number": b"42",
    "a list": b"[]",
    "null": b"null",
    "deep lists": b"[" * DEEP,
    "deep lists, closed": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep inside a batch": b'{"v":1,"id":"x","commands":[{"op":"block","sub":' + b"[" * DEEP + b"]" * DEEP + b"}]}",
    "a number no float holds": b'{"v":1e999,"id":"x","commands":[]}',
    "10 MB of nothing": b" " * 10_000_000,
    "10 MB of commands": b'{"v":1,"id":"x","commands":[' + b'{"op":"query","sub":"C-1001"},' * 330_000 + b"{}]}",
}


@pytest.mark.parametrize("payload", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_payload_that_cannot_be_read_gets_one_answer(lab: Lab, payload: bytes) -> None:
    ack = lab.manager.publish_raw(payload)
    assert ack.codes == ["malformed"], ack.document
    assert ack.document["gateway"] == "lab"
    assert ack.document["id"] in {None, "x"}


ENVELOPES = {
    "no commands": {"v": 1, "id": "bad-1"},
    "commands is no list": {"v": 1, "id": "bad-1", "commands": {"op": "query"}},
    "no id": {"v": 1, "commands": [{"op": "query", "sub": "C-1001"}]},
    "id is a number": {"v": 1, "id": 7, "commands": [{"op": "query", "sub": "C-1001"}]},
    "id too long": {"v": 1, "id": "x" * 65, "commands": [{"op": "query", "sub": "C-1001"}]},
    "id empty": {"v": 1, "id": "", "commands": [{"op": "query", "sub": "C-1001"}]},
    "version of the future": {"v": 2, "id": "bad-1", "commands": [{"op": "query", "sub": "C-1001"}]},
    "no command at all": {"v": 1, "id": "bad-1", "commands": []},
    "5001 commands": {"v": 1, "id": "bad-1", "commands": [{"op": "query", "sub": "C-1001"}] * 5001},
}


@pytest.mark.parametrize("document", ENVELOPES.values(), ids=ENVELOPES.keys())
def test_a_wrong_envelope_applies_nothing(lab: Lab, document: dict[str, Any]) -> None:
    ack = lab.manager.publish_raw(json.dumps(document))
    assert ack.codes == ["malformed"], ack.document


def block(sub: Any, **more: Any) -> dict[str, Any]:
    return {"op": "block", "sub": sub, "reason": "debt", **more}


def bound(*addresses: Any) -> dict[str, Any]:
    return {"op": "bind", "sub": "C-9", "addresses": list(addresses)}


COMMANDS: dict[str, tuple[Any, str]] = {
    "unknown op": ({"op": "explode", "sub": "C-1001"}, "unknown_op"),
    "no op": ({"sub": "C-1001"}, "unknown_op"),
    "op is a list": ({"op": ["block"], "sub": "C-1001"}, "unknown_op"),
    "a garden of everything": ({"op": "garden", "name": "all", "networks": ["0.0.0.0/0"]}, "malformed"),
    "a garden of half of IPv6": ({"op": "garden", "name": "all", "networks": ["2000::/3"]}, "malformed"),
    "unknown field": (block("C-1001", amount="99.90"), "malformed"),
    "subscriber half a character": (block("\ud800"), "malformed"),
    "half a character": (block("C-1001", ref="\ud800"), "malformed"),
    "rev of 80 bits": (block("C-1001", rev=1 << 80), "malformed"),
    "a promise of for ever": ({"op": "trust", "sub": "C-1001", "hours": 1e300}, "malformed"),
    "a promise of infinity": ({"op": "trust", "sub": "C-1001", "days": float("inf")}, "malformed"),
    "a promise to the end of time": (
        {"op": "trust", "sub": "C-1001", "until": "9999-12-31T23:59:59-12:00"},
        "malformed",
    ),
    "an onset at the end of time": (block("C-1001", not_before="9999-12-31T23:59:59-12:00"), "malformed"),
    "notified at the beginning of time": (block("C-1001", notified_at="0001-01-01T00:00:00+12:00"), "malformed"),
    "no object": ("block C-1001", "malformed"),
    "no subscriber": ({"op": "block", "reason": "debt"}, "malformed"),
    "empty subscriber": (block(""), "malformed"),
    "subscriber too long": (block("x" * 129), "malformed"),
    "subscriber not printable": (block("C-1\x1b[2J"), "malformed"),
    "subscriber is a number": (block(1001), "malformed"),
    "no such reason": ({"op": "block", "sub": "C-1001", "reason": "dislike"}, "malformed"),
    "time without zone": ({"op": "trust", "sub": "C-1001", "until": "2099-01-01T00:00:00"}, "malformed"),
    "no address": (bound("example.net"), "bad_address"),
    "octet out of range": (bound("100.64.0.300"), "bad_address"),
    "wider than /24": (bound("100.64.16.0/20"), "bad_address"),
    "everything": (bound("0.0.0.0/0"), "bad_address"),
    "IPv6 length not configured": (bound("2001:db8:200::/40"), "bad_address"),
    "single IPv6 not configured": (bound("2001:db8:100:d00::1/128"), "bad_address"),
    "length of the other family": (bound("100.64.0.1/64"), "bad_address"),
    "host bits set": (bound("100.64.16.7/24"), "bad_address"),
    "one bad among good": (bound("100.64.0.90", "100.64.0.91/64"), "bad_address"),
    "protected": (block("198.51.100.7"), "address_protected"),
    "the gateway itself": (block(GATEWAY4), "address_protected"),
    "a network over a protected one": (block("100.64.0.0/24"), "address_protected"),
    "protected IPv6": (block("2001:db8:f:0::/64"), "address_protected"),
}


@pytest.mark.parametrize(("command", "code"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_bad_command_falls_alone(lab: Lab, command: Any, code: str) -> None:
    before = lab.why(lab.debtor.person.sub)
    order = {"sub": GOOD, "reason": "operator"}
    ack = lab.publish({"op": "block", **order}, command, {"op": "query", "sub": GOOD}, {"op": "unblock", **order})
    results = {result["i"]: result for result in ack.document["results"]}
    assert [results[i]["status"] for i in (0, 1, 3)] == ["applied", "rejected", "applied"], ack.document
    assert results[1]["code"] == code, ack.document
    assert results[1]["detail"], "a code alone does not help whoever has to repair the sender"
    assert ack.count("rejected") == 1
    assert "operator" in json.dumps(results[2]["record"]), "commands are applied in order"
    assert lab.why(lab.debtor.person.sub) == before
    nobody = lab.publish({"op": "query", "sub": "C-9"})
    assert nobody.codes == ["unknown_subscriber"], "half of a refused bind was kept"
    assert lab.debtor.tcp(WWW4, 443).outcome == "open"


def test_a_refusal_is_counted(lab: Lab) -> None:
    name = 'edged_rejections_total{code="malformed"}'
    before = lab.metrics().get(name, 0.0)
    lab.manager.publish_raw(b"{")
    lab.wait_until(lambda: lab.metrics().get(name, 0.0) == before + 1, "the refusal is not in the metrics")


def test_the_answer_finds_a_sender_that_asked_for_its_own_topic(lab: Lab) -> None:
    assert lab.manager.request(b"\x00\x01").codes == ["malformed"]


def test_a_response_topic_outside_our_tree_is_not_obeyed(lab: Lab) -> None:
    """Otherwise whoever may publish commands could make the gateway publish anywhere."""
    _, mark = lab.manager.send(batch({"op": "query", "sub": GOOD}, id="elsewhere"), respond_to="other/answers")
    assert lab.manager.wait_answer("elsewhere", mark).statuses == ["applied"]


def test_a_bare_command_needs_no_batch(lab: Lab) -> None:
    order = {"sub": GOOD, "reason": "operator"}
    assert lab.manager.publish_raw(json.dumps({"op": "block", **order})).count("applied") == 1
    assert lab.promiser.tcp(WWW4, 443).outcome == "reset"
    assert lab.manager.publish_raw(json.dumps({"op": "unblock", **order})).count("applied") == 1
