"""The one way a command is refused."""

from __future__ import annotations


class Rejected(Exception):
    """A command or payload that cannot stand: ``code`` is the contract's, ``detail`` says what and the remedy."""

    def __init__(self, code: str, detail: str, batch: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.batch = batch
        """Id of the batch that was refused whole, where it could be read."""
