"""What is published about the contract: on disk as the models give it, and true of what is read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from edged import metrics
from edged.domain import command as c
from edged.domain.batch import read_payload
from edged.domain.rejection import Rejected
from edged.envelope import Issuer, Keyring, generate, private_text
from edged.published import __main__ as published
from edged.published import asyncapi, plainyaml, schemas, words
from edged.published.examples import EXAMPLES
from tests.published import faults, references, resolve, validator
from tests.unit.test_command import BAD, SUB
from tests.unit.test_command import GOOD as READ

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WHYS = (ROOT / "edged" / "domain" / "onset.py").read_text("utf-8")
PROTOCOL = (DOCS / "protocol.md").read_text("utf-8")

LATER = "2026-11-25T00:00:00Z"
GOOD: dict[str, dict[str, Any]] = {
    **READ,
    "block on somebody's word": {
        "op": "block", **SUB, "reason": "debt", "override": {"author": "ana", "motive": "court order 7"},
    },
    "a fraud": {"op": "block", **SUB, "reason": "fraud"},
    "a pause": {"op": "block", **SUB, "reason": "pause", "deadline": LATER},
    "documents are in order": {"op": "unblock", **SUB, "reason": "preventive", "cause": "documents_ok"},
    "trust for as long as is usual": {"op": "trust", **SUB},
    "trust to the next business day": {"op": "trust", **SUB, "next_business_day": True},
    "trust in a payment": {"op": "trust", **SUB, "basis": "payment_claimed", "method": "pix"},
    "defer": {"op": "defer", **SUB, "until": LATER, "kind": "agreement", "invoices": ["F-1"], "up_to": "reduced"},
    "undefer": {"op": "undefer", **SUB},
    "undefer one": {"op": "undefer", **SUB, "kind": "dispute"},
    "a moratorium": {"op": "moratorium", "area": "*", "until": LATER, "release_existing": True, "ref": "law 1"},
    "its end": {"op": "end_moratorium", "area": "north"},
    "an outage": {"op": "outage", "id": "O-1", "area": "north", "eta": LATER},
    "an outage of unknown length": {"op": "outage", "id": "O-1", "area": "*"},
    "it is mended": {"op": "end_outage", "id": "O-1"},
    "holidays": {"op": "calendar", "area": "north", "dates": ["2026-11-20", "2026-12-08"], "version": "2026"},
}  # fmt: skip
NOT_FOR_A_SCHEMA = {
    "hours that are none",  # no JSON at all
    "a garden network with host bits",
    "a garden port backwards",
    "a page's link that is no address",
    "a page with too many bytes",
}
"""Faults that only code finds."""

# -- on disk ---------------------------------------------------------------------------------------------------------


def test_the_files_are_what_the_models_give() -> None:
    differ = [str(path.relative_to(ROOT)) for path in published.differing(DOCS)]
    assert not differ, "run `make docs`"


def test_writing_and_checking(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS, docs)
    (docs / "schema" / "batch.schema.json").write_text("{}")
    (docs / "schema" / "old.schema.json").write_text("{}")
    (docs / "protocol.md").write_text(PROTOCOL.replace("| `paid` |", "| `payed` |"))
    run = [sys.executable, "-m", "edged.published"]
    checked = subprocess.run([*run, "--check", str(docs)], capture_output=True, text=True, cwd=ROOT)
    assert checked.returncode == 1
    assert set(re.findall(r"([\w.]+): differs", checked.stderr)) == {
        "batch.schema.json", "old.schema.json", "protocol.md",
    }  # fmt: skip
    assert subprocess.run([*run, str(docs)], capture_output=True, cwd=ROOT).returncode == 0
    assert published.differing(docs) == []
    assert (docs / "protocol.md").read_text("utf-8") == PROTOCOL


def test_every_field_and_operation_has_its_words() -> None:
    found = schemas.components()
    for name in schemas._READ:
        for field, node in found[name]["properties"].items():
            assert node["description"], f"{name}.{field}"
    assert set(words.EFFECTS) == set(c.OPS)
    assert set(words.CODES) == metrics.CODES
    waits = set(re.findall(r'why = [^\n]*?"([a-z_]+)"|, "([a-z_]+)"$', WHYS, flags=re.MULTILINE))
    assert {a or b for a, b in waits} == words.WAITS.keys()


def test_every_code_that_is_raised_is_published() -> None:
    raised = set()
    for path in (ROOT / "edged").rglob("*.py"):
        raised |= set(re.findall(r'Rejected\(\s*"([a-z_]+)"', path.read_text("utf-8")))
    assert {"malformed", "stale", "brake"} <= raised
    assert raised <= words.CODES.keys()


# -- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_a_good_command_is_valid(name: str) -> None:
    assert faults("command", GOOD[name]) == []
    assert validator("batch").is_valid({"v": 1, "id": "b", "commands": [GOOD[name]]})


@pytest.mark.parametrize("name", BAD)
def test_a_bad_command_is_not(name: str) -> None:
    valid = validator("command").is_valid(BAD[name][0])
    assert valid == (name in NOT_FOR_A_SCHEMA)


JUNK: list[Any] = [None, True, 5, -1, 0.5, 1e300, "", " ", "x", "a\nb", "x" * 300, [], [5], ["x"], {}, {"id": "F"}]


@pytest.mark.parametrize("name", GOOD)
def test_schema_and_code_agree_on_what_is_nearly_good(name: str) -> None:
    """Each field of each good command left out, or replaced by junk."""
    good = GOOD[name]
    for field in [f for f in good if f != "op"]:
        agree({f: v for f, v in good.items() if f != field})
        for junk in JUNK:
            if field == "networks" and junk == ["x"]:
                continue  # that it is no network only code finds
            agree({**good, field: junk})
    agree({**good, "unheard_of": 1})


def agree(document: dict[str, Any]) -> None:
    try:
        c.read_command(json.dumps(document).encode())
    except Rejected as e:
        accepted, why = False, e.detail
    else:
        accepted, why = True, ""
    assert validator("command").is_valid(document) == accepted, f"{document}: {why}"


BATCH: dict[str, Any] = {"v": 1, "id": "b", "commands": [{"op": "digest"}]}
CHUNK: dict[str, Any] = {"v": 1, "sync": "s", "part": 1, "parts": 2, "commands": []}


@pytest.mark.parametrize("base", ["batch", "chunk"])
def test_schema_and_code_agree_on_batches_and_chunks(base: str) -> None:
    good = BATCH if base == "batch" else CHUNK
    full = {**good, **{f: EXAMPLES[base][f] for f in ("issuer", "ts", "expires", "aud", "epoch", "seq")}}
    for document in (good, full):
        for field in document:
            variants = [{f: v for f, v in document.items() if f != field}]
            variants += [{**document, field: junk} for junk in JUNK]
            for variant in variants:
                if base == "chunk" and variant.get("part") == 5:
                    continue  # part 5 of 2: only code compares the two
                try:
                    read_payload(json.dumps(variant).encode(), 1 << 20)
                except Rejected:
                    accepted = False
                else:
                    accepted = True
                # A batch is read without looking into its commands: each falls alone.
                shallow = {**variant, "commands": [{"op": "digest"} for _ in variant["commands"]]} if isinstance(
                    variant.get("commands"), list
                ) else variant  # fmt: skip
                assert validator(base).is_valid(shallow) == accepted, variant


# -- the documents themselves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(schemas.ROOTS))
def test_a_schema_is_one(name: str) -> None:
    schema = json.loads((DOCS / "schema" / f"{name}.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    for ref in references(schema):
        resolve(schema, ref)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_is_valid(name: str) -> None:
    of = {"online": "state", "offline": "state"}.get(name, "event" if "event" in EXAMPLES[name] else name)
    assert faults(of, EXAMPLES[name]) == []


def test_the_asyncapi_document_holds_together() -> None:
    text = (DOCS / "asyncapi.yaml").read_text("utf-8")
    document = yaml.safe_load(text)
    assert document == json.loads(json.dumps(asyncapi.document()))
    assert document["asyncapi"] == "3.0.0"
    refs = list(references(document))
    assert len(refs) > 50
    for ref in refs:
        assert ref.startswith("#/")
        resolve(document, ref)
    used = {ref.rsplit("/", 1)[1] for ref in refs}
    assert set(document["components"]["messages"]) <= used, "every message is on a channel"
    for name, channel in document["channels"].items():
        address = channel["address"] or ""
        assert set(re.findall(r"\{(\w+)\}", address)) == set(channel.get("parameters", {})), name
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        channel = resolve(document, operation["channel"]["$ref"])
        assert channel["address"]
        if reply := operation.get("reply"):
            assert resolve(document, reply["channel"]["$ref"])["address"] is None, "as AsyncAPI wants beside an address"


def test_the_schemas_in_asyncapi_say_the_same() -> None:
    """In the dialect of draft 7, on examples good and bad."""
    document = asyncapi.document()
    for name, message in document["components"]["messages"].items():
        schema = {"components": document["components"], **message["payload"]}
        check = jsonschema.Draft7Validator(json.loads(json.dumps(schema)))
        for example in message.get("examples", []):
            assert check.is_valid(example["payload"]), name
            assert not check.is_valid({**example["payload"], "v": 2, "op": "?"}), name
    command = {"components": document["components"], "$ref": "#/components/schemas/Command"}
    check = jsonschema.Draft7Validator(command)
    assert all(check.is_valid(good) for good in GOOD.values())
    assert not check.is_valid({"op": "trust", **SUB, "hours": 1, "days": 1})
    assert not check.is_valid({"op": "defer", **SUB})


@pytest.mark.parametrize(
    "text", ["on", "NULL", "a: b", "- x", "5", "1e3", "", " x", "x ", "#x", "a #b", "é", "a\nb", "~"]
)
def test_yaml_is_read_as_it_was_meant(text: str) -> None:
    value = {text or "empty": [text, {"a": text, "b": [1, None, True, 0.5, {}, []]}, [text, [text]]]}
    assert yaml.safe_load(plainyaml.dump(value)) == value


# -- protocol.md -----------------------------------------------------------------------------------------------------


def test_the_topics_in_the_text_are_those_of_asyncapi() -> None:
    told = set(re.findall(r"^\| `(edged/v1/[^`]+)`", PROTOCOL, flags=re.MULTILINE))
    ours = {
        re.sub(r"\{(\w+)\}", r"<\1>", x["address"]) for x in asyncapi.document()["channels"].values() if x["address"]
    }
    assert told - ours == {"edged/v1/client/<name>/ack", "edged/v1/gw/<gateway>/echo"}
    assert ours <= told


def test_the_documents_in_the_text_are_valid() -> None:
    blocks = re.findall(r"(?:^ {4}.*\n)+", PROTOCOL, flags=re.MULTILINE)
    found = 0
    for block in blocks:
        for text in re.findall(r"\{\"(?:v|event)\".*?\}(?=\n|')", block, flags=re.DOTALL):
            document = json.loads(text.replace("[ … ]", '[{"op": "digest"}]'))
            of = next(k for k in ("event", "summary", "part", "commands") if k in document)
            name = {"event": "event", "summary": "acknowledgement", "part": "chunk", "commands": "batch"}[of]
            assert faults(name, document) == [], text
            found += 1
    assert found == 6


def test_a_batch_signed_with_openssl_as_the_text_says_is_obeyed(tmp_path: Path) -> None:
    block = re.search(r"((?: {4}.*\n)*? {4}openssl pkeyutl.*\n(?: {4}.*\n)*)", PROTOCOL)
    assert block
    key = generate()
    (tmp_path / "erp.key").write_text(private_text(key))
    (tmp_path / "batch.json").write_text(json.dumps(EXAMPLES["batch"]))
    made = subprocess.run(["bash", "-ec", block[1]], cwd=tmp_path, capture_output=True, check=True)
    ring = Keyring([Issuer("erp", (key,), frozenset())], required=True, audience=["gw1"], max_ahead=0, max_age=0)
    assert json.loads(ring.open(made.stdout).body) == EXAMPLES["batch"]
