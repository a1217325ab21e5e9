"""Section ``portal.payees``: who may be paid by what the page shows."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field

from edged.config import checks
from edged.config.section import Section
from edged.domain.payment import Payees, check_payee

Distinct = AfterValidator(checks.distinct)
Pix = Annotated[str, AfterValidator(partial(check_payee, "pix"))]
Boleto = Annotated[str, AfterValidator(partial(check_payee, "boleto"))]


class PayeesSection(Section):
    """Who may be paid by what the page shows. A list that is empty lets nothing of its kind through."""

    pix: Annotated[list[Pix], Distinct] = Field(
        [],
        description="PIX keys of the provider; host and begin of the path of its dynamic codes. A host alone trusts"
        " everybody whose codes lie there.",
        examples=[["pix.example.com/qr/v2/our-id"]],
    )
    boleto: Annotated[list[Boleto], Distinct] = Field(
        [],
        description="Banks, best with the begin of the free field; of a utility's lines segment and company.",
        examples=[["341/109", "84/0160"]],
    )

    def checked(self) -> Payees:
        """As the page's fields are checked against it."""
        return Payees(tuple(self.pix), tuple(self.boleto))
