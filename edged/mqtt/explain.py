"""Why a broker cannot be reached, in words that name the file or setting to look at.

The text of the system or of OpenSSL follows in brackets: it is what a search engine knows.
"""

from __future__ import annotations

import socket
import ssl

from edged.mqtt.endpoint import Endpoint, MqttSettings

# OpenSSL's X509_V_ERR_*: what is wrong with the broker's certificate.
_EXPIRED, _NOT_YET, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64

# Alerts with which a broker turns us away. With TLS 1.3 they come after the handshake, as an error of the first read.
_OF_OUR_CERTIFICATE = {
    "CERTIFICATE_EXPIRED": "it has expired; renew it",
    "CERTIFICATE_REVOKED": "it was revoked; renew it",
    "UNKNOWN_CA": "the broker does not know the authority it comes from",
    "BAD_CERTIFICATE": "the broker could not verify it",
    "UNSUPPORTED_CERTIFICATE": "it is of a kind the broker does not take",
    "CERTIFICATE_UNKNOWN": "the broker did not say why; its log does",
}


def explain(exc: BaseException, broker: Endpoint, cfg: MqttSettings) -> str:
    """One sentence for the operator about an error of the network or of TLS."""
    remedy = _remedy(exc, broker, cfg)
    return f"{remedy} ({exc})" if remedy else str(exc) or type(exc).__name__


def _remedy(exc: BaseException, broker: Endpoint, cfg: MqttSettings) -> str:
    if isinstance(exc, socket.gaierror):
        return f"the name {broker.host!r} has no address: look at mqtt.brokers and at this machine's name servers"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _theirs(exc, broker, cfg)
    if isinstance(exc, ssl.SSLError):
        return _alert(exc.reason or str(exc), cfg)
    if isinstance(exc, TimeoutError):
        if "handshake" in str(exc):
            return "it accepted the connection and is silent: is TLS spoken on that port, or does mqtt:// belong there?"
        return "nothing answers there: is the broker up, and does a packet filter stand between?"
    if isinstance(exc, ConnectionResetError) and broker.tls:
        return "it hung up while TLS began: is TLS spoken on that port, or does mqtt:// belong there?"
    return ""


def _theirs(exc: ssl.SSLCertVerificationError, broker: Endpoint, cfg: MqttSettings) -> str:
    if exc.verify_code == _EXPIRED:
        return "the broker's certificate, or its authority's, has expired: renew it there, or set this machine's clock"
    if exc.verify_code == _NOT_YET:
        return "the broker's certificate is not valid yet: is this machine's clock right?"
    if exc.verify_code in {_OTHER_NAME, _OTHER_ADDRESS}:
        return f"the broker's certificate is not for {broker.host!r}: name it in mqtt.brokers as its certificate does"
    place = f"mqtt.ca_file, {cfg.ca_file}" if cfg.ca_file else "the system's authorities; mqtt.ca_file may name yours"
    return f"the broker's certificate does not come from an authority in {place}"


def _alert(reason: str, cfg: MqttSettings) -> str:
    reason = reason.upper()
    if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER_FAILURE" in reason:
        return "what answers there does not speak TLS: write mqtt:// instead of mqtts://, or another port"
    if "PROTOCOL_VERSION" in reason:
        return "the broker speaks no TLS 1.2 or later"
    if "CERTIFICATE_REQUIRED" in reason or ("HANDSHAKE_FAILURE" in reason and not cfg.cert_file):
        return "the broker wants a client certificate: set mqtt.cert_file and mqtt.key_file"
    for word, meaning in _OF_OUR_CERTIFICATE.items():
        if word in reason:
            return f"the broker refuses our certificate, mqtt.cert_file, {cfg.cert_file}: {meaning}"
    return ""
