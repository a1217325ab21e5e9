"""A key that lies beside the database and not in it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from edged.errors import StoreError

NAME = "code.key"
_BYTES = 32


def read(directory: Path) -> bytes:
    """The key that one-time codes are hashed under; empty where there is none yet. Raises StoreError."""
    path = directory / NAME
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as e:
        raise StoreError(f"{path}: {e.strerror}; it holds the key of one-time codes, let edged read it") from e
    return found if len(found) == _BYTES else b""


def make(directory: Path) -> bytes:
    """A new key, kept. The codes of before are worth nothing then: billing sends new ones. Raises StoreError."""
    path, made = directory / NAME, secrets.token_bytes(_BYTES)
    fresh = path.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, made)
            os.fsync(handle)
        finally:
            os.close(handle)
        fresh.replace(path)
    except OSError as e:
        raise StoreError(f"{path}: {e.strerror}; check state_dir, its owner and free space") from e
    return made
