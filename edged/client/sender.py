"""The sender's side of the contract: :class:`Sender`."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from edged.client.brokers import Brokers
from edged.client.courier import Courier, named, new_epoch
from edged.client.digests import Sums, shard_of
from edged.client.documents import Answer, Command, Commands, Group, completed, digest_of, each, pack, read
from edged.client.outbox import Outbox
from edged.client.post import Identity, Post, channel, now_ms
from edged.client.resync import Resync
from edged.client.sent import Held, Sent, Unanswered
from edged.client.snapshots import Snapshots
from edged.domain.address import Addressing
from edged.envelope import OKPKey
from edged.errors import EdgedError
from edged.mqtt.message import Inbound
from edged.mqtt.topics import ROOT

log = logging.getLogger(__name__)
BATCH = 1000
LONGEST_ID = 56  # the contract allows 64; later batches of one call get a number behind it
LOCAL, USUAL = Brokers(), Addressing()
EVENTS = f"{ROOT}gw/+/event"
ACKS = f"{ROOT}gw/+/ack"

T = TypeVar("T")


class Sender:
    """Everything an ERP needs to be obeyed; see :mod:`edged.client`.

    ``name``   one per sender: its MQTT client id and the topic of its answers are made of it.
    ``outbox`` a file that belongs to this sender. Without one nothing is numbered and nothing survives the process.
    ``issuer``, ``key`` sign; the key is the file that ``edged keygen`` wrote. Neither: unsigned.
    ``table``  gives the commands of a full snapshot for a gateway, each time anew; it answers ``resync.wanted``, and
    goes to each gateway that a new outbox hears for the first time: what a lost one held is repaired so.
    ``on_answer`` hears every answer to a batch at least once, also those to batches of an earlier process. What it
    raises makes the answer come again.
    ``lifetime`` seconds a publication is valid; gateways refuse more than their ``security.max_age``.
    ``legacy`` hears the gateways' own ack topics, too: for brokers of MQTT 3.1.1, which know no Response Topic.

    Raises ``ConfigError`` for a name, key, broker or outbox that cannot be used.
    """

    def __init__(
        self,
        name: str,
        *,
        brokers: Brokers | Sequence[str] = LOCAL,
        outbox: str | Path | None = None,
        issuer: str | None = None,
        key: OKPKey | str | Path | None = None,
        table: Callable[[str], Commands] | None = None,
        on_answer: Callable[[Answer], None] = lambda _: None,
        batch: int = BATCH,
        lifetime: float = 86_400.0,
        legacy: bool = False,
    ) -> None:
        identity = Identity.make(name, issuer, key, lifetime)
        self._path = Path(outbox) if outbox is not None else None
        self._table, self._most = table, batch
        self._post = Post(
            identity,
            brokers if isinstance(brokers, Brokers) else Brokers(brokers),
            hear=self._hear,
            connected=self._connected,
            topics=(identity.answers, EVENTS, *((ACKS,) if legacy else ())),
            keep=outbox is not None,
        )
        numbered = outbox is not None
        self._courier = Courier(
            self._post,
            numbered=numbered,
            repair=numbered and table is not None,
            on_answer=on_answer,
            on_loss=self._lost,
        )
        self._snapshots = Snapshots(self._post, numbered=numbered)
        self._resync = Resync(self._post, self._snapshots, table, self._begin)
        self._asked: dict[str, Sent] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._link = asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            await self._post.open(self._path)
        except BaseException:
            await self._post.close()
            raise
        for snapshot in await self._post.do(Outbox.snapshots):
            self._begin(self._snapshots.resume(snapshot))
        self._begin(self._courier.run())
        await self._resync.look()
        self._post.start()  # last: the first answers come right behind the connection
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._post.close()

    @property
    def connected(self) -> str | None:
        """``host:port`` of the present broker, or None."""
        return self._post.broker

    @property
    def last_error(self) -> str | None:
        """What is wrong with the brokers, in one line; None when all is well."""
        return self._post.last_error

    # -- sending -----------------------------------------------------------------------------------------------

    async def send(self, to: str | Group, commands: Iterable[Command], *, id: str | None = None) -> Sent:  # noqa: A002
        """Take commands for a gateway or group; on return they are on disk, numbered, and will be delivered.

        ``id`` names them for this destination: the same commands sent again under it within 30 days (the caller
        crashed before it could note that they were sent) are not sent twice, other commands are refused. Another
        gateway may be sent something under the same id; a group may not, because its members hear both. Raises
        ``EdgedError`` with nothing taken.
        """
        arrays = pack(commands, self._most)
        stem = uuid.uuid4().hex if id is None else id
        names = [stem, *(f"{stem}.{n}" for n in range(2, len(arrays) + 1))][: len(arrays)]
        gateways = tuple(to.gateways) if isinstance(to, Group) else (to,)
        if not 0 < len(stem) <= LONGEST_ID or not stem.isprintable() or stem != stem.strip():
            raise EdgedError(f"id {stem!r:.80}: 1 to at most {LONGEST_ID} printable characters, no space at the ends")
        topic = channel(to)
        batches = list(zip(names, arrays, strict=True))
        digest = b"" if id is None else digest_of(arrays)
        while True:
            sent = self._courier.watched(topic, names, gateways)  # before it is published: an answer may be quick
            kept = await self._post.do(Outbox.reserve, topic, batches, gateways, now_ms(), new_epoch(), digest)
            if kept.ids == tuple(names):
                break
            names = list(kept.ids)  # known, and divided into other batches then
        sent.expect(kept.open)
        self._courier.look(topic)
        return sent

    async def ask(
        self,
        to: str | Group,
        *commands: Command,
        document: Mapping[str, Any] | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109 - reads better than a context
    ) -> list[Answer]:
        """Publish one batch past the outbox, not numbered, and wait: for ``query``, ``digest`` and scripts.

        ``document`` is a batch of the caller's; what it lacks (``v``, ``id``, and signed ``issuer``, ``aud``, ``ts``,
        ``expires``) is added. Raises :class:`Unanswered` after ``timeout`` seconds; it may have been obeyed even so.
        """
        given: dict[str, Any] = {"commands": list(commands), **(document or {})}
        name = given["id"] = uuid.uuid4().hex if given.get("id") is None else str(given["id"])
        if not name:
            raise EdgedError("a batch with an empty id: 1 to 64 printable characters, or leave it out")
        topic, gateways = channel(to), tuple(to.gateways) if isinstance(to, Group) else (to,)
        head = self._post.identity.head(topic.split("/")[1])
        body = completed(head, given)
        self._asked[name] = sent = Sent([name], gateways)
        try:
            async with asyncio.timeout(timeout) as limit:
                while not await self._post.publish([(ROOT + topic, body, f"0 - {name}".encode())]):
                    self._link.clear()
                    await self._link.wait()
            return await sent.answers(max(0.0, (limit.when() or 0.0) - asyncio.get_running_loop().time()))
        except TimeoutError:
            why = f" ({self.last_error})" if self.last_error else ""
            raise EdgedError(f"no broker took the message within {timeout:g} s{why}") from None
        finally:
            del self._asked[name]

    async def snapshot(
        self,
        gateway: str,
        commands: Commands,
        *,
        shards: Sequence[int] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - reads better than a context
    ) -> Answer:
        """Replace the gateway's bindings and debts by these (``bind``, ``block``, ``trust``, ``defer``); its answer.

        Commit your table before :meth:`send`, and read it here: then every batch sent by now is known to be in the
        snapshot. ``shards``: only these parts of the subscribers. It is on disk before it goes out; a process that
        ends meanwhile goes on with it at its next start. Raises :class:`Unanswered` after ``timeout`` seconds, while
        the delivery goes on; and :class:`Held` as soon as the gateway's brake keeps it until a human looked.
        """
        channel(gateway)
        held: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = self._begin(self._snapshots.send(gateway, commands, shards, when_held=held.set_result))
        await asyncio.wait((task, held), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if held.done():
            raise Held(gateway, held.result())
        raise Unanswered({("snapshot", gateway)}, [])

    async def compare(
        self,
        gateway: str,
        commands: Commands,
        *,
        addressing: Addressing = USUAL,
        timeout: float = 30.0,  # noqa: ASYNC109 - reads better than a context
    ) -> list[int]:
        """The shards in which the gateway's bindings and debts differ from the snapshot these commands would make.

        What is on its way meanwhile may show as a difference: harmless, it costs one shard. Raises ``EdgedError``.
        """
        sums = Sums(addressing)
        async for command in each(commands):
            sums.add(command)
        (answer,) = await self.ask(gateway, {"op": "digest"}, timeout=timeout)
        record = answer.record
        theirs = record.get("shards") if isinstance(record, dict) else None
        if not isinstance(theirs, list) or len(theirs) != len(ours := sums.words()):
            raise EdgedError(f"{gateway} did not tell its digest: {answer.rejected or 'is it too old?'}")
        return [n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]

    async def repair(self, gateway: str, *, addressing: Addressing = USUAL) -> Answer | None:
        """Send what differs between ``table`` and the gateway, and nothing else; None: nothing did. Raises as
        :meth:`snapshot` does.
        """
        if self._table is None:
            raise EdgedError("repair needs a table: give the sender one")
        differing = set(await self.compare(gateway, self._table(gateway), addressing=addressing))
        if not differing:
            return None
        commands = _only(self._table(gateway), differing)
        return await self.snapshot(gateway, commands, shards=sorted(differing))

    # -- hearing -----------------------------------------------------------------------------------------------

    def _connected(self, broker: str) -> None:
        self._courier.connected(broker)
        self._snapshots.connected(broker)
        self._link.set()

    async def _hear(self, messages: Sequence[Inbound]) -> None:
        answers: list[tuple[Answer, bytes | None]] = []
        wanted: set[str] = set()
        for message in messages:
            if (document := read(message.payload)) is None:
                continue
            levels = message.topic.removeprefix(ROOT).split("/")
            if levels[-1] == "ack":
                self._sort(document, message, answers)
            elif levels[0] == "gw" and levels[-1] == "event":
                if document.get("event") == "sync.missing":
                    self._snapshots.missing(levels[1], document)
                elif document.get("event") == "resync.wanted" and await self._concerns_us(levels[1], document):
                    wanted.add(levels[1])
        if await self._courier.hear(answers):
            await self._resync.look()
        await self._resync.want(wanted)

    def _sort(self, document: dict[str, Any], message: Inbound, answers: list[tuple[Answer, bytes | None]]) -> None:
        name = document.get("id") or named(message.correlation)
        answer = Answer(str(document.get("gateway", "")), str(name), document)
        if sent := self._asked.get(answer.id):
            sent.hear(answer)
        elif name and not self._snapshots.hear(answer, message.correlation):
            answers.append((answer, message.correlation))

    async def _concerns_us(self, gateway: str, event: dict[str, Any]) -> bool:
        """Whether we may have lost something there that no snapshot has made good since: events come twice."""
        if (event.get("issuer") or "") != (self._post.identity.issuer or ""):
            return False
        stream, epoch, got = event.get("stream"), event.get("epoch"), event.get("got")
        if not isinstance(stream, str) or not isinstance(epoch, str) or not isinstance(got, int):
            return True
        expected = event.get("expected")
        if isinstance(expected, int) and stream.split("/")[0] in {"gw", "group"}:
            await self._courier.say_again(gateway, stream, epoch, expected, got - 1)
        return not await self._post.do(Outbox.covers, stream, epoch, got)

    def _lost(self, gateway: str) -> None:
        log.warning("%s may have missed something; it gets a snapshot", gateway)
        self._begin(self._resync.want({gateway}))

    # -- tasks -------------------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()):
            log.log(logging.DEBUG if isinstance(fault, EdgedError) else logging.ERROR, "%r", fault)


async def _only(commands: Commands, shards: Collection[int]) -> AsyncIterator[Command]:
    async for command in each(commands):
        if shard_of(command) in shards:
            yield command
