"""From assumptions about one gateway to sessions, messages, bytes and brokers for a fleet: ``python -m bench.sizes``.

Prints the tables of docs/scale.md; a test holds the page against them. The costs of the broker are those that
``python -m bench fleet`` measured; change the assumptions here and read what follows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

DAY = 86_400
FLEETS = (10, 1_000, 100_000)


@dataclasses.dataclass(frozen=True)
class Gateway:
    """One gateway's ordinary day, and how large its messages are (bytes, with topic and MQTT header)."""

    subscribers: int = 5_000
    addresses_a_day: float = 1.0
    """Times a day each subscriber gets an address: a bind."""
    binds_a_batch: int = 5
    billing_a_day: int = 100
    """Batches of blocks, payments and promises."""
    billing_commands: int = 10
    group_a_day: int = 24
    """Batches for all gateways: calendars, pages, outages, gardens."""
    group_commands: int = 20
    events_a_day: int = 50
    state_every: int = 60
    """s; the document goes out at least so often, and at most once a second when it changes."""
    keepalive: int = 30
    """s"""
    digests_a_day: int = 1
    snapshots_a_day: float = 1 / 30
    snapshot_chunk: int = 5_000
    """Commands."""
    command: int = 120
    """Bytes of a command as JSON."""
    envelope: int = 450
    """Bytes of a batch without its commands: header, signature, times, topic."""
    answer: int = 320
    answer_line: int = 70
    """For each command, of a batch of up to 50."""
    event: int = 300
    state: int = 640
    digest: int = 5_400
    packet: int = 66 + 29
    """Bytes that Ethernet, IP, TCP and TLS add to a packet."""

    def flows(self) -> Iterator[tuple[str, float, float]]:
        """Name, messages a day and bytes of each, PUBACK and packet headers included."""
        signed = 4 / 3  # base64
        binds = self.subscribers * self.addresses_a_day / self.binds_a_batch

        def batch(commands: float) -> float:
            return self.envelope + signed * commands * self.command

        def answer(commands: float) -> float:
            return self.answer + (self.answer_line * commands if commands <= 50 else 0)

        changes = binds + self.billing_a_day + self.group_a_day
        acknowledged = 2 * self.packet + 4
        for name, count, size in (
            ("address batches", binds, batch(self.binds_a_batch)),
            ("their answers", binds, answer(self.binds_a_batch)),
            ("billing batches", self.billing_a_day, batch(self.billing_commands)),
            ("their answers", self.billing_a_day, answer(self.billing_commands)),
            ("group batches", self.group_a_day, batch(self.group_commands)),
            ("their answers", self.group_a_day, answer(self.group_commands)),
            ("state documents", DAY / self.state_every + changes, self.state),
            ("events", self.events_a_day, self.event),
            ("digests", self.digests_a_day, self.digest),
            (
                "snapshot chunks",
                self.snapshots_a_day * math.ceil(self.subscribers / self.snapshot_chunk),
                batch(min(self.subscribers, self.snapshot_chunk)),
            ),
        ):
            yield name, count, size + acknowledged

    @property
    def pings_a_day(self) -> float:
        """PINGREQs: at most one each keepalive."""
        return DAY / self.keepalive


@dataclasses.dataclass(frozen=True)
class Broker:
    """What one core of mosquitto 2.0 spends (``python -m bench fleet``), and how much of it one wants to use."""

    publish_us: float = 16.0
    deliver_us: float = 16.0
    ping_us: float = 9.0
    connect_us: float = 190.0
    session_bytes: int = 4_200
    use: float = 0.5
    """Of a core, at the peak; the rest is for what is not in the model."""
    peak: float = 10.0
    """Times the mean: a morning, a storm of reconnecting subscribers."""
    back_within: float = 15.0
    """s in which a fleet comes back: the upper half of the longest back-off is random."""
    hours_away: float = 1.0
    """For which queues are held in memory."""


def table(fleets: tuple[int, ...] = FLEETS, gateway: Gateway | None = None, broker: Broker | None = None) -> str:
    """A row for each figure, a column for each size of fleet, as Markdown."""
    gateway, broker = gateway or Gateway(), broker or Broker()
    flows = list(gateway.flows())
    to_gateway = [flow for flow in flows if "batches" in flow[0] or "chunks" in flow[0]]
    messages = sum(count for _, count, _ in flows) / DAY
    volume = sum(count * size for _, count, size in flows) + gateway.pings_a_day * 2 * (2 + gateway.packet)
    # As if each message were published by somebody and delivered to somebody: too much for a group batch, which is
    # published once for all, and about right for the rest.
    busy = messages * (broker.publish_us + broker.deliver_us) + gateway.pings_a_day / DAY * broker.ping_us
    central = sum(count for name, count, _ in flows if name in {"their answers", "events", "digests"}) / DAY
    queue = sum(count * size for _, count, size in to_gateway) / 24 * broker.hours_away
    figures: list[tuple[str, Callable[[int], float]]] = [
        ("sessions at the broker", float),
        ("messages a second, mean", lambda n: n * messages),
        (f"messages a second, peak ({broker.peak:g} times)", lambda n: n * messages * broker.peak),
        ("of these, answers and events for the centre, mean", lambda n: n * central),
        ("Mbit/s, mean", lambda n: n * volume * 8 / DAY / 1e6),
        ("Mbit/s, peak", lambda n: n * volume * 8 / DAY / 1e6 * broker.peak),
        ("GB a day", lambda n: n * volume / 1e9),
        ("memory of the sessions, MB", lambda n: n * broker.session_bytes / 1e6),
        (f"queued while all are away {broker.hours_away:g} h, MB", lambda n: n * queue / 1e6),
        ("cores of a mosquitto at the peak", lambda n: n * busy * broker.peak / 1e6),
        (f"connections a second when all come back, in {broker.back_within:g} s", lambda n: n / broker.back_within),
        ("cores for that, without TLS", lambda n: n / broker.back_within * broker.connect_us / 1e6),
        (
            f"mosquittos of one core used to {broker.use:.0%}",
            lambda n: float(math.ceil(n * busy * broker.peak / 1e6 / broker.use)),
        ),
    ]
    lines = ["| | " + " | ".join(f"{n:,} gateways" for n in fleets) + " |", "|---|" + "---:|" * len(fleets)]
    lines += [f"| {name} | " + " | ".join(_figure(of(n)) for n in fleets) + " |" for name, of in figures]
    return "\n".join(lines)


def day(gateway: Gateway | None = None) -> str:
    """One gateway's day: a row for each kind of message, as Markdown."""
    gateway = gateway or Gateway()
    lines = ["| one gateway | messages a day | bytes each, all told | MB a day |", "|---|---:|---:|---:|"]
    total = [0.0, 0.0]
    for name, count, size in gateway.flows():
        lines.append(f"| {name} | {_figure(count)} | {_figure(size)} | {_figure(count * size / 1e6)} |")
        total = [total[0] + count, total[1] + count * size]
    size = 2 * (2 + gateway.packet)
    pings = gateway.pings_a_day
    lines.append(f"| pings (at most) | {_figure(pings)} | {_figure(size)} | {_figure(pings * size / 1e6)} |")
    lines.append(f"| all but pings | {_figure(total[0])} | | {_figure(total[1] / 1e6)} |")
    return "\n".join(lines)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


if __name__ == "__main__":
    print(day(), table(), sep="\n\n")
