"""A gateway that is nothing but the protocol: order, duplicates, snapshots, digests. It notes what it was told."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import Callable, Sequence
from typing import Any, Self

from edged.client.digests import Sums
from edged.domain.address import Addressing
from edged.domain.order import judge
from edged.domain.rejection import Rejected
from edged.envelope import Issuer, Keyring, Opened
from edged.mqtt.session import Inbound, Outbound, Session
from edged.mqtt.topics import Topics
from edged.observer import Silent
from tests.mqtt_settings import Settings

Json = dict[str, Any]


class FakeGateway:
    """``lose(topic, document)`` true: the message is confirmed and nothing more happens, as if a broker had lost it."""

    def __init__(
        self, name: str, brokers: Sequence[str], *, groups: Sequence[str] = (), issuers: Sequence[Issuer] = ()
    ) -> None:
        self.name = name
        self._last: dict[tuple[str, str], tuple[str, int]] = {}
        self.topics = Topics(name, tuple(groups))
        self.keyring = Keyring(
            issuers, required=bool(issuers), audience=(name, *groups), max_ahead=300_000, max_age=86_400_000
        )
        self.now: Callable[[], int] = lambda: 0
        self.applied: list[Json] = []
        self.refused: list[str] = []
        self.duplicates = 0
        self.gaps: list[tuple[int, int]] = []
        self.snapshots: list[list[Json]] = []
        self.shards: list[Any] = []
        self.table: list[Json] = []
        self.lose: Callable[[str, Json], bool] = lambda _topic, _document: False
        self.bad: dict[Any, str] = {}
        """sub -> code with which commands on it are rejected."""
        self._seen: dict[tuple[str, str], Json] = {}
        self._parts: dict[str, dict[int, list[Json]]] = {}
        self.session = Session(
            Settings(list(brokers)),
            client_id=self.topics.client_id,
            subscriptions=self.topics.subscriptions,
            will=Outbound(self.topics.state, self.state(online=False), retain=True),
            on_connect=self._greet,
            handle=self._handle,
            observer=Silent(),
        )
        self._task: asyncio.Task[None] | None = None
        self._greeted = asyncio.Event()

    @property
    def commands(self) -> list[Json]:
        return [c for batch in self.applied for c in batch["commands"]]

    @property
    def numbers(self) -> list[int]:
        return [batch["seq"] for batch in self.applied]

    def state(self, *, online: bool = True) -> bytes:
        streams = {f"{issuer} {source}": position for (issuer, source), position in self._last.items()}
        return json.dumps({"v": 1, "gateway": self.name, "online": online, "streams": streams}).encode()

    async def start(self) -> None:
        self._task = asyncio.create_task(self.session.run())
        async with asyncio.timeout(30):
            await self._greeted.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            self._greeted.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def event(self, kind: str, **fields: Any) -> None:
        assert await self.session.publish(self._event(kind, **fields))

    def _event(self, kind: str, **fields: Any) -> Outbound:
        return Outbound(self.topics.event, json.dumps({"v": 1, "gateway": self.name, "event": kind, **fields}).encode())

    async def _greet(self) -> list[Outbound]:
        self._greeted.set()
        return [Outbound(self.topics.state, self.state(), retain=True)]

    async def _handle(self, messages: Sequence[Inbound]) -> list[Outbound]:
        return [out for message in messages for out in self._one(message)]

    def _one(self, message: Inbound) -> list[Outbound]:
        source = Topics.source(message.topic)
        try:
            opened = self.keyring.open(message.payload)
            document = json.loads(opened.body)
        except Rejected as e:
            self.refused.append(e.code)
            return [self._answer(message, self._refusal(None, e))]
        if self.lose(source, document):
            return []
        name = document.get("sync") or document["id"]
        issuer = opened.issuer or document.get("issuer") or ""
        try:
            if opened.issuer:
                self._admit(opened, document)
            if "sync" in document:
                return [self._answer(message, answer) for answer in self._chunk(document)]
            if (issuer, name) in self._seen:
                self.duplicates += 1
                return [self._answer(message, {**self._seen[issuer, name], "duplicate": True})]
            return self._batch(message, document, issuer, source)
        except Rejected as e:
            self.refused.append(e.code)
            return [self._answer(message, self._refusal(name, e))]

    def _admit(self, opened: Opened, document: Json) -> None:
        def ms(text: str) -> int:
            return round(dt.datetime.fromisoformat(text).timestamp() * 1000)

        now = self.now() or ms(document["ts"])
        self.keyring.admit(
            opened,
            name=document.get("sync") or document["id"],
            issuer=document["issuer"],
            ts=ms(document["ts"]),
            expires=ms(document["expires"]),
            aud=document["aud"],
            now=now,
        )

    def _batch(self, message: Inbound, document: Json, issuer: str, source: str) -> list[Outbound]:
        out = []
        if "seq" in document:
            key = issuer, source
            gap = judge(self._last.get(key), document["epoch"], document["seq"])
            self._last[key] = document["epoch"], document["seq"]
            if gap:
                self.gaps.append((gap.expected, gap.got))
                out.append(
                    self._event(
                        "resync.wanted",
                        issuer=issuer or None,
                        stream=source,
                        epoch=document["epoch"],
                        expected=gap.expected,
                        got=gap.got,
                    )
                )
        self.applied.append(document)
        results: list[Json] = []
        for i, command in enumerate(document["commands"]):
            if code := self.bad.get(command.get("sub")):
                results.append({"i": i, "sub": command.get("sub"), "status": "rejected", "code": code, "detail": "bad"})
            elif command["op"] == "digest":
                sums = Sums(Addressing())
                for known in self.table:
                    sums.add(known)
                results.append({"i": i, "sub": None, "status": "applied", "record": {"shards": sums.words()}})
        rejected = sum(r["status"] == "rejected" for r in results)
        summary = {"applied": len(document["commands"]) - rejected, "rejected": rejected}
        answer = {"v": 1, "id": document["id"], "duplicate": False, "summary": summary, "results": results}
        self._seen[issuer, document["id"]] = answer
        return [self._answer(message, answer), *out]

    def _chunk(self, document: Json) -> list[Json]:
        sync, parts = document["sync"], self._parts.setdefault(document["sync"], {})
        head = {"v": 1, "id": sync, "sync": sync}
        parts[document["part"]] = document["commands"]
        missing = document["parts"] - len(parts)
        said = [{**head, "part": document["part"], "parts": document["parts"], "missing": missing}]
        if missing:
            return said
        commands = [c for n in sorted(parts) for c in parts[n]]
        self.snapshots.append(commands)
        self.shards.append(document.get("shards"))
        if "epoch" in document:
            key = document.get("issuer") or "", f"gw/{self.name}/cmd"
            self._last[key] = max(self._last.get(key, ("", 0)), (document["epoch"], document["seq"]))
        counts = {"subscribers": len(commands), "added": 0, "changed": 0, "removed": 0}
        return [
            *said,
            {**head, "duplicate": False, "summary": {"applied": len(commands)}, "counts": counts, "results": []},
        ]

    def _refusal(self, name: str | None, e: Rejected) -> Json:
        result = {"i": 0, "sub": None, "status": "rejected", "code": e.code, "detail": e.detail}
        return {"v": 1, "id": name, "summary": {"applied": 0, "rejected": 1}, "results": [result]}

    def _answer(self, message: Inbound, document: Json) -> Outbound:
        topic = message.response_topic or self.topics.ack
        return Outbound(topic, json.dumps({**document, "gateway": self.name}).encode(), correlation=message.correlation)
