"""What every table of the file is built on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A table of the file: unknown keys are errors, values are strict and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def wrong(key: str, text: str) -> PydanticCustomError:
    """An error about ``key`` (dotted, from the root), whatever field the validator that noticed it hangs on."""
    return PydanticCustomError("edged", "{text}", {"key": key, "text": text})
