"""What all values of the domain have in common: they do not change, the wire's know no other fields, and so on."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any

import msgspec
import pytest

import edged.domain
from edged.domain import address, audit, batch, model, region, standing, verdict
from edged.domain.fields import InvoiceIn, Shape
from edged.domain.on_subscriber import Override
from edged.domain.paytoken import PayToken


def structs() -> list[type[msgspec.Struct]]:
    """Every one that a module of the domain defines."""
    modules = [importlib.import_module(f"edged.domain.{m.name}") for m in pkgutil.iter_modules(edged.domain.__path__)]
    found = {c for m in modules for c in vars(m).values() if inspect.isclass(c) and issubclass(c, msgspec.Struct)}
    return sorted((c for c in found if c.__module__.startswith("edged.domain.")), key=lambda c: c.__qualname__)


STRUCTS = structs()
WIRE = [c for c in STRUCTS if issubclass(c, Shape | batch.Head | InvoiceIn | Override | PayToken)]
MANY = [
    *(c for c in STRUCTS if issubclass(c, Shape | InvoiceIn | Override)),
    *(c for c in STRUCTS if c.__module__ in {m.__name__ for m in (model, region, verdict)}),
    audit.Decision,
]
"""What is made of each command, or of each subscriber, by the hundred thousand."""


def test_there_are_as_many_as_ever() -> None:
    assert len(STRUCTS) > 45
    assert len(WIRE) > 25


@pytest.mark.parametrize("kind", STRUCTS, ids=str)
def test_values_do_not_change(kind: type[msgspec.Struct]) -> None:
    """Whoever holds one may keep it: a group of commands that is rolled back leaves what it had."""
    assert kind.__struct_config__.frozen or kind is batch._Probe


@pytest.mark.parametrize("kind", WIRE, ids=str)
def test_what_the_contract_does_not_know_is_refused(kind: type[msgspec.Struct]) -> None:
    """Contract §1: a misspelt field must not be a restriction without its term."""
    assert kind.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("kind", MANY, ids=str)
def test_what_there_is_by_the_hundred_thousand_is_nothing_to_the_collector(kind: type[msgspec.Struct]) -> None:
    """None of it can be part of a cycle, so there is nothing to look for in it."""
    assert not kind.__struct_config__.gc or kind in {model.Policy, region.Regions}


@pytest.mark.parametrize("kind", [batch.Head, batch.Batch, batch.Chunk])
def test_envelopes_are_made_by_name(kind: type[msgspec.Struct]) -> None:
    """A field that the contract gains must not take another one's place."""
    with pytest.raises(TypeError, match="positional"):
        kind(1)


KEPT = [c for c in STRUCTS if c.__module__ in {m.__name__ for m in (model, region, verdict, audit)}]
NOT_NOTHING = {
    model.Subscriber: {"rev": -1},
    verdict.Decision: {"status": "applied"},
    audit.Decision: {"status": "applied"},
}


@pytest.mark.parametrize("kind", [c for c in KEPT if c is not model.Policy], ids=str)
def test_what_is_not_said_is_nothing(kind: type[msgspec.Struct]) -> None:
    """What is as always, and so takes no room in the store, is 0, no, or empty."""
    said = {f.name: f.default for f in msgspec.structs.fields(kind) if f.default is not msgspec.NODEFAULT and f.default}
    assert said == NOT_NOTHING.get(kind, {})


def test_what_is_kept_is_read_by_the_version_before_and_the_next() -> None:
    """The form in the store, written out by hand."""
    reason = model.Reason(3, 1, 2, (model.Invoice("A", "2026-01-02"), model.Invoice("B")), waits=(WAITING,))
    sub = model.Subscriber("C-1", reasons={"debt": reason}, promise=model.Promise("promise", 1, 2, ("A",)))
    kept = (
        b'{"sub":"C-1","reasons":{"debt":{"level":3,"since":1,"onset":2,"invoices":[["A","2026-01-02"],["B",""]],'
        b'"waits":[{"id":"B","onset":5,"why":"calendar","earliest":4}]}},'
        b'"promise":{"basis":"promise","since":1,"until":2,"invoices":["A"]}}'
    )
    assert msgspec.json.encode(sub) == kept
    assert msgspec.json.decode(kept, type=model.Subscriber) == sub
    regions = {"north": region.Moratorium(1, 2)}, {"o": region.Outage("north", 1)}, region.Holidays((), "v")
    assert msgspec.json.encode(regions) == (
        b'[{"north":{"since":1,"until":2}},{"o":{"area":"north","since":1}},{"dates":[],"version":"v"}]'
    )


def test_of_nobody_nothing_is_known() -> None:
    assert not any(dataclasses.astuple(standing.NOBODY))
    assert dataclasses.astuple(standing.Standing(1, "notice", 2)) == (
        1,
        "notice",
        2,
        *dataclasses.astuple(standing.NOBODY)[3:],
    )


WAITING = model.Waiting("B", 5, "calendar", 4)


@pytest.mark.parametrize("kind", [address.Addressing, standing.Standing])
def test_what_is_no_struct_is_as_small_and_as_still(kind: type[Any]) -> None:
    made = kind() if kind is address.Addressing else kind(0, "", 0)
    assert not hasattr(made, "__dict__")
    name = dataclasses.fields(made)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, name, getattr(made, name))
