"""A key that lies beside the database and not in it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from edged.errors import StoreError

NAME = "code.key"
_BYTES = 32


def key(directory: Path) -> bytes:
    """The key that one-time codes are hashed under, made when it is first asked for. Raises StoreError with the remedy.

    Without it the codes of before are worth nothing: billing sends new ones.
    """
    path = directory / NAME
    try:
        found = path.read_bytes()
        if len(found) == _BYTES:
            return found
    except FileNotFoundError:
        pass
    except OSError as e:
        raise StoreError(
            f"{path}: {e.strerror}; it holds the key of one-time codes, edged must be able to read it"
        ) from e
    made, fresh = secrets.token_bytes(_BYTES), path.with_suffix(".new")
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
