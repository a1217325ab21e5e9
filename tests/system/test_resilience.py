"""Everything around the daemon fails in turn: the broker, the disk, the daemon itself. Nothing is lost or swallowed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import CONFIG, GATEWAY, Lab, bind, edged_binary
from tests.lab.manager import Manager, NoAnswer, invoices
from tests.lab.process import Child
from tests.lab.topology import WWW4, WWW6, Person

SITES = (WWW4, WWW6)


def block(person: Person, invoice: str = "F-1") -> dict[str, object]:
    return {"op": "block", "sub": person.sub, "reason": "debt", "invoices": invoices(invoice)}


def refused(lab: Lab) -> bool:
    return all(lab.debtor.tcp(address, 443).outcome == "reset" for address in SITES)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        lab.start_daemon()
        lab.publish(bind(lab.debtor.person), bind(lab.neighbour.person))
        yield lab


# -- the broker -----------------------------------------------------------------------------------------------------


def test_broker_down_at_start() -> None:
    with Lab(broker=False) as lab:
        lab.start_daemon(wait=False)
        lab.wait_until(lambda: lab.edged("status").returncode == 0, "no status without a broker", 30)
        metrics = lab.metrics()
        assert metrics.get('edged_mqtt_connected{broker="127.0.0.1:1883"}', 0.0) == 0.0
        applied = lab.edged("apply", "-", stdin=json.dumps(bind(lab.debtor.person)) + "\n")
        assert applied.returncode == 0, applied.stderr
        lab.start_broker()
        lab.manager.wait_state(lambda state: state.get("online") is True, 60, "the daemon did not find the broker")
        assert lab.publish(block(lab.debtor.person)).statuses == ["applied"]
        assert refused(lab)
        lab.wait_until(
            lambda: lab.metrics()['edged_mqtt_connected{broker="127.0.0.1:1883"}'] == 1.0, "connected in the metrics"
        )


def test_broker_restarted(lab: Lab) -> None:
    lab.publish(block(lab.debtor.person))
    lab.broker.stop()
    assert refused(lab)
    assert lab.edged("status").returncode == 0
    mark = lab.manager.mark
    lab.start_broker()
    lab.wait_until(
        lambda: any(m.document.get("online") is True for m in lab.manager.since(mark, "state")),
        "the daemon did not come back to the broker",
        60,
    )
    fresh = Manager(lab.network.gateway, GATEWAY, lab.broker.port)
    fresh.open()
    try:
        state = fresh.wait_state(lambda state: state.get("online") is True, what="no retained state")
        assert state["levels"]["walled"] == 1
    finally:
        fresh.close()
    assert lab.publish({"op": "paid", "sub": lab.debtor.person.sub}).statuses == ["applied"]
    assert lab.debtor.tcp(WWW4, 443).outcome == "open"


def test_commands_sent_while_the_daemon_is_away_are_obeyed_when_it_is_back(lab: Lab) -> None:
    lab.stop_daemon()
    _, mark = lab.manager.send(json.dumps({"v": 1, "id": "meanwhile", "commands": [block(lab.debtor.person)]}))
    lab.manager.wait_state(lambda state: state.get("online") is False, what="the state still says online")
    lab.start_daemon()
    assert lab.manager.wait_answer("meanwhile", mark).statuses == ["applied"]
    assert refused(lab)


def test_a_killed_daemon_is_reported_by_its_last_will(lab: Lab) -> None:
    lab.kill_daemon()
    lab.manager.wait_state(lambda state: state.get("online") is False, 60, "no last will")


# -- the daemon -----------------------------------------------------------------------------------------------------


def test_every_batch_is_answered_though_the_daemon_is_killed_among_them(lab: Lab) -> None:
    mark, ids = lab.manager.mark, [f"burst-{i}" for i in range(40)]
    for i, identity in enumerate(ids):
        order = {"op": "block", "sub": f"100.64.1.{i}", "reason": "debt"}
        lab.manager.send(json.dumps({"v": 1, "id": identity, "issuer": "billing", "commands": [order]}))
        if i == len(ids) // 2:
            lab.manager.wait_answer(ids[0], mark)  # so that some are done and some are not
    lab.kill_daemon()
    lab.start_daemon()
    answers = [lab.manager.wait_answer(identity, mark, 30) for identity in ids]
    assert all(answer.count("applied") == 1 for answer in answers)
    lab.manager.wait_state(lambda state: state.get("levels", {}).get("walled") == len(ids), what="not all in force")
    again = lab.publish({"op": "block", "sub": "100.64.1.0", "reason": "debt"}, batch=ids[0])
    assert again.duplicate


# -- the disk -------------------------------------------------------------------------------------------------------


class SmallDisk:
    """A tmpfs over the lab's state directory, in a mount namespace of its own that outlives the daemon."""

    def __init__(self, lab: Lab, size: str) -> None:
        lab.state_dir.mkdir(exist_ok=True)
        script = f"mount -t tmpfs -o size={size} small {lab.state_dir} && exec sleep infinity"
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        self._holder = Child(lab.network.gateway, argv, lab.directory / "disk.log")
        self._seen = Path(f"/proc/{self._holder.pid}/root{lab.state_dir}")
        self._fill = self._seen / "fill"
        comm = Path(f"/proc/{self._holder.pid}/comm")
        lab.wait_until(lambda: comm.read_text().strip() == "sleep", f"no mount: {self._holder.tail()}")
        self.wrap = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]

    def fill(self) -> None:
        with self._fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for chunk in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\0" * chunk)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (self._seen / "probe").write_bytes(b"x")

    def free(self) -> None:
        for path in (self._fill, self._seen / "probe"):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        self._holder.stop()


