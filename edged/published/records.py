"""What ``query`` and ``digest`` are answered with: models that describe, as :mod:`.answers`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from edged.domain.digest import SHARDS
from edged.published.answers import DeferralKind, LevelWord, Model, Number, Sum, Waiting, When


class Digests(Model):
    """The answer to `digest`."""

    hash: Annotated[Sum, Meta(description="Sum over all bindings and reasons.")]
    shards: Annotated[
        list[Sum], Meta(min_length=SHARDS, max_length=SHARDS, description="Sums over bindings and debt reasons.")
    ]


class InvoiceRecord(Model):
    """An open invoice behind a reason."""

    id: str
    due: str | None
    promises_spent: Number
    spent: Annotated[bool, Meta(description="Whether those are all that it may have.")]


class WaitingRecord(Model):
    """What a debt in force has grown by and what may not begin yet."""

    part: Annotated[
        Literal["invoice", "rest", "level"],
        Meta(description="`rest`: what is owed besides the invoices named; `level`: the reason's higher level."),
    ]
    invoice: str | None
    level: Annotated[LevelWord, Meta(description="The reason's level when it has begun.")]
    onset: Annotated[When, Meta(description="When it begins, or is looked at again.")]
    waits_for: Waiting
    notified_at: When | None


class ReasonRecord(Model):
    """One reason, in force or not."""

    reason: str
    level: LevelWord
    state: Annotated[
        Literal["in_force", "pending", "waived", "deferred", "eased"],
        Meta(
            description="`pending`: not begun; `waived`: lifted by a promise; `deferred`: by a deferral; `eased`: by"
            " one that stops short."
        ),
    ]
    since: When | None
    onset: Annotated[When | None, Meta(description="When it began, or will, or is looked at again.")]
    waits_for: Annotated[Waiting | None, Meta(description="Of one that is pending: what puts it off.")]
    overridden: Annotated[
        Literal[True] | None, Meta(description="True: begins in spite of calendar, moratorium and outage; else null.")
    ]
    deadline: When | None
    notified_at: When | None
    issuer: str | None
    ref: str | None
    page: str | None
    rate_kbit: Number | None
    invoices: list[InvoiceRecord]
    waiting: Annotated[
        list[WaitingRecord] | None, Meta(description="What of a debt in force has not begun; null where all has.")
    ] = None


class RunningPromise(Model):
    """A promise that holds now."""

    basis: Literal["promise", "payment_claimed"]
    since: When
    until: When
    invoices: Annotated[list[str], Meta(min_length=1)] | None
    channel: str | None
    issuer: str | None
    ref: str | None
    outcome: Annotated[
        Literal["fulfilled", "released"] | None,
        Meta(description="What it was given for is owed no longer; it runs on for another debt, and is no breach."),
    ]


class PromiseRecord(Model):
    """The promise that runs, and whether another could be given."""

    running: RunningPromise | None
    spent: Annotated[bool, Meta(description="An open invoice has used up its promises.")]
    breached: Annotated[bool, Meta(description="A promise ran out unpaid: none is given until the debt is paid.")]
    in_30_days: Annotated[
        int | None, Meta(description="Promises of the last 30 days; null where they are not limited.")
    ] = None
    most_in_30_days: Annotated[int | None, Meta(description="`policy.trust_per_30_days`.")] = None


class DeferralRecord(Model):
    """Debt reasons put off: by agreement, or by a moratorium."""

    kind: DeferralKind
    since: When
    until: When
    up_to: Annotated[LevelWord, Meta(description="The level it stops short at; `open`: it lifts all.")]
    invoices: Annotated[list[str], Meta(min_length=1)] | None
    issuer: str | None
    ref: str | None


class OutageRecord(Model):
    """A fault in the area."""

    id: str
    since: When
    eta: Annotated[When | None, Meta(description="When its end is expected.")]
    may_be_extended: bool
    ref: str | None


class AreaRecord(Model):
    """Where the subscriber lives, and what is said of it there."""

    name: str | None
    outage: OutageRecord | None
    moratorium_until: When | None


class XdpRecord(Model):
    """What the XDP program goes by for an address."""

    level: LevelWord
    lift: Annotated[LevelWord, Meta(description="The level while the promise runs.")] | UnsetType = UNSET
    expires_ms: Annotated[Number, Meta(description="Until the promise ends there.")] | UnsetType = UNSET


class KernelRecord(Model):
    """What the kernel holds for an address."""

    sets: list[str]
    expires_ms: dict[str, Number]
    xdp: (
        Annotated[
            XdpRecord | None,
            Meta(
                description="Null: not known to the XDP program, which leaves it to the sets. Missing: no such program."
            ),
        ]
        | UnsetType
    ) = UNSET


class AddressRecord(Model):
    """An address and the kernel's word on it."""

    address: str
    kernel: Annotated[KernelRecord | None, Meta(description="Null: the kernel did not answer.")]
    agrees: Annotated[
        bool | None,
        Meta(description="Whether the kernel holds what it was told; null: no answer, or it is just being changed."),
    ]


class Record(Model):
    """A subscriber, as `query` and `edged why --json` give it."""

    sub: str
    level: Annotated[LevelWord, Meta(description="In force now.")]
    since: When | None
    page_reason: Annotated[str | None, Meta(description="The reason that chooses the page.")]
    rev: Number | None
    reasons: list[ReasonRecord]
    promise: PromiseRecord
    deferrals: list[DeferralRecord]
    area: AreaRecord
    held: Annotated[
        list[str] | None, Meta(description="Reasons that the brake keeps until a human looked; null: none.")
    ]
    notice_seen_until: When | None
    page_shown: Annotated[
        When | None, Meta(description="When this subscriber last looked at a page, since the daemon started.")
    ]
    next_change: Annotated[When | None, Meta(description="When something changes by itself.")]
    timezone: Annotated[str, Meta(description="The provider's (`policy.timezone`), to show times to people in.")]
    addresses: list[AddressRecord]
