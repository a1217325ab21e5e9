"""The tables of docs/protocol.md that the models give, and how they get between their markers. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, get_args

from edged.domain import command as c
from edged.domain import roles
from edged.domain.model import REASONS
from edged.published import examples
from edged.published.schemas import REF, Schema, components
from edged.published.words import CODES, EFFECTS, FIELDS, WAITS

_KIND = {"array": "list", "integer": "integer", "number": "number", "string": "text", "boolean": "true, false"}


def filled(text: str) -> str:
    """The document with every generated part as the models have it. Raises KeyError for a marker nobody knows."""
    found = components()

    def part(match: re.Match[str]) -> str:
        name, _, rest = match[1].partition(" ")
        lines = PARTS[name](found, *rest.split())
        return f"<!-- generated: {match[1]} -->\n" + "\n".join(lines) + "\n<!-- end -->"

    return re.sub(r"<!-- generated: ([^>]+?) -->\n.*?<!-- end -->", part, text, flags=re.DOTALL)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [_row(*head), "|" + "---|" * len(head), *(_row(*row) for row in rows)]


def commands(found: dict[str, Schema]) -> list[str]:
    """Operations: fields, who may, effect."""
    rows = []
    for kind, op in sorted(c.TAGS.items(), key=lambda x: c.OPS.index(x[1])):
        schema = found[kind.__name__]
        names = [
            f"`{n}`" + ("" if n in schema["required"] else "?")
            for n in schema["properties"]
            if n not in {"op", "rev", "ref"}
        ]
        rows.append((f"`{op}`", ", ".join(names), _who(op), EFFECTS[op]))
    return _table(("op", "fields", "role", "effect"), rows)


def _who(op: str) -> str:
    if op in {"block", "unblock"}:
        return "by reason"
    allowed = [r for r in roles.ROLES if roles.may([r], op)]
    return "all" if len(allowed) == len(roles.ROLES) else ", ".join(allowed)


def fields(found: dict[str, Schema]) -> list[str]:
    """Every field of every command, once."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for kind, op in sorted(c.TAGS.items(), key=lambda x: c.OPS.index(x[1])):
        for field, node in found[kind.__name__]["properties"].items():
            if field != "op":
                said = FIELDS.get(kind.__name__, {}).get(field) or FIELDS[""][field]
                rows.setdefault((field, _kind(node, found), said), []).append(op)
    head = ("field", "of", "value", "meaning")
    return _table(head, [(f"`{f}`", _of(ops), kind, said) for (f, kind, said), ops in rows.items()])


_ON_SUBSCRIBER = frozenset(c.TAGS[kind] for kind in get_args(c.OnSubscriber))


def _of(ops: list[str]) -> str:
    """Which commands have a field, in few words."""
    if not set(ops) >= _ON_SUBSCRIBER:
        return ", ".join(ops)
    return ", ".join(["every command on a subscriber", *(op for op in ops if op not in _ON_SUBSCRIBER)])


def members(found: dict[str, Schema], *names: str) -> list[str]:
    """The members of what these models describe; later ones may add to the first, and say only what is new."""
    rows: dict[str, tuple[str, ...]] = {}
    for name in names:
        schema = found[name]
        for field, node in schema["properties"].items():
            needed = "" if field in schema["required"] else "?"
            rows.setdefault(field, (f"`{field}`{needed}", _kind(node, found), node.get("description", "")))
    return _table(("member", "value", "meaning"), rows.values())


def events(found: dict[str, Schema]) -> list[str]:
    """Events, each with its fields."""
    rows = []
    for ref in found["Event"]["oneOf"]:
        schema = found[ref["$ref"].removeprefix(REF)]
        own = {f: n for f, n in schema["properties"].items() if f not in {"event", "v", "gateway", "id", "at"}}
        told = ", ".join(f"`{f}`" + _aside(n) for f, n in own.items())
        rows.append((f"`{schema['properties']['event']['const']}`", told, schema["description"]))
    return _table(("event", "members", "when"), rows)


def _aside(node: Schema) -> str:
    return f" ({node['description'].rstrip('.')})" if "description" in node else ""


def codes(_: dict[str, Schema]) -> list[str]:
    """Codes: when, and what the sender does."""
    return _table(("code", "when", "what to do"), ((f"`{n}`", *said) for n, said in CODES.items()))


def waits(_: dict[str, Schema]) -> list[str]:
    """What puts a reason off."""
    return _table(("`why`", "what puts it off"), ((f"`{n}`", said) for n, said in WAITS.items()))


def reasons(_: dict[str, Schema]) -> list[str]:
    """Reasons: level, who may."""
    rows = [
        (f"`{n}`", level.word, ", ".join(r for r in roles.ROLES if roles.may([r], "block", n)))
        for n, level in REASONS.items()
    ]
    return _table(("reason, strongest first", "level", "role"), rows)


def sums(_: dict[str, Schema]) -> list[str]:
    """The worked sums."""
    return examples.sums()


def _kind(node: Schema, found: dict[str, Schema]) -> str:
    """A value in few words."""
    if "const" in node:
        return f"`{_word(node['const'])}`"
    if "enum" in node:
        return ", ".join(f"`{_word(v)}`" for v in node["enum"] if v is not None)
    if ref := node.get("$ref"):
        return _object(found[str(ref).removeprefix(REF)])
    if node.get("format") in {"date-time", "date"}:
        return "time" if node["format"] == "date-time" else "date"
    if "anyOf" in node:
        return " or ".join(_kind(x, found) for x in node["anyOf"] if x != {"type": "null"})
    kind = node.get("type", "object")
    word = _KIND.get(kind[0] if isinstance(kind, list) else kind, str(kind))
    if word == "list":
        items = node.get("items") or {}
        inner = "" if "oneOf" in items or not items else f" of {_kind(items, found)}"
        word = f"list{_bounds(node)}{inner}"
    else:
        word += _bounds(node)
    return word + (" or null" if isinstance(kind, list) and "default" not in node else "")


def _object(schema: Schema) -> str:
    """Its members, where there are few."""
    names = [n + ("" if n in schema["required"] else "?") for n in schema.get("properties", ())]
    return "object" + (f" ({', '.join(names)})" if names else "")


def _bounds(node: Schema) -> str:
    for low, high in (("minLength", "maxLength"), ("minItems", "maxItems"), ("minimum", "maximum")):
        if (most := node.get(high)) is not None and most < 1 << 53:
            least = f">{node['exclusiveMinimum']:g}" if "exclusiveMinimum" in node else node.get(low, 0)
            return f" ({most})" if most == least else f" ({least}–{most})"
    return ""


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


PARTS: dict[str, Callable[..., list[str]]] = {
    "commands": commands,
    "fields": fields,
    "members": members,
    "events": events,
    "codes": codes,
    "reasons": reasons,
    "waits": waits,
    "sums": sums,
}
"""Name in a marker -> what stands behind it."""
