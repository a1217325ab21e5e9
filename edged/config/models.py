"""The keys, their types, defaults and meaning. Building one of these reads neither file nor environment.

Values are judged strictly: text is not taken for a number. All are frozen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from edged.config import checks
from edged.config.payees import PayeesSection
from edged.config.section import Section, wrong
from edged.config.security import SecuritySection
from edged.errors import ConfigError

MIB = 1 << 20

Name = Annotated[str, AfterValidator(checks.name)]
Interface = Annotated[str, AfterValidator(checks.interface)]
Network = Annotated[str, AfterValidator(checks.network)]
NarrowNetwork = Annotated[str, AfterValidator(checks.narrow_network)]
Domain = Annotated[str, AfterValidator(checks.domain)]
AbsolutePath = Annotated[Path, Field(strict=False), AfterValidator(checks.absolute)]
RunDir = Annotated[Path, Field(strict=False), AfterValidator(checks.run_dir)]
BrokerUrl = Annotated[str, AfterValidator(checks.broker_url)]
WebUrl = Annotated[str, AfterValidator(checks.web_url)]
OptionalWebUrl = Annotated[str, AfterValidator(checks.optional_web_url)]
ListenAddress = Annotated[str, AfterValidator(checks.listen_address)]
Colour = Annotated[str, AfterValidator(checks.colour)]
Timezone = Annotated[str, AfterValidator(checks.timezone)]
MarkBit = Annotated[int, AfterValidator(checks.mark_bit)]
RouteTable = Annotated[int, AfterValidator(checks.route_table)]
Port = Annotated[int, Field(ge=1, le=65535)]
PrefixLength = Annotated[int, Field(ge=32, le=128)]
CutCalendar = Annotated[str, AfterValidator(checks.cut_calendar)]
BusinessHours = Annotated[str, AfterValidator(checks.business_hours)]
AreaName = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(checks.area)]
Distinct = AfterValidator(checks.distinct)


class NetworkSection(Section):
    """What faces subscribers, and what of the kernel is ours."""

    subscriber_interfaces: Annotated[list[Interface], Field(min_length=1), Distinct] = Field(
        description="Interfaces that face subscribers; a star at the end matches any rest.", examples=[["eth1", "ppp*"]]
    )
    ipv6_prefix_lengths: Annotated[list[PrefixLength], Field(min_length=1), Distinct] = Field(
        [64, 56], description="Lengths of the IPv6 prefixes that subscribers get; each is one more lookup a packet."
    )
    protected: Annotated[list[Network], Distinct] = Field(
        [], description="Networks that can never be restricted: infrastructure, hospitals, police."
    )
    mark_bit: MarkBit = Field(0x10000, description="The one bit of the packet mark that leads to the portal.")
    route_table: Annotated[RouteTable, Field(ge=0, le=0xFFFFFFFF)] = Field(
        8880, description="Number of the routing table that delivers marked packets locally."
    )
    rule_priority: int = Field(
        8880, ge=1, le=32765, description="Priority of the routing rule; the main table's is 32766."
    )

    @property
    def household_bits(self) -> int:
        """Leading bits of an IPv6 address that tell one subscriber from the next: 64, or the longest prefix if longer.

        The fast path counts by the whole address as soon as one prefix is longer than 64.
        """
        return max(64, *self.ipv6_prefix_lengths)


class MqttSection(Section):
    """The broker that billing publishes to."""

    brokers: Annotated[list[BrokerUrl], Field(min_length=1), Distinct] = Field(
        ["mqtt://127.0.0.1:1883"], description="Brokers, tried in turn: mqtt://host:port, or mqtts://host:port for TLS."
    )
    username: str | None = Field(None, min_length=1, description="User name at the broker.")
    password_file: AbsolutePath | None = Field(
        None, description="File whose first line is the password; mode 0640 or less."
    )
    ca_file: AbsolutePath | None = Field(
        None, description="Authorities that vouch for the broker; default: the system's."
    )
    cert_file: AbsolutePath | None = Field(None, description="Our certificate, where the broker wants one.")
    key_file: AbsolutePath | None = Field(None, validate_default=True, description="The private key of cert_file.")
    keepalive: int = Field(
        30, ge=5, le=65535, description="Seconds without traffic after which the broker is asked for life."
    )
    receive_maximum: int = Field(
        64, ge=1, le=65535, description="Messages the broker may send before the first is answered."
    )
    max_payload: int = Field(
        4 * MIB, ge=1024, le=64 * MIB, description="Bytes of the largest message that is read at all."
    )

    @field_validator("password_file")
    @classmethod
    def _password_needs_user(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and "username" in info.data and info.data["username"] is None:
            raise ValueError("is set without mqtt.username; set both or neither")
        return value

    @field_validator("key_file")
    @classmethod
    def _key_needs_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (value is None) != (info.data["cert_file"] is None):
            missing = "mqtt.key_file" if value is None else "mqtt.cert_file"
            raise ValueError(f"certificate and key belong together, {missing} is missing; set both or neither")
        return value

    def password(self) -> str | None:
        """The first line of ``password_file``, or None where none is set. Raises ConfigError when it cannot be read."""
        if self.password_file is None:
            return None
        try:
            text = self.password_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(
                f"mqtt.password_file = {str(self.password_file)!r}: {why}; "
                "write the password into it and let the group edged read it"
            ) from error
        password = text.partition("\n")[0].rstrip("\r")
        if not password:
            raise ConfigError(
                f"mqtt.password_file = {str(self.password_file)!r}: the first line is empty; write the password there"
            )
        return password


class GardenSection(Section):
    """What stays open for everybody, whatever the commands say."""

    networks: Annotated[list[NarrowNetwork], Distinct] = Field(
        [], description="Always open: resolvers, VoIP servers, device management (ACS), payment pages."
    )
    domains: Annotated[list[Domain], Distinct] = Field(
        [], description="Always open by name: banks, the customer area. List each host name, also www."
    )


class Provider(Section):
    """Whom the page tells a subscriber to talk to."""

    name: str = Field("", max_length=100, description="Name of the provider.")
    phone: str = Field("", max_length=40, description="Telephone of the support.")
    whatsapp: str = Field("", max_length=40, description="WhatsApp number of the support.")
    tax_id: str = Field("", max_length=40, description="CNPJ of the provider.")
    address: str = Field("", max_length=200, description="Postal address of the provider.")
    customer_area: OptionalWebUrl = Field("", max_length=300, description="URL where a subscriber logs in and pays.")


class Look(Section):
    """The provider's colour and logo on the page."""

    colour: Colour = Field(
        "", description='Colour of buttons and links, "#rrggbb"; made lighter or darker until it can be read.'
    )
    logo_file: AbsolutePath | None = Field(
        None, description="PNG, JPEG, GIF or WebP of at most 12 KiB in the place of the name."
    )


