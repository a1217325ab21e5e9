"""Whose commands are obeyed: ``[security]`` and ``[[security.issuers]]``. May change while the daemon runs (SIGHUP)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from edged.config import checks
from edged.config.section import Section, wrong
from edged.domain.keytext import public_key

Role = Literal["billing", "security", "legal", "noc", "operator"]
PublicKey = Annotated[str, AfterValidator(public_key)]
IssuerName = Annotated[str, AfterValidator(checks.issuer)]


class IssuerSection(Section):
    """One who signs commands."""

    name: IssuerName = Field(description="The kid of its signatures and the issuer of its batches.", examples=["erp"])
    key: PublicKey = Field(
        description="Its public key: 43 characters of base64url, as `edged keygen` prints them.",
        examples=["h3PInoBOVekp7fVn9Oz7FztYQegmSo5rgLtQLZbRhjQ"],
    )
    other_key: PublicKey | None = Field(None, description="Accepted as well, while one key replaces the other.")
    roles: Annotated[list[Role], Field(min_length=1), AfterValidator(checks.distinct)] = Field(
        description="What it may ask for: billing, security, legal, noc, operator.", examples=[["billing"]]
    )

    @field_validator("other_key")
    @classmethod
    def _two_keys_differ(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value == info.data.get("key"):
            raise ValueError("is the same as key; write the other one, or leave this line out")
        return value

    @property
    def keys(self) -> tuple[str, ...]:
        """One key, or two while one replaces the other."""
        return (self.key,) if self.other_key is None else (self.key, self.other_key)


class SecuritySection(Section):
    """Whose commands are obeyed."""

    require_signature: bool = Field(
        True,
        description="Obey signed commands only. Left out without issuers: unsigned ones of a broker on loopback.",
    )
    max_ahead_minutes: int = Field(
        5, ge=0, le=1440, description="How far the ts of a signed batch may lie ahead of this gateway's clock."
    )
    max_age_hours: int = Field(
        24, ge=1, le=672, description="How old a signed batch may be; batch ids are remembered for 30 days only."
    )
    issuers: list[IssuerSection] = Field([], description="Who may sign commands, and what each may ask for.")

    @field_validator("issuers")
    @classmethod
    def _each_its_own(cls, value: list[IssuerSection]) -> list[IssuerSection]:
        names = [issuer.name for issuer in value]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f'two are named "{twice}"; give each a name of its own (two keys of one: key, other_key)')
        owners: dict[str, str] = {}
        for issuer in value:
            for key in issuer.keys:
                other = owners.setdefault(key, issuer.name)
                if other != issuer.name:
                    raise ValueError(
                        f"{other} and {issuer.name} have the same key, so either could sign as the other; "
                        "make a pair for each with `edged keygen`"
                    )
        return value

    @model_validator(mode="after")
    def _who_asks_for_signatures_names_signers(self) -> Self:
        if "require_signature" in self.model_fields_set and self.require_signature and not self.issuers:
            raise wrong(
                "security.require_signature",
                "signatures are asked for, and security.issuers names nobody who could sign; add [[security.issuers]] "
                "as `edged keygen` prints it, or take this line out to obey unsigned commands of a broker on loopback",
            )
        return self

    @property
    def required(self) -> bool:
        """Whether unsigned commands are refused. Without issuers nobody could sign: then the broker is on loopback."""
        return self.require_signature and bool(self.issuers)
