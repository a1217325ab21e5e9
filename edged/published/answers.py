"""What answers a batch, a chunk and a snapshot: models that describe what edged/answers.py and others make."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from edged.published.words import CODES, WAITS

Number = Annotated[int, Meta(ge=0)]
When = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z$",
        extra_json_schema={"format": "date-time"},
    ),
]
Sum = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Code = Annotated[str, Meta(extra_json_schema={"enum": list(CODES)})]
LevelWord = Literal["open", "notice", "reduced", "walled", "blocked"]
DeferralKind = Literal["agreement", "dispute", "hardship", "moratorium", "onset"]
Waiting = Annotated[str, Meta(extra_json_schema={"enum": list(WAITS)})]
Told = Annotated[
    dict[str, Any],
    Meta(
        description="The record of a subscriber (`query`), or the digests (`digest`).",
        extra_json_schema={"anyOf": [{"$ref": "#/$defs/Record"}, {"$ref": "#/$defs/Digests"}]},
    ),
]
Version = Annotated[Literal[1], Meta(description="Version of the contract.")]
Gateway = Annotated[str, Meta(description="Name of the gateway that says it.")]
Index = Annotated[Number, Meta(description="Which command of the batch, from 0.")]
Named = Annotated[str | None, Meta(description="The subscriber; null where none is named, or where it cannot be read.")]
Detail = Annotated[str, Meta(description="For people: what, where, and the remedy. Its wording may change.")]


class Model(Struct, forbid_unknown_fields=True):
    """What is sent. Later versions may add members: readers ignore those they do not know."""


class Summary(Model):
    """How many commands ended how."""

    applied: Number
    unchanged: Number
    deferred: Number
    rejected: Number
    held: Annotated[Number, Meta(description="Kept by the brake until a human looked.")]


class Gap(Model):
    """Numbers ``expected`` to ``got`` - 1 of the stream never came."""

    expected: Number
    got: Number


class _Result(Model, tag_field="status"):
    i: Index
    sub: Named


class Applied(_Result, tag="applied"):
    """Carried out, and in force."""

    detail: Detail | UnsetType = UNSET
    until: Annotated[When, Meta(description="Of `trust` and `defer`: when it ends.")] | UnsetType = UNSET
    record: Told | UnsetType = UNSET


class Unchanged(_Result, tag="unchanged"):
    """It was so already."""

    detail: Detail | UnsetType = UNSET
    until: Annotated[When, Meta(description="Of `trust` and `defer`: when it ends.")] | UnsetType = UNSET


class Deferred(_Result, tag="deferred"):
    """Kept, and in force from a later moment on."""

    until: Annotated[When, Meta(description="When it begins, or is looked at again.")]
    why: Annotated[Waiting, Meta(description="What puts it off, the last of several.")]


class Withheld(_Result, tag="held"):
    """Kept by the brake. A human releases it, or drops it, at the gateway."""

    code: Annotated[Literal["brake"], Meta(description="As of a refusal.")]
    detail: Detail


class Refused(_Result, tag="rejected"):
    """It changed nothing."""

    code: Code
    detail: Detail


class Acknowledgement(Model):
    """The answer to a batch, to a single command, or to any payload that is refused as a whole."""

    v: Version
    id: Annotated[
        str | None,
        Meta(description="The batch's `id`; of a refused chunk its `sync`; null where none could be read."),
    ]
    gateway: Gateway
    duplicate: Annotated[
        bool, Meta(description="True: the id was seen before, nothing was changed now, and this is the answer of then.")
    ]
    received: Annotated[When, Meta(description="When it was taken up, by the gateway's clock.")]
    enforced: Annotated[When, Meta(description="When the kernel had accepted the change.")]
    enforced_ms: Annotated[float, Meta(ge=0, description="Milliseconds from arrival to the kernel's acceptance.")]
    summary: Annotated[Summary, Meta(description="How many commands ended how.")]
    results: Annotated[
        list[Applied | Unchanged | Deferred | Withheld | Refused],
        Meta(
            description="Every command of a batch of up to 50; of a larger one those not applied, or with a `record`.",
        ),
    ]
    gap: Annotated[Gap, Meta(description="Only where numbers of the stream are missing.")] | UnsetType = UNSET


class ChunkAcknowledgement(Model):
    """A chunk of a snapshot is on disk. What it says is carried out when the last one is in."""

    v: Version
    id: Annotated[str, Meta(description="The snapshot's `sync`.")]
    gateway: Gateway
    duplicate: bool
    received: When
    summary: Annotated[Summary, Meta(description="All zero: nothing is carried out yet.")]
    results: Annotated[list[Any], Meta(max_length=0)]
    sync: Annotated[str, Meta(description="Which snapshot.")]
    part: Annotated[Number, Meta(description="Which chunk.")]
    parts: Annotated[Number, Meta(description="How many there are.")]
    missing: Annotated[Number, Meta(description="How many parts are still to come.")]
    held: (
        Annotated[str, Meta(description="Only where the brake keeps the whole until a human looked: why. For people.")]
        | UnsetType
    ) = UNSET


class Counts(Model):
    """What a snapshot did to subscribers."""

    subscribers: Annotated[Number, Meta(description="Named in it and carried out.")]
    added: Annotated[Number, Meta(description="Not known before.")]
    changed: Annotated[Number, Meta(description="Known, and different from before.")]
    removed: Annotated[Number, Meta(description="Not named: unbound and without debt now.")]
    kept: Annotated[Number, Meta(description="Left alone, because something newer had changed them.")]


class RefusedInPart(Model, tag_field="status", tag="rejected"):
    """A command of a snapshot that changed nothing."""

    i: Annotated[Number, Meta(description="Which command of the chunk, from 0.")]
    sub: Named
    code: Code
    detail: Detail
    part: (
        Annotated[Number, Meta(description="In which chunk, from 1. Left out: the snapshot was given up half-way.")]
        | UnsetType
    ) = UNSET


class SnapshotAcknowledgement(Model):
    """A snapshot is in force as a whole. Remembered for 30 days under `sync`, as a batch's answer is."""

    v: Version
    id: Annotated[str, Meta(description="The same as `sync`.")]
    sync: Annotated[str, Meta(description="Which snapshot.")]
    gateway: Gateway
    duplicate: Annotated[bool, Meta(description="True: the answer of then to a part that came once more.")]
    received: Annotated[When, Meta(description="When the gateway began to carry it out.")]
    enforced: Annotated[When, Meta(description="When the kernel had accepted it.")]
    enforced_ms: Annotated[float, Meta(ge=0, description="Milliseconds between the two.")]
    summary: Annotated[Summary, Meta(description="Commands of all parts.")]
    counts: Annotated[Counts, Meta(description="Subscribers.")]
    hash: Annotated[Sum, Meta(description="Digest of the desired state right after it.")]
    results: Annotated[list[RefusedInPart], Meta(description="The first 50 refused commands; `summary` counts all.")]
