"""From the configuration to what the parts take."""

from __future__ import annotations

import ipaddress
import zoneinfo

from edged.clock import Clock
from edged.config import Config
from edged.domain.address import Addressing
from edged.domain.brake import Limits
from edged.domain.calendar import Area, Calendar, read_hours
from edged.domain.model import Policy
from edged.nft import schema
from edged.nft.routing import Steering
from edged.petitions import Frequency
from edged.pipeline import Settings
from edged.portal import head
from edged.store.store import Store
from edged.xdp import interfaces, layout
from edged.xdp.engine import Wanted, hindrance
from edged.xdp.ours import NOTES


def rule_settings(cfg: Config) -> schema.Settings:
    """What the rules depend on."""
    return schema.Settings(
        interfaces=tuple(cfg.network.subscriber_interfaces),
        prefix_lengths=tuple(sorted(cfg.network.ipv6_prefix_lengths, reverse=True)),
        mark_bit=cfg.network.mark_bit,
        http_port=cfg.portal.listen_port,
    )


def xdp_wanted(cfg: Config) -> Wanted:
    """What the XDP program depends on: its answers are the redirector's own bytes."""
    said = head.answers(cfg.portal.url)
    answers = layout.Answers(said[head.Verdict.FOUND], said[head.Verdict.FOUND_NO_BODY], said[head.Verdict.BAD])
    return Wanted(
        mode=cfg.xdp.mode,
        subscribers=tuple(cfg.network.subscriber_interfaces),
        named=tuple(cfg.xdp.interfaces),
        bpffs=cfg.xdp.bpffs,
        settings=layout.Settings(
            answers, lengths6=rule_settings(cfg).prefix_lengths, drop_blocked=cfg.xdp.drop_blocked
        ),
        notes=cfg.state_dir / NOTES,
    )


def xdp_warnings(cfg: Config) -> list[str]:
    """What of the configuration, on the devices of this machine, keeps the XDP program from being used; for
    ``edged check-config``.
    """
    if cfg.xdp.mode == "off":
        return []
    wanted = xdp_wanted(cfg)
    if why := hindrance(wanted.settings):
        return [f"{why}; until then nothing is answered in XDP"]
    there = interfaces.places(interfaces.links(), wanted.subscribers, wanted.named, wanted.mode)
    return [f"no XDP on {place.name}: {place.why}" for place in there.values() if place.mode == "off"]


def pipeline_settings(cfg: Config) -> Settings:
    """What deciding depends on."""
    brake = cfg.brake
    return Settings(
        gateway=cfg.gateway,
        addressing=Addressing(
            tuple(cfg.network.ipv6_prefix_lengths), tuple(ipaddress.ip_network(n) for n in cfg.network.protected)
        ),
        policy=policy(cfg),
        limits=Limits(brake.enabled, brake.max_new_restrictions, brake.window_seconds * 1000, brake.max_share),
        max_payload=cfg.mqtt.max_payload,
        payees=cfg.portal.payees.checked(),
        frequency=Frequency(cfg.portal.ask_pause_seconds * 1000, cfg.portal.asks_per_day),
    )


def policy(cfg: Config) -> Policy:
    """The provider's rules."""
    section = cfg.policy
    return Policy(
        zone=zoneinfo.ZoneInfo(section.timezone),
        calendar=calendar(cfg),
        trust_max_hours=section.trust_max_hours,
        trust_per_invoice=section.trust_per_invoice,
        trust_per_30_days=section.trust_per_30_days,
        min_days_overdue=section.min_days_overdue,
        notice_days=section.notice_days,
        require_notice=section.require_notice,
        reduced_rate_kbit=section.reduced_rate_kbit,
        notice_repeat_hours=section.notice_repeat_hours,
        guard_reblock=section.guard_reblock,
        preventive_days=section.preventive_days,
        debt_days=section.debt_days,
    )


def calendar(cfg: Config) -> Calendar:
    """Cut days and bank days."""
    section = cfg.policy
    areas = {
        name: Area(zoneinfo.ZoneInfo(area.timezone or section.timezone), area.cut_calendar or section.cut_calendar)
        for name, area in cfg.areas.items()
    }
    zone = zoneinfo.ZoneInfo(section.timezone)
    return Calendar(zone, section.cut_calendar, read_hours(section.business_hours), areas)


def clock_of(cfg: Config, store: Store) -> Clock:
    """The clock, going on from what the store knows."""
    return Clock(required=cfg.policy.require_synced_clock, last=int(store.note("heartbeat") or 0))


def steering(cfg: Config) -> Steering:
    """The portal's rule and route."""
    return Steering(cfg.network.mark_bit, cfg.network.route_table, cfg.network.rule_priority)
