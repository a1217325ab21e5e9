"""Where the sender connects to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Brokers:
    """Brokers in order of preference, ``mqtt://host:port`` or ``mqtts://host:port``, and how to log in.

    The fields are those of the gateway's section ``[mqtt]``. Files are read anew for every connection.
    """

    brokers: Sequence[str] = ("mqtt://127.0.0.1:1883",)
    username: str | None = None
    password_file: str | Path | None = None
    ca_file: str | Path | None = None
    cert_file: str | Path | None = None
    key_file: str | Path | None = None
    keepalive: int = 30
    receive_maximum: int = 256
    max_payload: int = 4 << 20
