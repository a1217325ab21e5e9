"""The AsyncAPI 3.0 document: channels, operations and messages as a gateway sees them. Pure.

Its schemas are those of :mod:`.schemas` in the dialect that AsyncAPI asks for, a superset of JSON Schema draft 7.
"""

from __future__ import annotations

from typing import Any, get_args

from edged.domain import roles
from edged.mqtt.topics import ROOT
from edged.published import notices
from edged.published.examples import EXAMPLES
from edged.published.schemas import REF, Schema, components

HOME = "#/components/schemas/"
_JWS = "^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]{86}$"
_EVENTS = {str(kind.__struct_config__.tag): kind.__name__ for kind in get_args(notices.Event)}
_ANSWERS = ("acknowledgement", "chunkAcknowledgement", "snapshotAcknowledgement")
_OURS = {
    "batch": ("Batch", "A batch of commands"),
    "command": ("Command", "A single command without a batch, where signatures are not required"),
    "chunk": ("Chunk", "One part of a snapshot"),
    "acknowledgement": ("Acknowledgement", "The answer to a batch, or to what is refused as a whole"),
    "chunkAcknowledgement": ("ChunkAcknowledgement", "A chunk is on disk"),
    "snapshotAcknowledgement": ("SnapshotAcknowledgement", "A snapshot is in force"),
    "online": ("Online", "A gateway at work"),
    "offline": ("Offline", "A gateway that is gone: the Last Will"),
}
_KEYS = {"chunkAcknowledgement": "chunk-acknowledgement", "snapshotAcknowledgement": "snapshot-acknowledgement"}


def dialect(node: Any) -> Any:
    """A schema of 2020-12 in the words of AsyncAPI's own."""
    if isinstance(node, list):
        return [dialect(x) for x in node]
    if not isinstance(node, dict):
        return node.replace(REF, HOME) if isinstance(node, str) else node
    out = {k: dialect(v) for k, v in node.items()}
    if isinstance(found := out.get("discriminator"), dict):
        out["discriminator"] = found["propertyName"]
    if "prefixItems" in out:
        out["items"], out["additionalItems"] = out.pop("prefixItems"), False
    if "$ref" in out and len(out) > 1:
        out["allOf"] = [{"$ref": out.pop("$ref")}]  # beside a reference draft 7 sees nothing
    return out