@pytest.fixture
def small() -> Iterator[tuple[Lab, SmallDisk]]:
    with Lab() as lab, contextlib.closing(SmallDisk(lab, "8m")) as disk:
        lab.start_daemon(wrap=disk.wrap)
        lab.publish(bind(lab.debtor.person))
        disk.fill()
        yield lab, disk


def test_a_full_disk_is_reported_and_nothing_is_acknowledged_until_there_is_room(small: tuple[Lab, SmallDisk]) -> None:
    lab, disk = small
    _, mark = lab.manager.send(json.dumps({"v": 1, "id": "full", "commands": [block(lab.debtor.person)]}))
    lab.wait_until(lambda: "full" in json.dumps(lab.edged_json("status")), "status does not tell of a full disk", 20)
    lab.wait_until(
        lambda: lab.metrics()["edged_commit_failures_total"] > 0,
        "the metrics do not tell of failed commits",
    )
    with pytest.raises(NoAnswer):
        lab.manager.wait_answer("full", mark, 1.0)
    assert lab.edged_json("status")["lag"]["queued"] == 1
    assert lab.daemon is not None
    assert lab.daemon.exit_status is None
    disk.free()
    assert lab.manager.wait_answer("full", mark, 60).statuses == ["applied"]
    assert refused(lab)
    status = lab.edged_json("status")
    assert status["lag"]["queued"] == 0
    assert status["store"]["last_commit"] > status["errors"][-1]["at"], "it does not show that the trouble is over"


def test_a_batch_received_but_not_committed_is_delivered_again_after_kill_9(small: tuple[Lab, SmallDisk]) -> None:
    """The full disk holds the batch between receipt and acknowledgement for as long as we like."""
    lab, disk = small
    _, mark = lab.manager.send(json.dumps({"v": 1, "id": "between", "commands": [block(lab.debtor.person)]}))
    lab.wait_until(
        lambda: lab.metrics()["edged_commit_failures_total"] > 0,
        "the batch was not received",
    )
    lab.kill_daemon()
    assert not lab.manager.since(mark, "ack")
    disk.free()
    lab.start_daemon(wrap=disk.wrap)
    ack = lab.manager.wait_answer("between", mark, 30)
    assert ack.statuses == ["applied"]
    assert not ack.duplicate
    assert refused(lab)


# -- the configuration ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broker", ["mqtt://192.0.2.1:1883", "mqtts://broker.example.net:8883"])
def test_a_distant_broker_without_signatures_is_refused(broker: str, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "EDGED_MQTT__BROKERS": json.dumps([broker]),
        "EDGED_SECURITY__REQUIRE_SIGNATURE": "true",
        "EDGED_STATE_DIR": str(tmp_path / "state"),
        "EDGED_RUN_DIR": str(tmp_path / "run"),
    }
    done = subprocess.run(
        [edged_binary(), "run", "--config", str(CONFIG)], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2, done.stderr
    assert "signature" in done.stderr
    assert not list((tmp_path / "state").glob("*")), "it began to work before it refused"
