"""What a gateway says, held against the models and schemas that are published about it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import msgspec

from edged.published import answers, notices, records, schemas
from edged.published.words import CODES

_FORMATS = jsonschema.FormatChecker(["date"])


@_FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or dt.datetime.fromisoformat(value).tzinfo is not None


@cache
def validator(name: str, *, strict: bool = False) -> jsonschema.Draft202012Validator:
    """For one of the files in docs/schema. ``strict``: what it does not name is refused, too."""
    schema = schemas.files()[f"{name}.schema.json"]
    return jsonschema.Draft202012Validator(schemas.strict(schema) if strict else schema, format_checker=_FORMATS)


def faults(name: str, document: Any) -> list[str]:
    """What is wrong with a document that is sent, in a schema that knows all of it."""
    return [f"{e.json_path}: {e.message:.200}" for e in validator(name, strict=True).iter_errors(document)]


def kind(document: dict[str, Any]) -> str:
    """Which of the three answers it is."""
    if "part" in document:
        return "chunk-acknowledgement"
    return "snapshot-acknowledgement" if "counts" in document else "acknowledgement"


_MODELS: dict[str, type[answers.Model]] = {
    "acknowledgement": answers.Acknowledgement,
    "chunk-acknowledgement": answers.ChunkAcknowledgement,
    "snapshot-acknowledgement": answers.SnapshotAcknowledgement,
}
_TIMING = {"enforced": "2026-11-21T12:00:00Z", "enforced_ms": 1.0}


def hold_answer(document: dict[str, Any]) -> None:
    """Quickly: every answer of every test. Raises ``msgspec.ValidationError`` or AssertionError."""
    timing = {} if kind(document) == "chunk-acknowledgement" else _TIMING
    msgspec.convert({**document, **timing}, _MODELS[kind(document)])
    assert {r["code"] for r in document["results"] if "code" in r} <= CODES.keys()
    for record in (r["record"] for r in document["results"] if "record" in r):
        msgspec.convert(record, records.Digests if "shards" in record else records.Record)


def hold_event(document: dict[str, Any], topic: str) -> None:
    """The same for what waits in the outbox: ``topic`` empty for an event, else the last answer to a snapshot."""
    if topic:
        hold_answer(document)
    else:
        msgspec.convert({"v": 1, "gateway": "gw1", "id": 1, **document}, notices.Event)


def references(node: Any) -> Iterator[str]:
    """Every ``$ref`` of a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document: Any, pointer: str) -> Any:
    """What a reference within the document names. Raises LookupError."""
    for word in pointer.removeprefix("#/").split("/"):
        document = document[word]
    return document
