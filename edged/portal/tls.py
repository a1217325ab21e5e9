"""TLS of the site: a certificate that can be exchanged while connections are open.

One context accepts; at each handshake it hands over to the newest. A pair of files is loaded into a context of its own
first, so that a wrong one changes nothing: what was in force goes on. The files are read by the portal's own account,
because that is who has to read the next ones.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from edged.errors import ConfigError

_log = logging.getLogger(__name__)


class Certificate:
    """Nothing is read by the constructor; :meth:`load` reads, and reads again."""

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._cert, self._key = cert_file, key_file
        self._newest: ssl.SSLContext | None = None
        self.context = _context()
        """What listens; to be given to a server once, whatever is loaded later."""
        self.context.sni_callback = self._hand_over

    def load(self) -> None:
        """Read both files; new handshakes get them. Raises ConfigError, and what was in force stays."""
        fresh = _context()
        for key, file in (("cert_file", self._cert), ("key_file", self._key)):
            try:
                file.open("rb").close()
            except OSError as error:
                raise ConfigError(
                    f"portal.{key} = {str(file)!r}: {error.strerror}; let the account edged-portal read it"
                ) from error
        try:
            fresh.load_cert_chain(self._cert, self._key, password=_no_password)
            if self._newest is None:
                self.context.load_cert_chain(self._cert, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", None) or str(error)
            raise ConfigError(
                f"portal.cert_file = {str(self._cert)!r}, portal.key_file = {str(self._key)!r}: {why}; both must be "
                "PEM, the key that of the certificate and without a password"
            ) from error
        self._newest = fresh

    def reload(self) -> None:
        """The same, but a mistake is said in the log and changes nothing."""
        try:
            self.load()
        except ConfigError as error:
            _log.error("%s; the certificate in force stays", error)
        else:
            _log.info("portal.cert_file: read again; new connections get it")

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._newest is not None:
            connection.context = self._newest


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")