def document() -> Schema:
    """The whole."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:edged:v1",
        "info": {
            "title": "edged, contract version 1",
            "version": "1",
            "description": "What a gateway hears and says over MQTT. The document for people is docs/protocol.md;"
            " this one is generated from the models, as are the JSON Schemas in docs/schema.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": _messages(),
            "schemas": {name: dialect(schema) for name, schema in components().items()},
            "securitySchemes": {"password": {"type": "userPassword"}, "certificate": {"type": "X509"}},
        },
    }


def _server() -> Schema:
    will = {"topic": f"{ROOT}gw/<gateway>/state", "qos": 1, "retain": True, "message": '{"v":1,"online":false,…}'}
    return {
        "host": "broker.example.net:8883",
        "protocol": "secure-mqtt",
        "protocolVersion": "5.0",
        "description": "Any MQTT 5 broker, over TCP on loopback or TLS; 3.1.1 without Response Topic.",
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("password", "certificate")],
        "bindings": {
            "mqtt": {
                "clientId": "edged-<gateway>",
                "cleanSession": False,
                "lastWill": will,
                "keepAlive": 30,
                "sessionExpiryInterval": 7 * 86_400,
                "maximumPacketSize": 16 << 20,
                "bindingVersion": "0.2.0",
            }
        },
    }


def _channel(address: str | None, description: str, *messages: str) -> Schema:
    names = {"gateway": "`gateway` of its configuration.", "group": "One of `groups` of its configuration."}
    parameters = {n: {"description": text} for n, text in names.items() if address and f"{{{n}}}" in address}
    return {
        "address": address and ROOT + address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        **({"parameters": parameters} if parameters else {}),
    }


def _channels() -> Schema:
    commands = ("batch", "signedBatch", "command")
    return {
        "gatewayCommands": _channel("gw/{gateway}/cmd", "Batches for one gateway. Never retained.", *commands),
        "groupCommands": _channel(
            "group/{group}/cmd", "Batches for every gateway of a group. Never retained.", *commands
        ),
        "snapshots": _channel("gw/{gateway}/sync", "Chunks of a snapshot. Never retained.", "chunk", "signedChunk"),
        "answers": _channel(
            "gw/{gateway}/ack", "Answers to messages without a Response Topic that can be used.", *_ANSWERS
        ),
        "responses": _channel(
            None,
            f"Answers where the message names a Response Topic below {ROOT}, with its Correlation Data. It may not end"
            f" in cmd, sync, state or event of a gateway or group; edged.client uses {ROOT}client/<name>/ack.",
            *_ANSWERS,
        ),
        "events": _channel("gw/{gateway}/event", "What happened without being asked.", *map(_camel, _EVENTS)),
        "state": _channel("gw/{gateway}/state", "One retained document.", "online", "offline"),
    }


def _operations() -> Schema:
    location = {"location": "$message.header#/responseTopic", "description": "The MQTT 5 Response Topic."}
    reply = {"address": location, "channel": {"$ref": "#/channels/responses"}}
    out: Schema = {}
    for name, channel, action, said in (
        ("obey", "gatewayCommands", "receive", "Carry out a batch. Roles: " + ", ".join(roles.ROLES) + "."),
        ("obeyAsAGroup", "groupCommands", "receive", "The same; every gateway of the group answers for itself."),
        ("gather", "snapshots", "receive", "Keep a chunk. Role: billing. Carried out when the last one is in."),
        ("answer", "answers", "send", "Answer where no Response Topic says otherwise."),
        ("tell", "events", "send", "Say what happened. At least once: `id` tells repetitions."),
        ("show", "state", "send", "At each connect, at each change, once a minute."),
    ):
        out[name] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": said,
            "bindings": {"mqtt": {"qos": 1, "retain": name == "show", "bindingVersion": "0.2.0"}},
            **({"reply": reply} if action == "receive" else {}),
        }
    return out


def _messages() -> Schema:
    out: Schema = {}
    for name, (schema, said) in _OURS.items():
        out[name] = _message(name, said, {"$ref": HOME + schema}, EXAMPLES[_KEYS.get(name, name)])
    for tag, schema in _EVENTS.items():
        out[_camel(tag)] = {**_message(_camel(tag), tag, {"$ref": HOME + schema}, EXAMPLES[tag]), "title": tag}
    for name in ("batch", "chunk"):
        signed = {
            "type": "string",
            "pattern": _JWS,
            "description": f"JWS in compact form, `alg` Ed25519 or EdDSA, `kid` the issuer; its payload is a {name}"
            " with `issuer`, `ts`, `expires` and `aud`.",
        }
        message = _message(f"signed{name.title()}", f"The same, signed: a {name} inside a JWS", signed, None)
        out[f"signed{name.title()}"] = {**message, "contentType": "application/jose"}
    for name in ("batch", "command", "chunk", "signedBatch", "signedChunk"):
        out[name]["headers"] = _HEADERS
    for name in (*_ANSWERS, "batch", "command", "chunk", "signedBatch", "signedChunk"):
        out[name]["correlationId"] = {"location": "$message.header#/correlationData"}
    for name in _ANSWERS:
        out[name]["headers"] = {"type": "object", "properties": {"correlationData": _CORRELATION}}
    return out


_CORRELATION = {"type": "string", "description": "MQTT 5 Correlation Data: given back as it came."}
_HEADERS = {
    "type": "object",
    "properties": {
        "responseTopic": {
            "type": "string",
            "pattern": f"^{ROOT}.+",
            "description": "MQTT 5 Response Topic: where the answer goes.",
        },
        "correlationData": _CORRELATION,
    },
}


def _message(name: str, said: str, payload: Schema, example: Schema | None) -> Schema:
    return {
        "name": name,
        "summary": said + ".",
        "contentType": "application/json",
        "payload": payload,
        **({"examples": [{"payload": example}]} if example else {}),
    }


def _camel(tag: str) -> str:
    first, *rest = tag.split(".")
    return first + "".join(word.title() for word in rest)
