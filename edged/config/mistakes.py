"""What is wrong with a configuration, as sentences: ``key = value (origin): what would be right``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from edged import __version__
from edged.config.models import Config

ENVIRONMENT_PREFIX = "EDGED_"

# Keys of the contract that this version does not know yet: who copies a newer file must not search for a typing error.
_LATER = frozenset({
    "brake", "policy.cut_calendar", "policy.guard_reblock", "policy.local_trust",
})  # fmt: skip


_REMEDIES = {
    "int_type": "must be a whole number without quotes",
    "int_from_float": "must be a whole number without quotes",
    "float_type": "must be a number without quotes",
    "bool_type": "must be true or false, without quotes",
    "string_type": 'must be text in "quotes"',
    "path_type": 'must be text in "quotes"',
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must not be longer than {max_length} characters",
    "literal_error": "must be one of {expected}",
    "value_error": "{error}",
    "edged": "{text}",
}
"""Type of pydantic's error -> our words; the braces take the error's own context."""


def sentence(detail: ErrorDetails, origins: Mapping[str, str], merged: Mapping[str, Any]) -> str:
    """One mistake. ``origins`` and ``merged`` are what was read: dotted key -> origin, and the nested values."""
    context = detail.get("ctx") or {}
    location: tuple[str | int, ...] = detail["loc"]
    value = detail["input"]
    if "key" in context:  # the check hangs on another field than the one at fault
        location = tuple(str(context["key"]).split("."))
        value = _value_at(merged, location)
    key = _dotted(location)
    names = tuple(part for part in location if isinstance(part, str))
    origin = _origin(names, origins)
    if detail["type"] == "missing":
        return f"{key}: is required; {_example(names)}"
    equals = "" if value is None or _is_table(value) else f" = {_shown(_masked(value, names))}"
    return f"{key}{equals} ({origin}): {_remedy(detail, names, origin)}"


def _remedy(detail: ErrorDetails, names: tuple[str, ...], origin: str) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return _unknown(names)
        case "too_short" | "string_too_short":
            return f"must not be empty; {_example(names)}"
        case "list_type":
            return f"must be a list; write {_list_example(names, origin)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a table; write [{_dotted(names)}] on a line of its own and its keys below"
        case kind if kind in _REMEDIES:
            return _REMEDIES[kind].format_map(detail.get("ctx") or {})
        case _:
            return lower_first(detail["msg"])


def _list_example(names: tuple[str, ...], origin: str) -> str:
    of_tables = _table_of(field_of(names)) is not None
    if origin.startswith(ENVIRONMENT_PREFIX):
        return 'it as JSON: [{"name": "…", …}]' if of_tables else 'it as JSON: ["a", "b"]'
    return f"[[{_dotted(names)}]], with two brackets on each side, once for each" if of_tables else '["a", "b"]'


def _unknown(names: tuple[str, ...]) -> str:
    if any(parent in _LATER for parent in _parents(names)):
        return f"comes with a later version of edged; this is {__version__}, remove it"
    known = {".".join(key) for key in known_keys(lists=True)}
    known |= {key.rpartition(".")[0] for key in known} - {""}
    key = ".".join(names)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
    if not near:  # the right name in the wrong section
        near = [k for k in sorted(known) if k.rpartition(".")[2] == names[-1]][:1]
    return f"no such key; did you mean {near[0]}?" if near else "no such key; remove it"


def known_keys(
    model: type[BaseModel] = Config, path: tuple[str, ...] = (), *, lists: bool = False
) -> Iterator[tuple[str, ...]]:
    """Every key of the file, in the order of the models; with ``lists`` also those of each table in a list."""
    for field_name, field in model.model_fields.items():
        here = (*path, field_name)
        below = _table_of(field)
        if below is not None and (lists or below is field.annotation):
            yield from known_keys(below, here, lists=lists)
        else:
            yield here


def _table_of(field: FieldInfo | None) -> type[BaseModel] | None:
    """The model of a table, or of each table in a list; None for a plain value."""
    kind = field.annotation if field else None
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _example(names: tuple[str, ...]) -> str:
    field = field_of(names)
    if field is None:
        return "write it"
    if field.examples:
        return f"write for instance {names[-1]} = {_shown(field.examples[0])}"
    required = [
        n
        for n in known_keys(lists=True)
        if n[: len(names)] == names and (f := field_of(n)) is not None and f.is_required()
    ]
    return "write at least " + ", ".join(".".join(n) for n in required)


def field_of(key: tuple[str, ...]) -> FieldInfo | None:
    """The declaration of a key, None where there is none."""
    model: type[BaseModel] | None = Config
    field = None
    for part in key:
        field = model.model_fields.get(part) if model else None
        model = _table_of(field)
    return field


def lower_first(text: str) -> str:
    """For a foreign message that goes on after a colon."""
    return text[:1].lower() + text[1:]


def _origin(names: tuple[str, ...], origins: Mapping[str, str]) -> str:
    """Where a key was written; for a table, where the first key below it was."""
    for parent in _parents(names):
        for key, origin in origins.items():
            if key == parent or key.startswith(parent + "."):
                return origin
    return "default"


def _parents(names: tuple[str, ...]) -> list[str]:
    return [".".join(names[:n]) for n in range(len(names), 0, -1)]


def _dotted(location: tuple[str | int, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def _value_at(table: Mapping[str, Any], location: tuple[str | int, ...]) -> Any:
    value: Any = table
    for part in location:
        value = value.get(part) if isinstance(value, Mapping) else None
    field = field_of(tuple(str(part) for part in location))
    return field.default if value is None and field is not None else value


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(entry, dict) for entry in value))


def _masked(value: Any, names: tuple[str, ...]) -> Any:
    """Where a public key belongs, somebody may have written the private one: that is not for screens and logs."""
    may_be_secret = names[:2] == ("security", "issuers") and names[-1] in {"issuers", "key", "other_key"}
    return f"{value:.8}…" if may_be_secret and isinstance(value, str) and len(value) > 8 else value


def _shown(value: Any) -> str:
    """The value as TOML would have it, cut; a URL's credentials do not belong on a screen."""
    match value:
        case bool():
            text = "true" if value else "false"
        case str():
            scheme, slashes, rest = value.partition("://")
            text = f'"{scheme}://…@{rest.rpartition("@")[2]}"' if slashes and "@" in rest else f'"{value}"'
        case list():
            text = f"[{', '.join(_shown(entry) for entry in value)}]"
        case _:
            text = str(value)
    return text if len(text) <= 120 else text[:119] + "…"
