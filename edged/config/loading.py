"""From file and environment to a :class:`Config`.

The environment wins over the file. Each value's origin is kept for ``edged check-config``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from edged.config.mistakes import ENVIRONMENT_PREFIX, field_of, lower_first, sentence
from edged.config.models import Config
from edged.config.security import SecuritySection
from edged.errors import ConfigError

DEFAULT_PATH = Path("/etc/edged/edged.toml")
_NOT_KEYS = frozenset({"EDGED_CONFIG"})  # it names the file, so it cannot be a key of it


@dataclass(frozen=True)
class Loaded:
    """A configuration and, for each dotted key that is not a default, where it was written."""

    config: Config
    path: Path | None
    """The file that was read; None when there was none and the environment said everything."""
    origins: Mapping[str, str]
    """Dotted key -> ``file`` or the name of the environment variable."""


class _Environment(EnvSettingsSource):
    """``EDGED_…`` variables. Text that is no JSON is kept, so that the check of the key can name key and remedy."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def config_path(path: Path | None) -> Path:
    """``path``, else ``$EDGED_CONFIG``, else ``/etc/edged/edged.toml``."""
    return path or Path(os.environ.get("EDGED_CONFIG") or DEFAULT_PATH)


def load(path: Path | None = None) -> Config:
    """The configuration in force. Raises ConfigError that lists every mistake."""
    return load_with_origins(path).config


def load_with_origins(path: Path | None = None) -> Loaded:
    """As :func:`load`, with the origin of each value."""
    file = config_path(path)
    written = _read(file)
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, value in _leaves(written or {}):
        _put(merged, key, value)
        origins[".".join(key)] = "file"
    for key, value in _leaves(_environment()):
        _put(merged, key, value)
        origins[".".join(key)] = ENVIRONMENT_PREFIX + "__".join(key).upper()
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        problems = [sentence(detail, origins, merged) for detail in error.errors(include_url=False)]
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        where = str(file) if written is not None else f"{file} does not exist, environment only"
        raise ConfigError("\n  ".join([f"{where}: {count}", *problems])) from None
    return Loaded(config, file if written is not None else None, origins)


def with_security(config: Config, security: SecuritySection) -> Config:
    """``config`` with another section, judged as a whole. Raises ConfigError."""
    values = {name: getattr(config, name) for name in Config.model_fields} | {"security": security}
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = [sentence(detail, {}, {}) for detail in error.errors(include_url=False)]
        raise ConfigError("; ".join(problems)) from None


def _read(file: Path) -> dict[str, Any] | None:
    """The file's content; None where the default file does not exist, because the environment may say everything."""
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        if file == DEFAULT_PATH:
            return None
        raise ConfigError(f"{file}: no such file; name one with --config or EDGED_CONFIG") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; let the group edged read it") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {lower_first(str(error))}; this is not TOML, mind quotes and brackets") from error


def _environment() -> dict[str, Any]:
    """What ``EDGED_…`` says, as nested tables; unknown names included, to be refused like those of the file."""
    tables: dict[str, Any] = _Environment(Config)()
    for variable, text in os.environ.items():
        key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in _NOT_KEYS and key[0] not in Config.model_fields:
            _put(tables, tuple(key), text)
    for key_path, value in list(_leaves(tables)):
        field = field_of(key_path)
        if isinstance(value, str) and field is not None and field.annotation is int:
            _put(tables, key_path, _integer(value))
    return tables


def _integer(text: str) -> int | str:
    try:
        return int(text, 0)  # also 0x…, as TOML takes it
    except ValueError:
        return text


def _leaves(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        here = (*path, key)
        if isinstance(value, dict) and value:
            yield from _leaves(value, here)
        else:
            yield here, value


def _put(table: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    for part in key[:-1]:
        below = table.get(part)
        if not isinstance(below, dict):
            below = table[part] = {}
        table = below
    table[key[-1]] = value
