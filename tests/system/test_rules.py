"""The rules of the trade on real parts: broker, daemon, kernel, packets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.lab import Lab, bind
from tests.lab.manager import from_now, invoices
from tests.lab.topology import WWW4, WWW6

SITES = (WWW4, WWW6)
SEVERAL = {"EDGED_BRAKE__ENABLED": "true", "EDGED_BRAKE__MAX_NEW_RESTRICTIONS": "3"}


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with Lab(env=getattr(request, "param", {})) as lab:
        lab.start_daemon()
        lab.publish(bind(lab.debtor.person) | {"area": "centro"}, bind(lab.neighbour.person))
        yield lab


def debt(lab: Lab, **more: Any) -> dict[str, Any]:
    return {"op": "block", "sub": lab.debtor.person.sub, "reason": "debt", "invoices": invoices("F-1"), **more}


def refused(lab: Lab) -> bool:
    return all(lab.debtor.tcp(address, 443).outcome == "reset" for address in SITES)


def passes(lab: Lab) -> bool:
    return all(lab.debtor.tcp(address, 443).outcome == "open" for address in SITES)


def test_reasons_waivers_and_areas_on_packets(lab: Lab) -> None:
    sub = lab.debtor.person.sub
    assert passes(lab)
    assert lab.publish(debt(lab)).statuses == ["applied"]
    assert refused(lab)
    until = from_now(3600)[0]
    assert lab.publish({"op": "defer", "sub": sub, "kind": "dispute", "until": until}).statuses == ["applied"]
    assert passes(lab)
    assert lab.publish({"op": "block", "sub": sub, "reason": "fraud"}).statuses == ["applied"]
    assert refused(lab)
    answer = lab.publish({"op": "paid", "sub": sub}, {"op": "trust", "sub": sub}, {"op": "undefer", "sub": sub})
    assert answer.codes == ["trust_not_applicable"]
    assert refused(lab), "money and promises lift no fraud"
    assert lab.publish({"op": "unblock", "sub": sub, "reason": "fraud"}).statuses == ["applied"]
    assert passes(lab)
    outage = {"op": "outage", "id": "O-7", "area": "centro", "eta": until, "ref": "T-1"}
    assert lab.publish(outage, debt(lab, invoices=invoices("F-2"))).statuses == ["applied", "deferred"]
    assert passes(lab), "no new debt block begins in an outage"
    told = lab.edged_json("why", sub)
    assert told["area"]["outage"]["id"] == "O-7"
    assert told["reasons"][0]["waits_for"] == "outage"
    assert lab.publish({"op": "end_outage", "id": "O-7"}).statuses == ["applied"]
    lab.wait_until(lambda: refused(lab), "the block that waited for the outage")
    mark = lab.manager.mark
    release = {"op": "moratorium", "area": "*", "until": until, "release_existing": True}
    assert lab.publish(release).statuses == ["applied"]
    lab.wait_until(lambda: passes(lab), "the release of a moratorium")
    assert lab.publish({"op": "end_moratorium", "area": "*"}).statuses == ["applied"]
    lab.wait_until(lambda: refused(lab), "the end of the moratorium")
    assert not [e for e in lab.manager.since(mark, "event") if e.document["event"] == "drift"]
    checked = lab.edged("audit", "--verify")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("lab", [SEVERAL], indirect=True)
def test_the_brake_holds_until_somebody_looked(lab: Lab) -> None:
    crowd = [{"op": "block", "sub": f"100.64.200.{n}", "reason": "debt"} for n in range(3)]
    answer = lab.publish(*crowd, debt(lab), {"op": "block", "sub": "100.64.201.1", "reason": "debt"})
    assert answer.statuses == ["applied"] * 3 + ["held"] * 2
    assert passes(lab)
    lab.manager.wait_event(lambda e: e["event"] == "brake.closed")
    lab.manager.wait_state(lambda s: s.get("brake") == "closed")
    lab.wait_until(lambda: lab.metrics()["edged_held_commands"] == 2, "the metric")
    lab.kill_daemon()
    lab.forget_daemon()
    lab.start_daemon()
    assert lab.edged_json("why", lab.debtor.person.sub)["held"] == ["debt"]
    assert lab.publish({"op": "unblock", "sub": "100.64.200.1", "reason": "debt"}).statuses == ["applied"]
    released = lab.edged("release-brake")
    assert released.stdout == "carried out: 2, refused by now: 0\n", released.stderr
    assert refused(lab)
    lab.manager.wait_state(lambda s: s.get("brake") == "open")
    assert lab.edged("drop-held").stdout == "dropped: 0\n"


def test_a_promise_is_asked_for_and_billing_answers(lab: Lab) -> None:
    lab.publish(debt(lab))
    mark = lab.manager.mark
    assert "billing was told" in lab.edged("request-trust", lab.debtor.person.addresses[0]).stdout
    event = lab.manager.wait_event(lambda e: e["event"] == "trust.requested", mark)
    assert event.document["sub"] == lab.debtor.person.sub
    assert refused(lab), "billing decides"
    lab.publish({"op": "trust", "sub": lab.debtor.person.sub, "hours": 1})
    assert passes(lab)


LOCAL = {"EDGED_POLICY__LOCAL_TRUST": "true", "EDGED_POLICY__LOCAL_TRUST_AFTER_SECONDS": "0"}


@pytest.mark.parametrize("lab", [LOCAL], indirect=True)
def test_with_billing_away_a_promise_is_granted_here_and_told_later(lab: Lab) -> None:
    lab.publish(debt(lab))
    assert refused(lab)
    mark = lab.manager.mark
    lab.broker.stop()
    lab.wait_until(lambda: not lab.edged_json("status")["mqtt"]["connected"], "the loss of the broker")
    done = lab.edged("request-trust", lab.debtor.person.sub)
    assert "granted until" in done.stdout, done.stderr
    assert passes(lab)
    lab.edged("apply", "-", stdin=json.dumps({"op": "untrust", "sub": lab.debtor.person.sub}) + "\n")
    again = lab.edged("request-trust", lab.debtor.person.sub)
    assert again.returncode == 1
    assert "trust_spent" in again.stderr
    lab.start_broker()
    event = lab.manager.wait_event(lambda e: e["event"] == "trust.granted", mark, timeout=60)
    assert event.document["local"] is True
