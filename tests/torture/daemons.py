"""Kills of real processes: the daemon's core, a real broker, and a real kernel in a network namespace."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from edged import envelope
from edged.domain.model import rfc3339
from tests.broker import Broker
from tests.lab.lab import BROKER_PORT, CONFIG, GATEWAY, edged_binary
from tests.lab.manager import Manager
from tests.lab.netns import Namespace, sweep, unique_tag
from tests.lab.process import Child
from tests.torture.history import History, check, took_effect
from tests.torture.report import Report
from tests.torture.steps import HAND, SUBSCRIBERS, Sent
from tests.torture.stream import Stream

EPISODE = 40
"""Kills between two looks at everything."""
AHEAD = 60
"""Batches sent and not answered, at most."""
KEYS = {issuer: envelope.generate() for issuer in ("erp", "crm")}


class Daemons:
    """One gateway from its first start through ``kills`` kills. ``signed``: it obeys nothing that is not."""

    def __init__(self, seed: int, kills: int, *, signed: bool) -> None:
        self.seed, self.kills, self.signed = seed, kills, signed
        self.rng = random.Random(f"daemons {seed}")
        self.start = time.time_ns() // 1_000_000
        sources = (f"gw/{GATEWAY}/cmd", "group/all/cmd")
        self.stream = Stream(seed, self.start, ticks=False, sources=sources, seal=self._seal)
        self.where: Counter[str] = Counter()
        self.wrap: list[str] = []
        """What goes before the daemon's command line."""
        self.daemon: Child | None = None
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        sweep()
        tag = unique_tag()
        with contextlib.ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix=f"{tag}-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.space = Namespace(f"{tag}-gw")
            stack.callback(self.space.delete)
            self.space.create()
            self.broker = Broker(
                self.folder / "broker", port=BROKER_PORT, prefix=self.space.prefix(), log_type="information"
            )
            stack.callback(self.broker.stop)
            self.broker.start()
            self.manager = Manager(self.space, GATEWAY, BROKER_PORT)
            stack.callback(self.manager.close)
            self.manager.open()
            stack.callback(self._end)
            self._closing = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _end(self) -> None:
        if self.daemon is not None:
            self.daemon.stop()

    # -- the sender ----------------------------------------------------------------------------------------------

    def _seal(self, document: dict[str, Any]) -> bytes:
        if not self.signed:
            return json.dumps(document).encode()
        now = time.time_ns() // 1_000_000
        times = {"ts": rfc3339(now), "expires": rfc3339(now + 3_600_000)}
        body = {"issuer": "erp", **document, **times, "aud": [GATEWAY, "all"]}
        issuer = str(body["issuer"])
        return envelope.sign(json.dumps(body).encode(), KEYS[issuer], issuer)

    def _publish(self, sent: Sent) -> None:
        group = "all" if sent.source.startswith("group/") else ""
        self.manager.send(sent.payload.decode(), group=group)

    def send(self, n: int) -> None:
        """Up to ``n`` batches, as long as not too many wait."""
        answered = {m.document.get("id") for m in self.manager.since(0, "ack")}
        waiting = len({s.name for s in self.stream.steps if isinstance(s, Sent)} - answered)
        for _ in range(min(n, AHEAD - waiting)):
            step = self.stream.draw()
            assert isinstance(step, Sent)
            self._publish(step)

    # -- the daemon ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        """Where the database is."""
        return self.folder / "state"

    def spawn(self) -> None:
        environment = {"EDGED_STATE_DIR": str(self.state), "EDGED_RUN_DIR": str(self.folder / "run")}
        for path in environment.values():
            Path(path).mkdir(exist_ok=True)
        if self.signed:
            may = {"roles": ["billing", "operator"]}
            issuers = [{"name": name, "key": envelope.public_text(key), **may} for name, key in KEYS.items()]
            environment["EDGED_SECURITY__ISSUERS"] = json.dumps(issuers)
            environment["EDGED_SECURITY__REQUIRE_SIGNATURE"] = "true"
        command = [*self.wrap, str(edged_binary()), "core", "--config", str(CONFIG)]
        self.daemon = Child(self.space, command, self.folder / "edged.log", environment)

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.daemon is not None
            if self.daemon.exit_status is not None:
                raise RuntimeError(f"the core ended with {self.daemon.exit_status}:\n{self.daemon.tail()}")
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds:g} s: {what}; the log:\n{self.daemon.tail()}")
            time.sleep(0.001)

    def introduce(self) -> Child:
        """Start for the first time; the broker keeps what comes only for whom it knows."""
        self.spawn()
        self.wait(lambda: self.manager.state.get("online") is True, "the core is online")
        assert self.daemon is not None
        return self.daemon

    def idle(self) -> bool:
        """Whether nothing that was sent waits for an answer."""
        names = {s.name for s in self.stream.steps if isinstance(s, Sent)}
        return names <= {m.document.get("id") for m in self.manager.since(0, "ack")}

    def everything_answered(self) -> bool:
        """Whether each batch has an answer, and every event of them came."""
        return self.idle() and len(took_effect(self._events())) >= self.stream.count

    def _life(self) -> None:
        """Start, and kill while it starts, while it answers, or between two answers."""
        mark = self.manager.mark
        self.send(self.rng.randint(1, 10))
        self.spawn()
        assert self.daemon is not None
        if self.rng.random() < 0.2:
            self.where["while it starts"] += 1
            time.sleep(self.rng.uniform(0, 0.8))  # not to wait for anything: the moment is what is random
        else:
            wanted = self.rng.randint(1, 12)
            self.send(wanted)
            self.wait(lambda: len(self.manager.since(mark, "ack")) >= wanted, "answers")
            self.where["at work"] += 1
            self.send(self.rng.randint(0, 12))
            time.sleep(self.rng.uniform(0, 0.02))
        self.daemon.kill()

    def run(self) -> Report:
        """All the kills, then everything comes to an end and is judged."""
        self.introduce().kill()
        for _ in range(self.kills):
            self._life()
        mark = self.manager.mark
        self.spawn()
        self.wait(lambda: any(m.document.get("in_sync") for m in self.manager.since(mark, "state")), "in sync")
        with contextlib.suppress(AssertionError):  # the judge knows better words
            self.wait(self.everything_answered, "all answers and events", 30.0)
        answers = once(m.document for m in self.manager.since(0, "ack"))
        history = History(self.start, self.stream.steps, answers, self._events(), *self._asked())
        found = [f"daemons, seed {self.seed}: {v.kind}: {v.detail}" for v in check(history)]
        again = sum(1 for a in answers if a["duplicate"])
        return Report(self.where, self.stream.count, len(answers), again, found)

    def _events(self) -> list[dict[str, Any]]:
        """Each once, in the order of their numbers; told again, they must be told alike."""
        found: dict[int, dict[str, Any]] = {}
        for message in self.manager.since(0, "event"):
            assert found.setdefault(message.document["id"], message.document) == message.document
        return [found[n] for n in sorted(found)]

    def _asked(self) -> tuple[dict[str, dict[str, Any] | None], str]:
        """What the daemon says of subscribers, and of its whole state."""
        names = (*SUBSCRIBERS, HAND)
        queries = [{"op": "query", "sub": name} for name in names]
        document = {"v": 1, "id": "judge", "commands": [*queries, {"op": "digest"}]}
        _, mark = self.manager.send(self._seal(document).decode())
        *results, digest = self.manager.wait_answer("judge", mark, 30).document["results"]
        return {n: r.get("record") for n, r in zip(names, results, strict=True)}, digest["record"]["hash"]


def once(documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what is the same to the last digit: QoS 1 may bring one message twice, and ``enforced_ms`` tells two."""
    return list({json.dumps(d): d for d in documents}.values())
