"""The gardens' contents: networks from configuration and commands, and names resolved again and again.

Two gardens: ``open`` (configuration, the portal's own site; holds at every level) and ``garden`` (commands; walled and
reduced). Names are resolved through the system's resolvers and asked again when their TTL ends; an address stays for
a day after it was last seen, because CDNs rotate and a subscriber's resolver may still hand out yesterday's answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import dns.asyncresolver
import dns.exception
import dns.resolver

from edged.nft.garden import Opening

_log = logging.getLogger(__name__)
KEEP_SECONDS = 86_400.0
SHORTEST, LONGEST = 30.0, 3600.0
"""Seconds between two questions for the same name."""
AT_ONCE = 20

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Gardens:
    """Knows what belongs into the gardens. ``changed`` is awaited when resolved names bring something new."""

    def __init__(
        self, networks: Iterable[str], domains: Iterable[str], portal_url: str, changed: Callable[[], Awaitable[None]]
    ) -> None:
        self._networks = [ipaddress.ip_network(n) for n in networks]
        self._domains = set(domains)
        host = urlsplit(portal_url).hostname or ""
        try:
            self._networks.append(ipaddress.ip_network(host))
        except ValueError:
            if host:
                self._domains.add(host)
        self._lists: Mapping[str, Mapping[str, Any]] = {}
        self._seen: dict[str, dict[Address, float]] = {}
        self._due: dict[str, float] = {}
        self._changed = changed
        self._wake = asyncio.Event()

    def put(self, lists: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the garden lists of the store."""
        self._lists = lists
        self._wake.set()

    def openings(self) -> dict[str, list[Opening]]:
        """What each garden holds now."""
        always = [Opening(n) for n in self._networks]
        always += [Opening(ipaddress.ip_network(a)) for d in self._domains for a in self._seen.get(d, ())]
        garden: list[Opening] = []
        for entry in self._lists.values():
            networks = [ipaddress.ip_network(n) for n in entry["networks"]]
            networks += [ipaddress.ip_network(a) for d in entry["domains"] for a in self._seen.get(d, ())]
            ports = [(p, r["first"], r["last"]) for r in entry["ports"] for p in r["protocols"]]
            for n in networks:
                garden += [Opening(n, p, p, a, b) for p, a, b in ports] if ports else [Opening(n)]
        return {"open": always, "garden": garden}

    def unresolved(self) -> list[str]:
        """Names that have no address so far; for ``status``."""
        return sorted(d for d in self._names() if not self._seen.get(d))

    def _names(self) -> set[str]:
        return self._domains | {d for entry in self._lists.values() for d in entry["domains"]}

    async def run(self) -> None:
        """Resolve for ever."""
        while True:
            names = self._names()
            now = time.monotonic()
            for old in self._seen.keys() - names:
                del self._seen[old]
            due = [d for d in names if self._due.get(d, 0.0) <= now]
            before = self.openings()
            for at in range(0, len(due), AT_ONCE):
                await asyncio.gather(*(self._resolve(d) for d in due[at : at + AT_ONCE]))
            if self.openings() != before:
                await self._changed()
            self._wake.clear()
            pause = min((self._due[d] for d in names if d in self._due), default=now + LONGEST) - time.monotonic()
            try:
                async with asyncio.timeout(max(pause, 1.0)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _resolve(self, name: str) -> None:
        now = time.monotonic()
        seen = {a: at for a, at in self._seen.get(name, {}).items() if now - at < KEEP_SECONDS}
        pause = LONGEST
        for kind in ("A", "AAAA"):
            try:
                answer = await dns.asyncresolver.resolve(name, kind, lifetime=5.0)
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                continue
            except (dns.exception.DNSException, OSError) as e:
                _log.warning("garden name %s: %s", name, type(e).__name__)
                pause = SHORTEST
                continue
            pause = min(pause, float(answer.rrset.ttl if answer.rrset else LONGEST))
            seen.update((ipaddress.ip_address(str(r)), now) for r in answer)
        self._seen[name] = seen
        self._due[name] = now + (min(max(pause, SHORTEST), LONGEST) if seen else SHORTEST)
