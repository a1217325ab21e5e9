"""What went wrong lately with the brokers, and how long to wait before the next attempt."""

from __future__ import annotations

import logging
import random

from edged.errors import EdgedError

log = logging.getLogger(__name__)

FIRST_DELAY, LAST_DELAY = 1.0, 30.0  # s; the upper half of each is random


class HandlerFault(EdgedError):
    """The pipeline raised, which it must not. ``str()`` gives kind and place only: the text may name a subscriber."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(_where(cause))


class Trouble:
    """Failures in a row, and the reason of each broker's last one. Logs each reason once, until ``settled``."""

    def __init__(self, client_id: str) -> None:
        self.failures = 0
        self.careful = False  # a handler failed: one message a call, so that a bad one stops only what follows
        self.complaint: str | None = None  # what the present broker refuses although connected
        self._client_id = client_id
        self._errors: dict[str, str] = {}
        self._thrown: dict[str, int] = {}

    @property
    def errors(self) -> list[str]:
        """One sentence for each broker that failed since the last ``settled``."""
        return list(self._errors.values())

    def delay(self) -> float:
        """Seconds to wait before the next attempt: 0.5 to 30, doubling, its upper half random. Counts a failure."""
        delay = min(LAST_DELAY, FIRST_DELAY * 2 ** min(self.failures, 10))
        self.failures += 1
        return random.uniform(delay / 2, delay)  # noqa: S311 - spreads reconnects, guards no secret

    def complain(self, broker: str, text: str) -> None:
        """The broker refused something without closing the connection."""
        if text != self.complaint:
            log.warning("%s: %s", broker, text)
        self.complaint = text

    def failed(self, broker: str, exc: Exception, *, worked: bool) -> None:
        """A connection could not be made, or (``worked``) was lost."""
        # A broker that could not be reached in between was down: it has thrown nobody out.
        self._thrown[broker] = self._thrown.get(broker, 0) + 1 if worked else 0
        what, level = (str(exc) if isinstance(exc, EdgedError) else _where(exc)), logging.WARNING
        if isinstance(exc, HandlerFault):
            self.careful = True
            what, level = f"a message could not be handled and will come again: {exc}", logging.ERROR
        elif worked and self._thrown.get(broker, 0) > 2:
            # Not every broker says so when it hands the session to somebody else: mosquitto 2.0 just hangs up.
            what += (
                f"; again and again, soon after connecting: is another client using the client id {self._client_id}?"
            )
        if self.complaint is not None:
            what += f"; before that, {self.complaint}"
        text = f"{broker}: {what}"
        log.log(logging.DEBUG if self._errors.get(broker) == text else level, "%s", text)
        log.debug("in detail", exc_info=exc)
        self._errors[broker] = text

    def elsewhere(self, broker: str, exc: Exception | None) -> None:
        """A broker that is not in use could not be reached, or (``None``) it is well."""
        if exc is None:
            self._errors.pop(broker, None)
            return
        text = f"{broker}: {exc if isinstance(exc, EdgedError) else _where(exc)}"
        log.log(logging.DEBUG if self._errors.get(broker) == text else logging.WARNING, "%s (another is in use)", text)
        self._errors[broker] = text

    def settled(self) -> None:
        """A connection has held long enough to forget what was before."""
        self.failures, self.careful = 0, False
        self._errors.clear()
        self._thrown.clear()


def _where(exc: BaseException) -> str:
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(exc).__name__}{place}"
