"""What is said without being asked, the events and the state document: models that describe, as :mod:`.answers`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from edged.published.answers import DeferralKind, Gateway, Model, Number, Sum, Version, When

Sequence = Annotated[int, Meta(ge=1, description="Rises within a gateway; an event that comes twice has the same.")]
Parts = Annotated[list[Annotated[int, Meta(ge=1)]], Meta(min_length=1, max_length=100)]
Here = Annotated[bool, Meta(extra_json_schema={"const": True}, description="The Last Will says false.")]
Gone = Annotated[bool, Meta(extra_json_schema={"const": False})]
Local = Annotated[bool, Meta(extra_json_schema={"const": True}, description="By the gateway itself.")]


class _Event(Model, tag_field="event"):
    v: Version
    gateway: Gateway
    id: Sequence
    at: Annotated[When, Meta(description="When it happened.")]


class AddressMoved(_Event, tag="address.moved"):
    """A `bind` took an address from another subscriber; its restrictions stayed behind."""

    address: Annotated[str, Meta(description="An IPv4 address or an IPv6 prefix.")]
    from_: Annotated[str, Meta(description="Who had it.")] = field(name="from")
    to: Annotated[str, Meta(description="Who has it.")]


class BlockBegan(_Event, tag="block.began"):
    """A reason that had been put off (`deferred`) has begun."""

    sub: str
    reason: str


class TrustRequested(_Event, tag="trust.requested"):
    """A subscriber asks on the page for a promise: answer with `trust`, or leave it."""

    sub: str
    channel: Annotated[str, Meta(description="Where it was asked.")] | UnsetType = UNSET


class TrustGranted(_Event, tag="trust.granted"):
    """The gateway gave a promise by itself (`policy.local_trust`), because nobody answered."""

    sub: str
    until: Annotated[When, Meta(description="When it ends.")]
    local: Local
    channel: Annotated[str, Meta(description="Where it was asked.")] | UnsetType = UNSET


class TrustEnded(_Event, tag="trust.ended"):
    """A promise is over."""

    sub: str
    outcome: Annotated[
        Literal["fulfilled", "breached", "revoked", "released", "replaced"],
        Meta(
            description="Paid; ran out unpaid (the block is back); `untrust`; its debt was unblocked or left a"
            " snapshot; another promise took its place."
        ),
    ]
    until: Annotated[When, Meta(description="When it would have ended, or has.")]


class DeferEnded(_Event, tag="defer.ended"):
    """A deferral is over."""

    sub: str
    kind: DeferralKind
    outcome: Annotated[
        Literal["expired", "settled", "released"],
        Meta(description="Its end has come; all its invoices were paid; `undefer`."),
    ]
    until: Annotated[When, Meta(description="When it would have ended, or has.")]


class PauseEnded(_Event, tag="pause.ended"):
    """The `deadline` of a `pause` has come: the gateway has cleared it."""

    sub: str


class DeadlineReached(_Event, tag="deadline.reached"):
    """The deadline of a reason has come. The gateway changes nothing: what follows is billing's to say."""

    sub: str
    reason: str
    deadline: When
    since: Annotated[When, Meta(description="Since when the level in force has been so; left out while open.")] = ""


class BrakeClosed(_Event, tag="brake.closed"):
    """The brake has begun to hold: too many new restrictions at once, or a snapshot that cannot be right."""

    why: Annotated[str, Meta(description="For people.")]
    held: Annotated[Number, Meta(description="Commands held so far.")] | UnsetType = UNSET
    sync: Annotated[str, Meta(description="Of a snapshot that is held: which.")] | UnsetType = UNSET


class BrakeReleased(_Event, tag="brake.released"):
    """A human has looked, and nothing is held any more."""

    applied: Annotated[Number, Meta(description="Commands that were held and are carried out now.")]
    refused: Annotated[Number, Meta(description="Those dropped, or refused by now.")]


class Drift(_Event, tag="drift"):
    """Somebody else changed what is edged's in the kernel; it is repaired at once."""

    what: Annotated[str, Meta(description="For people.")]


class ResyncWanted(_Event, tag="resync.wanted"):
    """Numbers are missing in a stream: compare digests, or send a snapshot."""

    issuer: Annotated[str, Meta(description="Whose stream; empty for unsigned batches without `issuer`.")]
    stream: Annotated[str, Meta(description="The channel: `gw/<gateway>/cmd` or `group/<group>/cmd`.")]
    epoch: str
    expected: Number
    got: Number


class SyncMissing(_Event, tag="sync.missing"):
    """Parts of a snapshot have not come for 30 seconds: send them (again). Repeated every 30 seconds."""

    sync: str
    issuer: str
    missing: Annotated[Parts, Meta(description="The first 100 of them.")]
    parts: Number


Event = (
    AddressMoved
    | BlockBegan
    | TrustRequested
    | TrustGranted
    | TrustEnded
    | DeferEnded
    | PauseEnded
    | DeadlineReached
    | BrakeClosed
    | BrakeReleased
    | Drift
    | ResyncWanted
    | SyncMissing
)


class Levels(Model):
    """Subscribers in each level in force."""

    notice: Number
    reduced: Number
    walled: Number
    blocked: Number


Position = Annotated[tuple[str, Number], Meta(description="Epoch and number of the last batch taken.")]


class Online(Model):
    """A gateway at work. Published at each connect, when it changes (once a second at most), and once a minute."""

    v: Version
    gateway: Gateway
    version: Annotated[str, Meta(description="Of the daemon.")]
    online: Here
    since: Annotated[When, Meta(description="When the daemon started.")]
    at: Annotated[When, Meta(description="When this was published.")]
    subscribers: Annotated[Number, Meta(description="Known, restricted or not.")]
    levels: Annotated[Levels, Meta(description="How many subscribers are restricted how far.")]
    last_batch: Annotated[str | None, Meta(description="`id` or `sync` of what was carried out last.")]
    epoch: Annotated[str | None, Meta(description="Of the stream that moved last.")]
    seq: Annotated[Number | None, Meta(description="Of the stream that moved last.")]
    streams: Annotated[dict[str, Position], Meta(description='`"<issuer> <channel>"` to [epoch, seq], each stream.')]
    hash: Annotated[Sum, Meta(description="Digest of the desired state; equal on gateways that hold the same.")]
    in_sync: Annotated[bool, Meta(description="Whether the kernel holds the desired state.")]
    portal: Annotated[Literal["up", "down"], Meta(description="The notice page.")]
    brake: Annotated[Literal["open", "closed"], Meta(description="Closed: it holds something until a human looked.")]
    xdp: Annotated[
        Literal["native", "generic", "off"],
        Meta(
            description="Whether HTTP of restricted subscribers is answered in the driver, before the stack, or there."
        ),
    ]


class Offline(Model):
    """A gateway that stopped, or was lost: the Last Will. Its restrictions stay in force."""

    v: Version
    gateway: Gateway
    version: str
    online: Gone
    since: When
