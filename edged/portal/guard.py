"""uvicorn for the notice page, put together with what keeps hostile subscribers from it.

:mod:`edged.portal.lobby` accepts and waits for a whole request head, :mod:`edged.portal.exchange` holds a request to
its limits, and :mod:`edged.portal.places` says when a connection loses its place.
"""

from __future__ import annotations

import ssl
from typing import Any

import uvicorn
from starlette.applications import Starlette

from edged.portal.exchange import Exchange
from edged.portal.lobby import SiteServer
from edged.portal.places import KEEP_ALIVE, Places
from edged.portal.tally import Tally


def server(
    app: Starlette, places: Places, tally: Tally, seconds: float, tls: ssl.SSLContext | None = None
) -> SiteServer:
    """A server for ``app``, over TLS where there is a context; a client has ``seconds`` for its handshake.

    Loads all it needs now, so that it can be made before the privileges are gone.
    """
    protocol: Any = type("GuardedProtocol", (Exchange,), {"places": places})
    config = uvicorn.Config(
        app,
        loop="none",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # its warnings are one line for each piece of noise; those are counted
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the visitor is whoever is at the other end of the connection
        timeout_keep_alive=round(KEEP_ALIVE),
        timeout_graceful_shutdown=2,
    )
    config.load()
    return SiteServer(config, places, tally, seconds, tls)
