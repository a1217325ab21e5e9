"""The write log of the real daemon: what its process did to the database, and what it told the broker, in one order."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.torture import writelog
from tests.torture.cuts import MORE, Heard, Recording
from tests.torture.daemons import Daemons, once
from tests.torture.steps import Sent, Step
from tests.torture.writelog import Said

BATCHES = 60
PUBLISH = 3
"""The MQTT packet type."""


def record(seed: int, batches: int = BATCHES) -> Recording:
    """Run the core under strace, with a broker and a kernel, until it has answered a stream."""
    with Daemons(seed, 0, signed=False) as running:
        log = running.folder / "log"
        running.wrap = writelog.strace(log)
        daemon = running.introduce()
        while running.stream.count < batches:
            running.send(running.rng.randint(1, 10))
            mark = running.manager.mark
            wanted = running.rng.randint(0, 3)
            running.wait(lambda: len(running.manager.since(mark, "ack")) >= wanted or running.idle(), "answers")  # noqa: B023
        running.wait(running.everything_answered, "all answers and events", 60.0)
        os.kill(int((running.folder / "run" / "core.pid").read_text()), signal.SIGTERM)  # strace itself listens to none
        daemon.wait(20)
        ops = writelog.read(log, str(running.state), "socket:")
        steps = running.stream.take(len(running.stream.steps) + MORE)
    later = time.time_ns() // 1_000_000
    return Recording(seed, running.start, steps, ops, lambda said: _heard(said, steps), later)


def _heard(said: Sequence[Said], steps: Sequence[Step]) -> Heard:
    streams: dict[str, bytearray] = {}
    for s in said:
        streams.setdefault(s.voice, bytearray()).extend(s.data)
    answers: list[dict[str, Any]] = []
    events: dict[int, dict[str, Any]] = {}
    for stream in streams.values():
        for topic, payload in published(bytes(stream)):
            if topic.endswith("/ack"):
                answers.append(json.loads(payload))
            elif topic.endswith("/event"):
                events[json.loads(payload)["id"]] = json.loads(payload)
    answers = once(answers)
    known = {a["id"] for a in answers}
    done = next((i for i, s in enumerate(steps) if isinstance(s, Sent) and s.name not in known), len(steps))
    return Heard(answers, events, done)


def published(stream: bytes) -> Iterator[tuple[str, bytes]]:
    """Topics and payloads of the whole PUBLISH packets in what a client of MQTT 5 sent; nothing for another stream."""
    at = 0
    if not stream.startswith(b"\x10"):  # CONNECT
        return
    while at + 2 <= len(stream):
        kind, qos = stream[at] >> 4, stream[at] >> 1 & 3
        length, at = _varint(stream, at + 1)
        body, at = stream[at : at + length], at + length
        if kind != PUBLISH or len(body) < length:
            continue
        end = 2 + int.from_bytes(body[:2])
        topic = body[2:end].decode()
        properties, start = _varint(body, end + (2 if qos else 0))
        yield topic, body[start + properties :]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < len(data):
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            break
    return value, at
