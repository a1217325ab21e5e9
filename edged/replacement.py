"""A snapshot from its last chunk to its answer: walk, refill, answer. Synchronous, for the keeper's thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from edged.answers import STATUSES
from edged.domain.model import rfc3339
from edged.errors import StoreError
from edged.pipeline import Pipeline
from edged.snapshot import Tally
from edged.store.rows import Event, Staged, Write

STEP = 200
"""Subscribers in one step: a command beside it waits some milliseconds at most."""

LASTING = 16
"""Steps from one commit with fsync to the next."""


class Replacement:
    """``steps`` brings the desired state to what the snapshot says; ``finish`` once the kernel has it."""

    def __init__(self, pipeline: Pipeline, staged: Staged) -> None:
        self.staged = staged
        self._pipeline = pipeline
        self.fault = ""
        """What a fault of ours, on which the walk was given up, is called in the answer."""
        self._received = pipeline.clock()

    def steps(self) -> Iterator[None]:
        """Raises StoreError; a new one goes on where this one was."""
        pipeline = self._pipeline
        walk = pipeline.walk()
        assert walk is not None  # noqa: S101  there is one as long as the snapshot is not over
        pipeline.enforcer.loose, pipeline.enforcer.walked = True, False
        now = self._received
        for n, write in enumerate(walk.steps(STEP, now)):
            # Now and then one that lasts: all at once at the end, a command would wait for it.
            pipeline.store.commit(write, now, lasting=not n % LASTING)
            if write.held:
                pipeline.brake.recount()
            yield
            if pipeline.walk() is not walk:
                raise StoreError("a commit failed beside the snapshot; it goes on from what is committed")
        pipeline.store.heartbeat(now)
        self.over()

    def over(self) -> None:
        """The desired state changes no further; the next refill ends what the kernel was spared."""
        self._pipeline.enforcer.walked = True

    def finish(self) -> None:
        """Answer, and forget the chunks. The snapshot's id is remembered as a batch's is."""
        now = self._pipeline.clock()
        walk = self._pipeline.walk()
        document = self._document(walk.tally if walk else Tally(), now)
        write = Write(answers={(self.staged.issuer, self.staged.sync): document})
        topic = self.staged.topic or "ack"
        write.events.append(Event(document, topic, self.staged.correlation))
        gathering, numberings = self._pipeline.gathering, self._pipeline.numberings
        gathering.begin()
        numberings.begin()
        gathering.drop(self.staged.id, write)
        if self.staged.seq >= 0 and not self.fault:
            numberings.advance(self.staged.issuer, self._pipeline.own_channel, self.staged.epoch, self.staged.seq)
            write.numberings.update(numberings.moved)
        self._pipeline.store.commit(write, now, {"last_batch": self.staged.sync})
        gathering.keep()
        numberings.keep()
        self._pipeline.last_batch = self.staged.sync

    def _document(self, tally: Tally, now: int) -> dict[str, Any]:
        results: list[dict[str, Any]] = msgspec.to_builtins(tally.results)
        if self.fault:
            tally.count("rejected")
            told = {"i": 0, "sub": None, "status": "rejected", "code": "malformed", "detail": self.fault}
            results.append(told)
        counts = {n: getattr(tally, n) for n in ("subscribers", "added", "changed", "removed", "kept")}
        return {
            "v": 1,
            "id": self.staged.sync,
            "sync": self.staged.sync,
            "gateway": self._pipeline.settings.gateway,
            "duplicate": False,
            "received": rfc3339(self._received),
            "enforced": rfc3339(now),
            "enforced_ms": now - self._received,
            "summary": {s: tally.summary.get(s, 0) for s in STATUSES},
            "counts": counts,
            "hash": self._pipeline.store.totals.hash,
            "results": results,
        }