class PortalSection(Section):
    """The notice page and the redirector that leads to it."""

    url: WebUrl = Field(description="Where a restricted browser is sent.", examples=["https://aviso.example.net/"])
    listen_port: Port = Field(8880, description="Port of the transparent redirector, on loopback only.")
    site_listen: ListenAddress = Field(
        "", description='Address and port of the notice page; "" when it is served elsewhere.'
    )
    cert_file: AbsolutePath | None = Field(
        None, description="Certificate with its chain (PEM): site_listen then speaks TLS, and only TLS."
    )
    key_file: AbsolutePath | None = Field(None, validate_default=True, description="The private key of cert_file.")
    language: Literal["pt-BR", "en", "es"] = Field(
        "pt-BR", description="Language for a browser that asks for none of ours."
    )
    templates_dir: AbsolutePath | None = Field(
        None, description="Folder of templates and page.css that take the place of ours."
    )
    workers: int = Field(0, ge=0, le=256, description="Processes that answer; 0 is one for each core.")
    header_timeout: float = Field(2.0, ge=0.1, le=60, description="Seconds a client has to send its request.")
    max_header: int = Field(2048, ge=256, le=65536, description="Bytes of the largest request head that is read.")
    max_connections: int = Field(20000, ge=16, le=1_000_000, description="Open connections in all.")
    max_connections_per_address: int = Field(64, ge=1, le=1_000_000, description="Open connections of one address.")
    provider: Provider = Field(Provider(), description="Whom the page tells a subscriber to talk to.")
    look: Look = Field(Look(), description="The provider's colour and logo on the page.")
    payees: PayeesSection = Field(PayeesSection(), description="Who may be paid by what the page shows.")
    ask_pause_seconds: int = Field(
        60, ge=1, le=86_400, description="Seconds before a subscriber may ask on the page for a promise again."
    )
    asks_per_day: int = Field(
        3, ge=1, le=1000, description="How often a subscriber may ask on the page for a promise in 24 hours."
    )

    @field_validator("key_file")
    @classmethod
    def _key_needs_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (value is None) != (info.data["cert_file"] is None):
            missing = "portal.key_file" if value is None else "portal.cert_file"
            raise ValueError(f"certificate and key belong together, {missing} is missing; set both or neither")
        return value

    @field_validator("site_listen")
    @classmethod
    def _site_is_the_root(cls, value: str, info: ValidationInfo) -> str:
        url = info.data.get("url")
        if value and url and (more := checks.below_root(url)):
            raise wrong(
                "portal.url",
                f"the page that portal.site_listen serves is at the root of its host, and a reminder's looks are "
                f"counted there alone; take {more} away, or leave portal.site_listen out where others serve the page",
            )
        return value

    @field_validator("max_connections_per_address")
    @classmethod
    def _share_fits(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("max_connections", value):
            raise ValueError(f"one address cannot have more than all; at most {info.data['max_connections']}")
        return value


class XdpSection(Section):
    """The fast path: HTTP of restricted subscribers answered before the network stack (docs/xdp.md)."""

    mode: Literal["auto", "native", "generic", "off"] = Field(
        "auto", description="In the driver (native), before the stack (generic), the best that works (auto), or off."
    )
    interfaces: Annotated[list[Interface], Distinct] = Field(
        [], description="Interfaces it runs on; empty: those of network.subscriber_interfaces that speak Ethernet."
    )
    drop_blocked: bool = Field(
        False, description="Drop what blocked subscribers send elsewhere in floods, before the stack."
    )
    bpffs: AbsolutePath = Field(
        Path("/sys/fs/bpf"), description="The BPF file system in which its maps outlive the daemon."
    )


class PolicySection(Section):
    """The business rules a provider may choose."""

    timezone: Timezone = Field("America/Sao_Paulo", description="Zone in which days begin and end.")
    trust_max_hours: int = Field(168, ge=1, le=8760, description="Longest promise, in hours; a longer one is refused.")
    trust_per_invoice: int = Field(1, ge=0, le=100, description="Promises for one invoice; 0 allows none.")
    min_days_overdue: int = Field(
        4, ge=0, le=365, description="Days an invoice must be overdue before a promise is taken."
    )
    notice_days: int = Field(15, ge=0, le=365, description="Days between notification and block.")
    require_notice: bool = Field(
        False, description="Refuse a debt block that does not say when the subscriber was notified."
    )
    reduced_rate_kbit: int = Field(
        1024, ge=8, le=10_000_000, description="Rate of a reduced subscriber where the block names none, kbit/s."
    )
    trust_per_30_days: int = Field(
        0, ge=0, le=100, description="Promises for one subscriber in 30 days; 0 is no limit."
    )
    cut_calendar: CutCalendar = Field(
        "none", description='Days on which a debt block may begin: "BR", "BR-SP" and so on, or "none" for every day.'
    )
    business_hours: BusinessHours = Field(
        "08:00-18:00", description="Hours in which a debt block may begin, where there is a cut calendar."
    )
    guard_reblock: bool = Field(
        True, description="Move the end of a promise or deferral to where the cut calendar allows a block again."
    )
    local_trust: bool = Field(
        False, description="Grant a promise asked for here without billing while no broker can be reached."
    )
    local_trust_after_seconds: int = Field(
        60, ge=0, le=86_400, description="Seconds without a broker before promises are granted here."
    )
    preventive_days: int = Field(30, ge=0, le=3650, description="Days to the deadline of a preventive block; 0: none.")
    debt_days: int = Field(60, ge=0, le=3650, description="Days to the deadline of a debt block; 0: none.")
    require_synced_clock: bool = Field(
        True, description="Begin no debt block before the kernel says that its clock is synchronised."
    )
    notice_repeat_hours: int = Field(24, ge=1, le=8760, description="Hours before a dismissed reminder is shown again.")


class AuditSection(Section):
    """The record of every decision."""

    keep_days: int = Field(1825, ge=30, le=36500, description="Days a decision is kept on record; 1825 are five years.")


class AreaSection(Section):
    """Where an area differs from the rest of the provider."""

    timezone: Timezone | None = Field(None, description="Zone of the area, where it is not policy.timezone.")
    cut_calendar: CutCalendar | None = Field(
        None, description="Cut calendar of the area, where it is not policy.cut_calendar."
    )


class BrakeSection(Section):
    """When a human should look first: so many newly restricted at once look like a wrong export."""

    enabled: bool = Field(True, description="Hold new restrictions beyond the limits until somebody looked.")
    max_new_restrictions: int = Field(500, ge=1, le=10_000_000, description="New restrictions within the window.")
    window_seconds: int = Field(60, ge=1, le=86_400, description="Length of the window.")
    max_share: float = Field(
        0.2, gt=0, le=1, description="Share of the known subscribers, judged above 50 new restrictions."
    )


class MetricsSection(Section):
    """Where Prometheus reads."""

    listen: ListenAddress = Field("127.0.0.1:9464", description='Address and port of /metrics; "" for none.')


class Config(BaseSettings):
    """The whole configuration. ``load`` in this package reads one; the constructor takes only what it is given."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, strict=True, env_prefix="EDGED_", env_nested_delimiter="__", validate_default=False
    )

    gateway: Name = Field(description="Name of this gateway in MQTT topics; no two share one.", examples=["gw1"])
    groups: Annotated[list[Name], Distinct] = Field(
        ["all"], description="Groups whose commands this gateway obeys as well."
    )
    state_dir: AbsolutePath = Field(
        Path("/var/lib/edged"), description="Where the database lives; must survive a reboot."
    )
    run_dir: RunDir = Field(Path("/run/edged"), description="Where the sockets live.")
    network: NetworkSection = Field(description="What faces subscribers, and what of the kernel is ours.")
    mqtt: MqttSection = Field(MqttSection(), description="The broker that billing publishes to.")
    security: SecuritySection = Field(
        SecuritySection(), validate_default=True, description="Whose commands are obeyed."
    )
    garden: GardenSection = Field(GardenSection(), description="What stays open for everybody.")
    portal: PortalSection = Field(description="The notice page and the redirector that leads to it.")
    xdp: XdpSection = Field(XdpSection(), description="The fast path.")
    policy: PolicySection = Field(PolicySection(), description="The business rules a provider may choose.")
    audit: AuditSection = Field(AuditSection(), description="The record of every decision.")
    areas: dict[AreaName, AreaSection] = Field({}, description="Areas that differ from the rest, by name.")
    brake: BrakeSection = Field(BrakeSection(), description="When a human should look first.")
    metrics: MetricsSection = Field(MetricsSection(), description="Where Prometheus reads.")

    @field_validator("security")
    @classmethod
    def _unsigned_only_on_loopback(cls, value: SecuritySection, info: ValidationInfo) -> SecuritySection:
        mqtt = info.data.get("mqtt")
        if mqtt is None or value.required or not value.require_signature:
            return value
        remote = [url for url in mqtt.brokers if not checks.is_loopback(checks.broker(url).host)]
        if remote:
            raise wrong(
                "security.require_signature",
                f"security.issuers names nobody, and {remote[0]} is not on loopback: anybody who can publish there "
                "could block subscribers; name who signs in [[security.issuers]], or write false here and let the "
                "broker's own access rules protect the command topics",
            )
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  pydantic-settings names them
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Constructors start nothing and read nothing: file and environment are ``loading``'s business."""
        return (init_settings,)
