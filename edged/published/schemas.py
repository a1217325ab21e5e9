"""JSON Schemas (2020-12) out of the models: each document's own, with all that it refers to. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import msgspec

from edged.domain import command as c
from edged.domain import page, payment
from edged.domain.batch import Batch, Chunk
from edged.domain.region import EVERYWHERE
from edged.published import answers, notices, records
from edged.published.words import EFFECTS, FIELDS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REF = "#/$defs/"
RFC3339 = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$"
_NO_SPACE_AT_THE_ENDS = {"not": {"pattern": "^ | $|[\\u0000-\\u001f\\u007f-\\u009f]"}}
OF_EVERY_MOMENT = "RFC 3339 with zone."
"""What the type of all times says of each, and no document needs to repeat."""
_OF_COMMANDS = RFC3339.replace("[0-9]{4}", "(197[1-9]|19[89][0-9]|[2-8][0-9]{3})", 1)
"""Beyond these years a command is refused."""

ROOTS = {
    "batch": "Batch",
    "command": "Command",
    "chunk": "Chunk",
    "acknowledgement": "Acknowledgement",
    "chunk-acknowledgement": "ChunkAcknowledgement",
    "snapshot-acknowledgement": "SnapshotAcknowledgement",
    "event": "Event",
    "state": "State",
}
"""File name before ``.schema.json`` -> what it describes."""
TITLES = {
    "Command": "One command; `op` says which.",
    "Event": "What happened without being asked; `event` says what.",
    "State": "The retained document of a gateway.",
}


def _given(name: str, value: Schema | None = None) -> Schema:
    """It is there, and not null, or valid by ``value``."""
    return {"required": [name], "properties": {name: value or {"not": {"type": "null"}}}}


def _either(*branches: Schema) -> Schema:
    """Exactly one of these."""
    return {"oneOf": list(branches)}


_ENDS = (_given("until"), _given("hours"), _given("days"), _given("next_business_day", {"const": True}))


_NUMBERED = {
    "if": {"required": ["epoch"], "properties": {"epoch": {"type": "string"}}},
    "then": {"required": ["seq"], "properties": {"seq": {"type": "integer"}}},
}
_UNPRINTED = r"\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
_FORMS = {
    "text": f"^[^{_UNPRINTED}]*$",
    "link": r'^https://[^/?#@\s"<>\\^`{|}]+([/?#][^\s"<>\\^`{|}]*)?$',
}
_TEXTS = {
    f"^{kind}(\\.({'|'.join(page.LANGUAGES)}))?$": {
        "type": "string",
        "minLength": 1,
        "maxLength": most,
        "pattern": _FORMS.get(kind, f"^[^\\u000a{_UNPRINTED}]*$"),
    }
    for kind, most in page.LENGTHS.items()
}
_PAYMENT = {"properties": dict.fromkeys(payment.FIELDS, True), "additionalProperties": False}
WHOLE: dict[str, Schema] = {
    "Page": {
        "if": _given("sub"),
        "then": {"properties": {"fields": _PAYMENT}},
        "else": {
            "required": ["reason"],
            "properties": {
                "reason": {"not": {"type": "null"}},
                "rev": {"type": "null"},
                "invoices": {"maxItems": 0},
                "fields": {"patternProperties": _TEXTS, "additionalProperties": False},
            },
        },
    },
    "Trust": {
        **_either(*_ENDS, {"not": {"anyOf": list(_ENDS)}}),
        "if": _given("method"),
        "then": _given("basis", {"const": "payment_claimed"}),
    },
    "Query": _either(_given("sub"), _given("address")),
    "Batch": _NUMBERED,
    "Chunk": _NUMBERED,
}
"""Rules between fields, which the structs have in code."""
PARTS: dict[tuple[str, str], Schema] = {
    **{(name, "sub"): _NO_SPACE_AT_THE_ENDS for name in (t.__name__ for t in get_args(c.OnSubscriber))},
    ("Page", "sub"): {"not": {"type": "string", **_NO_SPACE_AT_THE_ENDS["not"]}},
    ("Batch", "id"): _NO_SPACE_AT_THE_ENDS,
    ("Chunk", "sync"): _NO_SPACE_AT_THE_ENDS,
    **{(name, "area"): {"not": {"const": EVERYWHERE}} for name in ("Bind", "SetHolidays")},
}
"""Rules of single fields, which the structs have in code."""
ITEMS: dict[tuple[str, str], Schema] = {
    ("GardenList", "ports"): {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": "^((tcp|udp)/)?(?!0+(-|$))[0-9]{1,5}(-[0-9]{1,5})?$"},
        ]
    },
    ("GardenList", "domains"): {
        "type": "string",
        "maxLength": 255,
        "pattern": r"^[^.\s*/:@]{1,63}(\.[^.\s*/:@]{1,63})+\.?$",
    },
    ("Batch", "commands"): {"$ref": REF + "Command"},
    ("Chunk", "commands"): {"$ref": REF + "Command"},
}
"""What a list holds, where the struct reads it later."""


def components() -> dict[str, Schema]:
    """Name -> schema of every model; references are ``#/$defs/<name>``."""
    unions = {"Command": c.Command, "Event": notices.Event}
    plain = (
        Batch, Chunk, answers.Acknowledgement, answers.ChunkAcknowledgement, answers.SnapshotAcknowledgement,
        records.Record, records.Digests, notices.Online, notices.Offline,
    )  # fmt: skip
    made, found = msgspec.json.schema_components([*unions.values(), *plain], ref_template=REF + "{name}")
    out = {name: dict(schema) for name, schema in found.items()}
    for name, schema in zip(unions, made, strict=False):
        out[name] = {"description": TITLES[name], "type": "object", **schema}
    branches = [{"$ref": REF + "Online"}, {"$ref": REF + "Offline"}]
    out["State"] = {"description": TITLES["State"], "type": "object", "oneOf": branches}
    for name, schema in out.items():
        _complete(name, schema)
    plain_ones = {name: _plain(schema, sent=name not in _READ) for name, schema in sorted(out.items())}
    return {name: _within(schema) if name in _COMMANDS else schema for name, schema in plain_ones.items()}


_COMMANDS = {t.__name__ for t in get_args(c.Command)}
_READ = {"Batch", "Chunk", "InvoiceIn", "Override", *_COMMANDS}
"""What the gateway reads: unknown fields are refused there, and to be ignored in what it sends."""


_FIRST = ("title", "description", "const", "enum", "type", "discriminator")
"""Order of a schema's members, for those who read it."""


def _complete(name: str, schema: Schema) -> None:
    """Put in what the type does not say."""
    words = {**FIELDS[""], **FIELDS.get(name, {})}
    for field, node in schema.get("properties", {}).items():
        if name in _READ:
            node["description"] = words[field]
        if rule := PARTS.get((name, field)):
            node.update(rule)
        if rule := ITEMS.get((name, field)):
            node["items"] = rule
    schema.update(WHOLE.get(name, {}))
    op = schema.get("properties", {}).get("op", {}).get("enum", [""])[0]
    schema["description"] = EFFECTS[op] + "." if op in EFFECTS else schema["description"].replace("``", "`")


def _within(node: Any) -> Any:
    """With the years that the times of commands may have."""
    if isinstance(node, list):
        return [_within(x) for x in node]
    if not isinstance(node, dict):
        return _OF_COMMANDS if node == RFC3339 else node
    return {k: _within(v) for k, v in node.items()}


def _plain(node: Any, *, sent: bool) -> Any:
    """The same in fewer words: a type or null as a list of types, one value as a constant."""
    if isinstance(node, list):
        return [_plain(x, sent=sent) for x in node]
    if not isinstance(node, dict):
        return node
    out = {k: _plain(v, sent=sent) for k, v in node.items()}
    if out.get("format") == "date-time" and "pattern" not in out:
        out["pattern"] = RFC3339
        if out.get("description") == OF_EVERY_MOMENT:
            del out["description"]
    if len(out.get("enum", ())) == 1:
        out = {"const": out["enum"][0], **{k: v for k, v in out.items() if k != "enum"}}
    if "discriminator" in out and "anyOf" in out:
        out["oneOf"] = out.pop("anyOf")
    if sent and out.get("additionalProperties") is False:
        del out["additionalProperties"]
    match out.get("anyOf"):  # a type or null
        case [{"type": str(kind), **rest}, {"type": "null"}] if not {"const", "enum"} & rest.keys():
            del out["anyOf"]
            out = {"type": [kind, "null"], **rest, **out}
        case [{"enum": list(values)}, {"type": "null"}]:
            del out["anyOf"]
            out = {"enum": [*values, None], **out}
    return {k: out[k] for k in [*(k for k in _FIRST if k in out), *(k for k in out if k not in _FIRST)]}


def strict(node: Any) -> Any:
    """A schema that also refuses what it does not name: for tests of what is sent."""
    if isinstance(node, list):
        return [strict(x) for x in node]
    if not isinstance(node, dict):
        return node
    out = {k: strict(v) for k, v in node.items()}
    if isinstance(out.get("properties"), dict) and out.get("type") == "object":
        out.setdefault("additionalProperties", False)
    return out


def references(node: Any) -> Iterator[str]:
    """Every ``$ref`` in it."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if key == "$ref" or (key == "mapping" and isinstance(value, dict)):
            yield from [value] if isinstance(value, str) else value.values()
        else:
            yield from references(value)


def document(root: str, found: dict[str, Schema]) -> Schema:
    """The file that describes ``root``; ``found`` is :func:`components`."""
    needed: dict[str, Schema] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        for ref in references(found[name]):
            if (other := ref.removeprefix(REF)) not in needed:
                needed[other] = found[other]
                waiting.append(other)
    head = {"$schema": DIALECT, "$id": f"urn:edged:v1:{root.lower()}", "title": root}
    return head | found[root] | ({"$defs": dict(sorted(needed.items()))} if needed else {})


def files() -> dict[str, Schema]:
    """File name -> schema."""
    found = components()
    return {f"{name}.schema.json": document(root, found) for name, root in ROOTS.items()}
