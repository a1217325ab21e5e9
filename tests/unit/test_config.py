"""The configuration: every mistake names key, value and remedy; the environment wins; the example says it all."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from edged import config, envelope
from edged.assembly import xdp_warnings
from edged.config import Config, checks, load, load_with_origins, security, settings, warnings
from edged.config.mistakes import known_keys
from edged.domain import roles
from edged.errors import ConfigError
from tests.worlds import namespace

EXAMPLE = Path(__file__).parents[2] / "config" / "edged.toml"
KEYS = [envelope.public_text(envelope.OKPKey.derive_key(word)) for word in ("erp", "noc", "next")]
GOOD = """
gateway = "gw1"
[network]
subscriber_interfaces = ["eth1", "ppp*"]
[portal]
url = "https://aviso.example.net/"
"""


@pytest.fixture(autouse=True)
def _no_outer_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("EDGED_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "edged.toml"
    file.write_text(GOOD)
    return file


def complaint(file: Path, more: str, *, into: str = "") -> str:
    """What load says about the good file with one line added at the top of a section (by default at the root)."""
    text = GOOD.replace(f"[{into}]\n", f"[{into}]\n{more}\n") if f"[{into}]" in GOOD else None
    file.write_text(text if text is not None else f"{more}\n{GOOD}" if not into else f"{GOOD}\n[{into}]\n{more}\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    return str(error.value)


def test_a_small_file_is_enough(file: Path) -> None:
    cfg = load(file)
    assert cfg.gateway == "gw1"
    assert cfg.groups == ["all"]
    assert cfg.network.subscriber_interfaces == ["eth1", "ppp*"]
    assert cfg.network.ipv6_prefix_lengths == [64, 56]
    assert cfg.network.mark_bit == 0x10000
    assert cfg.run_dir == Path("/run/edged")
    assert cfg.policy.trust_max_hours == 168
    assert cfg.metrics.listen == "127.0.0.1:9464"


MISTAKES = [
    ("", 'gatewey = "x"', "gatewey", '"x"', "did you mean gateway?"),
    ("", 'groups = ["a/b"]', "groups[0]", '"a/b"', "beginning with a letter"),
    ("", 'groups = ["a", "a"]', "groups", "a", "more than once"),
    ("", 'state_dir = "var"', "state_dir", "var", "absolute path"),
    ("", f'run_dir = "/{"x" * 100}"', "run_dir", "xxx", "not be longer than 90 bytes"),
    ("network", "mark_bit = 3", "network.mark_bit", "3", "exactly one bit of 32"),
    ("network", "mark_bit = 0x100000000", "network.mark_bit", "4294967296", "exactly one bit of 32"),
    ("network", 'mark_bit = "0x10000"', "network.mark_bit", '"0x10000"', "whole number without quotes"),
    ("network", "ipv6_prefix_lengths = [129]", "network.ipv6_prefix_lengths[0]", "129", "at most 128"),
    ("network", "ipv6_prefix_lengths = [31]", "network.ipv6_prefix_lengths[0]", "31", "at least 32"),
    ("network", "ipv6_prefix_lengths = []", "network.ipv6_prefix_lengths", "[]", "must not be empty"),
    ("network", 'protected = ["10.0.0.1/8"]', "network.protected[0]", "10.0.0.1/8", 'write "10.0.0.0/8"'),
    ("network", 'protected = ["ten"]', "network.protected[0]", "ten", "2001:db8::/32"),
    ("network", "route_table = 254", "network.route_table", "254", "the kernel uses this number itself (main)"),
    ("network", "rule_priority = 32766", "network.rule_priority", "32766", "at most 32765"),
    ("mqtt", 'brokers = ["mqtt://u:secret@127.0.0.1"]', "mqtt.brokers[0]", "…@127.0.0.1", "mqtt.password_file"),
    ("mqtt", 'brokers = ["127.0.0.1:1883"]', "mqtt.brokers[0]", "127.0.0.1:1883", "mqtt:// or mqtts://"),
    ("mqtt", 'brokers = ["mqtt://127.0.0.1:99999"]', "mqtt.brokers[0]", "99999", "mqtt:// or mqtts://"),
    ("mqtt", 'brokers = ["mqtt://127.0.0.1/edged"]', "mqtt.brokers[0]", "/edged", "end after the port"),
    ("mqtt", 'password_file = "/p"', "mqtt.password_file", "/p", "without mqtt.username"),
    ("mqtt", 'cert_file = "/c"', "mqtt.key_file", "", "mqtt.key_file is missing"),
    ("mqtt", 'key_file = "/k"', "mqtt.key_file", "/k", "mqtt.cert_file is missing"),
    ("mqtt", "keepalive = 0", "mqtt.keepalive", "0", "at least 5"),
    ("garden", 'networks = ["0.0.0.0/0"]', "garden.networks[0]", "0.0.0.0/0", "every address there is"),
    ("garden", 'domains = ["*.bank.example"]', "garden.domains[0]", "*.bank.example", 'list the names: "bank.example"'),
    ("garden", 'domains = ["https://bank.example/"]', "garden.domains[0]", "https", "the host name alone"),
    ("portal", 'cert_file = "/c"', "portal.key_file", "", "portal.key_file is missing"),
    ("portal", 'key_file = "/k"', "portal.key_file", "/k", "portal.cert_file is missing"),
    ("portal", 'look = { colour = "blue" }', "portal.look.colour", '"blue"', "six hexadecimal digits"),
    ("portal", 'templates_dir = "here"', "portal.templates_dir", "here", "absolute path"),
    ("portal", 'language = "fr"', "portal.language", '"fr"', "'pt-BR', 'en' or 'es'"),
    ("portal", 'site_listen = "0.0.0.0"', "portal.site_listen", "0.0.0.0", "address:port"),
    ("portal", 'site_listen = "::1:80"', "portal.site_listen", "::1:80", "[::1]:9464"),
    ("portal", "max_connections_per_address = 30000", "portal.max_connections_per_address", "30000", "at most 20000"),
    ("portal", "header_timeout = true", "portal.header_timeout", "true", "number without quotes"),
    ("portal", 'provider = { fone = "1" }', "portal.provider.fone", '"1"', "did you mean portal.provider.phone?"),
    ("portal", 'provider = { customer_area = "javascript:x" }', "customer_area", "javascript:x", "https://"),
    ("policy", 'timezone = "Mars"', "policy.timezone", '"Mars"', "America/Sao_Paulo"),
    ("policy", 'timezone = "../../etc/passwd"', "policy.timezone", "passwd", "America/Sao_Paulo"),
    ("policy", "require_notice = 1", "policy.require_notice", "1", "true or false"),
    ("policy", 'cut_calendar = "BRA"', "policy.cut_calendar", "BRA", "and a state"),
    ("policy", 'business_hours = "8-18"', "policy.business_hours", '"8-18"', "08:00-18:00"),
    ("areas.norte", 'timezone = "Acre"', "areas.norte.timezone", '"Acre"', "America/Sao_Paulo"),
    ("brake", "max_share = 2", "brake.max_share", "2", "1"),
    ("policy", "mark_bit = 1", "policy.mark_bit", "1", "did you mean network.mark_bit?"),
    ("policy", "flavour = 1", "policy.flavour", "1", "no such key; remove it"),
    ("xdp", 'mode = "fast"', "xdp.mode", '"fast"', "'native'"),
    ("xdp", 'interfaces = ["lo"]', "xdp.interfaces[0]", '"lo"', "loopback"),
    ("xdp", 'bpffs = "bpf"', "xdp.bpffs", "bpf", "absolute path"),
    ("xdp", "drop_blocked = 1", "xdp.drop_blocked", "1", "true or false"),
    ("security", "require_signature = 1", "security.require_signature", "1", "true or false"),
    ("security", "max_age_hours = 0", "security.max_age_hours", "0", "at least 1"),
    ("security", "max_age_hours = 673", "security.max_age_hours", "673", "at most 672"),
    ("security", "max_age_hours = 1.5", "security.max_age_hours", "1.5", "whole number"),
    ("security", "max_ahead_minutes = -1", "security.max_ahead_minutes", "-1", "at least 0"),
    ("security", "max_ahead_minutes = 1441", "security.max_ahead_minutes", "1441", "at most 1440"),
    ("security", 'issuers = "erp"', "security.issuers", '"erp"', "[[security.issuers]], with two brackets"),
    ("security", "issuers = [1]", "security.issuers[0]", "1", "must be a table"),
    ("security.issuers", 'name = "erp"', "security.issuers", "", "[[security.issuers]], with two brackets"),
    ("metrics", "listen = 9464", "metrics.listen", "9464", 'text in "quotes"'),
]


@pytest.mark.parametrize(("section", "line", "key", "value", "remedy"), MISTAKES, ids=[m[1][:40] for m in MISTAKES])
def test_a_mistake_names_key_value_and_remedy(
    file: Path, section: str, line: str, key: str, value: str, remedy: str
) -> None:
    text = complaint(file, line, into=section)
    assert f"{file}: 1 error\n" in text
    assert re.search(rf"{re.escape(key)}( = .*)? \((file|default)\): ", text)
    assert value in text
    assert remedy in text
    assert "secret" not in text


@pytest.mark.parametrize("more", ["/aviso", "/aviso/", "/?from=gw1", "?from=gw1", "/#top"])
def test_our_own_page_is_at_the_root_of_its_host(file: Path, more: str) -> None:
    """Else a reminder would never go away by itself, and none of its other pages would be below the path."""
    listens = '[portal]\nsite_listen = "192.0.2.1:80"'
    for root in ("http://aviso.example.net", "http://aviso.example.net:8081/"):
        file.write_text(GOOD.replace("https://aviso.example.net/", root).replace("[portal]", listens))
        assert load(file).portal.url == root
    elsewhere = GOOD.replace("https://aviso.example.net/", f"https://aviso.example.net{more}")
    file.write_text(elsewhere)
    assert load(file).portal.url.endswith(more), "served by somebody else, wherever that has it"
    file.write_text(elsewhere.replace("[portal]", listens))
    with pytest.raises(ConfigError) as error:
        load(file)
    said = str(error.value)
    assert f"portal.url = 'https://aviso.example.net{more}' (file): " in said.replace('"', "'")
    assert f"take {more} away, or leave portal.site_listen out" in said


def test_all_mistakes_come_together(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[network]\nmark_bit = 3\nsubscriber_interfaces = []\n[mqtt]\nkeepalive = "x"\n')
    with pytest.raises(ConfigError) as error:
        load(file)
    text = str(error.value)
    assert "5 errors" in text
    for key in (
        "gateway: is required",
        "portal: is required",
        "network.mark_bit = 3",
        "mqtt.keepalive",
        "must not be empty",
    ):
        assert key in text


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"gateway = \n", "line 1, column 11"),
        (b'gateway = "a"\n[network\n', "line 2, column 9"),
        (b'gateway = "\xff"\n', "byte 11 is not UTF-8"),
    ],
)
def test_what_is_no_toml_names_file_and_place(file: Path, content: bytes, what: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(what)) as error:
        load(file)
    assert str(file) in str(error.value)


def test_a_named_file_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no such file; name one with --config or EDGED_CONFIG"):
        load(tmp_path / "none.toml")
    monkeypatch.setenv("EDGED_CONFIG", str(tmp_path / "other.toml"))
    with pytest.raises(ConfigError, match=r"other\.toml: no such file"):
        load()


def test_the_environment_wins_and_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_CONFIG", str(file))
    monkeypatch.setenv("EDGED_GATEWAY", "gw2")
    monkeypatch.setenv("EDGED_NETWORK__MARK_BIT", "0x20000")
    monkeypatch.setenv("EDGED_NETWORK__SUBSCRIBER_INTERFACES", '["sub0"]')
    monkeypatch.setenv("EDGED_PORTAL__HEADER_TIMEOUT", "1.5")
    monkeypatch.setenv("EDGED_PORTAL__PROVIDER__NAME", "Example")
    monkeypatch.setenv("EDGED_POLICY__REQUIRE_NOTICE", "true")
    monkeypatch.setenv("EDGED_STATE_DIR", "/srv/edged")
    loaded = load_with_origins()
    cfg = loaded.config
    assert (cfg.gateway, cfg.network.mark_bit, cfg.network.subscriber_interfaces) == ("gw2", 0x20000, ["sub0"])
    assert (cfg.portal.header_timeout, cfg.portal.provider.name, cfg.policy.require_notice) == (1.5, "Example", True)
    assert cfg.state_dir == Path("/srv/edged")
    origins = {s.key: s.origin for s in settings(loaded)}
    assert origins["gateway"] == "EDGED_GATEWAY"
    assert origins["portal.provider.name"] == "EDGED_PORTAL__PROVIDER__NAME"
    assert origins["portal.url"] == "file"
    assert origins["metrics.listen"] == "default"


@pytest.mark.parametrize(
    ("variable", "value", "what"),
    [
        ("EDGED_GARDEN__NETWORKS", "10.0.0.0/8", 'write it as JSON: ["a", "b"]'),
        ("EDGED_MQTT__KEEPALIVE", "soon", "whole number"),
        ("EDGED_POLICY__REQUIRE_NOTICE", "maybe", "true or false"),
        ("EDGED_NETWROK__MARK_BIT", "1", "did you mean network?"),
        ("EDGED_GATEWEY", "x", "did you mean gateway?"),
        ("EDGED_POLICY__COLOUR", "x", "no such key"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    file: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, what: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as error:
        load(file)
    assert variable in str(error.value)
    assert what in str(error.value)


def test_constructing_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_GATEWAY", "elsewhere")
    cfg = Config.model_validate(tomllib.loads(GOOD))
    assert cfg.gateway == "gw1"


def test_a_configuration_cannot_be_changed(file: Path) -> None:
    cfg = load(file)
    with pytest.raises(ValidationError, match="frozen"):
        cfg.gateway = "other"  # type: ignore[misc]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9"])
def test_unsigned_commands_are_for_loopback(file: Path, host: str) -> None:
    file.write_text(GOOD + f'[mqtt]\nbrokers = ["mqtt://{host}:1883"]\n')
    load(file)


@pytest.mark.parametrize("host", ["192.0.2.1", "broker.example.net", "localhost.example.net", "[2001:db8::1]"])
def test_a_broker_elsewhere_needs_a_word(file: Path, host: str) -> None:
    text = complaint(file, f'brokers = ["mqtt://127.0.0.1", "mqtts://{host}"]', into="mqtt")
    assert "security.require_signature = true (default): security.issuers names nobody" in text
    assert "[[security.issuers]], or write false" in text
    assert host in text
    file.write_text(file.read_text() + "[security]\nrequire_signature = false\n")
    assert not load(file).security.require_signature


@pytest.mark.parametrize("more", ["", '[mqtt]\nbrokers = ["mqtts://b.example"]\n'], ids=["loopback", "elsewhere"])
def test_signatures_of_nobody_cannot_be_required(file: Path, more: str) -> None:
    file.write_text(f"{GOOD}{more}[security]\nrequire_signature = true\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert f"{file}: 1 error\n  security.require_signature = true (file): signatures are asked for" in str(error.value)
    assert "add [[security.issuers]] as `edged keygen` prints it" in str(error.value)


# -- issuers -----------------------------------------------------------------------------------------------------

ERP = f'name = "erp"\nkey = "{KEYS[0]}"\nroles = ["billing"]'
NOC = f'name = "noc"\nkey = "{KEYS[1]}"\nroles = ["noc", "operator"]'


def issuers(*tables: str, top: str = "") -> str:
    """A good file with these issuers, and ``top`` as the lines of [security]."""
    return f"{GOOD}[security]\n{top}\n" + "".join(f"[[security.issuers]]\n{table}\n" for table in tables)


def test_issuers_are_read(file: Path) -> None:
    file.write_text(issuers(ERP + f'\nother_key = "{KEYS[2]}"', NOC))
    security = load(file).security
    erp, noc = security.issuers
    assert (erp.name, erp.keys, erp.roles) == ("erp", (KEYS[0], KEYS[2]), ["billing"])
    assert (noc.name, noc.keys, noc.roles) == ("noc", (KEYS[1],), ["noc", "operator"])
    assert (security.max_ahead_minutes, security.max_age_hours) == (5, 24)


@pytest.mark.parametrize(
    ("text", "required"),
    [
        (GOOD, False),  # loopback and nobody who could sign
        (issuers(ERP), True),  # also on loopback
        (issuers(ERP, top="require_signature = false"), False),
        (issuers(ERP) + '[mqtt]\nbrokers = ["mqtts://b.example"]\n', True),
        (issuers(top="require_signature = false") + '[mqtt]\nbrokers = ["mqtts://b.example"]\n', False),
    ],
)
def test_when_signatures_are_required(file: Path, text: str, required: bool) -> None:
    file.write_text(text)
    assert load(file).security.required is required


ISSUER_MISTAKES = [
    ([ERP.replace("erp", "e r p")], "security.issuers[0].name", 'such as "erp"'),
    ([ERP.replace("erp", "local")], "security.issuers[0].name", "control socket"),
    ([ERP.replace("erp", "")], "security.issuers[0].name", 'such as "erp"'),
    ([ERP.replace("billing", "root")], "security.issuers[0].roles[0]", "'billing', 'security', 'legal', 'noc' or"),
    ([ERP.replace('"billing"', "")], "security.issuers[0].roles", "must not be empty"),
    ([ERP.replace('"billing"', '"noc", "noc"')], "security.issuers[0].roles", "noc more than once"),
    ([ERP.replace('["billing"]', '"billing"')], "security.issuers[0].roles", 'write ["a", "b"]'),
    ([ERP.replace(KEYS[0], KEYS[0] + "=")], "security.issuers[0].key", f'write "{KEYS[0]}"'),
    ([ERP.replace(KEYS[0], "A" * 43)], "security.issuers[0].key", "anybody could sign"),
    ([ERP.replace(KEYS[0], "short")], "security.issuers[0].key", "43 characters"),
    ([NOC, ERP + '\nother_key = "x"'], "security.issuers[1].other_key", "43 characters"),
    ([ERP + f'\nother_key = "{KEYS[0]}"'], "security.issuers[0].other_key", "same as key"),
    (['name = "erp"\nroles = ["noc"]'], "security.issuers[0].key", "is required; write for instance key = "),
    ([f'name = "erp"\nkey = "{KEYS[0]}"'], "security.issuers[0].roles", 'for instance roles = ["billing"]'),
    ([f'key = "{KEYS[0]}"\nroles = ["noc"]'], "security.issuers[0].name", 'write for instance name = "erp"'),
    ([ERP, NOC.replace('"noc"\n', '"erp"\n')], "security.issuers", 'two are named "erp"'),
    ([ERP, NOC.replace(KEYS[1], KEYS[0])], "security.issuers", "erp and noc have the same key"),
    ([ERP, NOC + f'\nother_key = "{KEYS[0]}"'], "security.issuers", "erp and noc have the same key"),
    ([ERP + "\nrolls = []"], "security.issuers[0].rolls", "did you mean security.issuers.roles?"),
]


@pytest.mark.parametrize(("tables", "key", "remedy"), ISSUER_MISTAKES, ids=[m[2][:30] for m in ISSUER_MISTAKES])
def test_a_mistake_about_an_issuer_names_key_and_remedy(file: Path, tables: list[str], key: str, remedy: str) -> None:
    file.write_text(issuers(*tables))
    with pytest.raises(ConfigError) as error:
        load(file)
    text = str(error.value)
    assert f"{file}: 1 error\n" in text
    assert re.search(rf"  {re.escape(key)}( = .*)?( \(file\))?: ", text)
    assert remedy in text


def test_a_private_key_is_neither_taken_nor_shown(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = envelope.generate()
    line = "".join(envelope.private_text(private).splitlines()[1:-1])
    file.write_text(issuers(ERP.replace(KEYS[0], line)))
    with pytest.raises(ConfigError, match="this is a private key") as error:
        load(file)
    assert line[-32:] not in str(error.value)
    file.write_text(GOOD)
    monkeypatch.setenv("EDGED_SECURITY__ISSUERS", line)
    with pytest.raises(ConfigError, match=r'EDGED_SECURITY__ISSUERS.*write it as JSON: \[\{"name"') as error:
        load(file)
    assert line[-32:] not in str(error.value)


def test_issuers_from_the_environment_are_json(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_SECURITY__ISSUERS", json.dumps([{"name": "erp", "key": KEYS[0], "roles": ["billing"]}]))
    loaded = load_with_origins(file)
    assert loaded.config.security.issuers[0].name == "erp"
    (shown,) = [s for s in settings(loaded) if s.key == "security.issuers"]
    assert shown.origin == "EDGED_SECURITY__ISSUERS"
    assert shown.value == [{"name": "erp", "key": KEYS[0], "roles": ["billing"]}]
    monkeypatch.setenv("EDGED_SECURITY__ISSUERS", json.dumps([{"name": "erp", "key": "x", "roles": ["billing"]}]))
    with pytest.raises(ConfigError, match=r"security.issuers\[0\].key.*EDGED_SECURITY__ISSUERS.*43 characters"):
        load(file)


def test_warnings_about_issuers(file: Path) -> None:
    file.write_text(issuers(ERP + f'\nother_key = "{KEYS[2]}"'))
    text = "\n".join(warnings(load(file)))
    assert "erp has two keys" in text
    assert "require_signature" not in text
    assert "security.issuers is empty" not in text
    file.write_text(issuers(ERP, top="require_signature = false"))
    assert "their keys protect nothing" in "\n".join(warnings(load(file)))
    file.write_text(issuers(ERP) + '[mqtt]\nbrokers = ["mqtt://192.0.2.9"]\n')
    assert "on the way read commands and hold them back" in "\n".join(warnings(load(file)))


def test_roles_and_keys_are_those_of_the_rules() -> None:
    assert get_args(security.Role) == roles.ROLES
    assert envelope.ROLES == roles.ROLES


def test_broker_and_listen_addresses_are_taken_apart() -> None:
    assert checks.broker("mqtts://b.example") == ("b.example", 8883, True)
    assert str(checks.broker("mqtt://[::1]")) == "[::1]:1883"
    assert checks.listen("[::1]:80") == ("::1", 80)
    assert checks.listen("[::1]:80").ipv6
    assert not checks.listen("127.0.0.1:80").ipv6


@pytest.mark.parametrize("bad", ["lo", "*", "a*b", "sixteencharacters", "eth 1", "eth/1", ""])
def test_bad_interfaces(bad: str) -> None:
    with pytest.raises(ValueError, match="interface"):
        checks.interface(bad)


def test_the_password_is_the_first_line(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    file.write_text(GOOD + f'[mqtt]\nusername = "u"\npassword_file = "{secret}"\n')
    mqtt = load(file).mqtt
    with pytest.raises(ConfigError, match=r"mqtt\.password_file = .*No such file"):
        mqtt.password()
    secret.write_text("\n")
    with pytest.raises(ConfigError, match="first line is empty"):
        mqtt.password()
    secret.write_text("açúcar \r\nnot this\n")
    assert mqtt.password() == "açúcar "


@pytest.mark.parametrize(
    ("interfaces", "lines", "word"),
    [
        ('["ppp*"]', "", "ppp interfaces carry no Ethernet frames"),
        ('["ppp*"]', 'interfaces = ["eth1"]', ""),
        ('["ppp*"]', 'mode = "off"', ""),
        ('["eth1"]', "", ""),
        ('["eth1"]', 'mode = "off"\ndrop_blocked = true', "xdp.drop_blocked = true: has no effect"),
    ],
)
def test_warnings_about_xdp(file: Path, interfaces: str, lines: str, word: str) -> None:
    text = file.read_text()
    subscribers = re.search(r"subscriber_interfaces = .*", text)
    assert subscribers
    file.write_text(text.replace(subscribers[0], f"subscriber_interfaces = {interfaces}") + f"\n[xdp]\n{lines}\n")
    said = [line for line in warnings(load(file)) if "xdp" in line]
    assert len(said) == bool(word)
    assert not word or word in said[0]


def test_devices_that_xdp_is_kept_from_are_said_before_the_start(file: Path) -> None:
    file.write_text(re.sub(r"subscriber_interfaces = .*", 'subscriber_interfaces = ["br0"]', file.read_text()))
    with namespace() as space:
        space.ip("link add br0 type bridge")
        (said,) = space.call(xdp_warnings, load(file))
        assert said.startswith("no XDP on br0: br0 is of the kind bridge")
        file.write_text(file.read_text() + '\n[xdp]\nmode = "generic"\n')
        assert space.call(xdp_warnings, load(file)) == []


def test_what_the_maps_cannot_say_is_said_before_the_start(file: Path) -> None:
    assert xdp_warnings(load(file)) == []
    text = file.read_text()
    lengths = ", ".join(map(str, range(48, 58)))
    file.write_text(text.replace("[network]", f"[network]\nipv6_prefix_lengths = [{lengths}]"))
    assert "at most 8 prefix lengths" in xdp_warnings(load(file))[0]
    file.write_text(re.sub(r'url = ".*"', f'url = "http://192.0.2.1/{"x" * 900}"', text))
    assert "portal.url" in xdp_warnings(load(file))[0]
    file.write_text(file.read_text() + '\n[xdp]\nmode = "off"\n')
    assert xdp_warnings(load(file)) == []


@pytest.mark.parametrize(
    ("portal", "garden", "said"),
    [
        ('customer_area = "https://Cliente.example.net/in"', "", ["cliente.example.net", "to garden.domains"]),
        ('customer_area = "https://cliente.example.net/"', 'domains = ["cliente.example.net"]', []),
        ('customer_area = "https://cliente.example.net./"', 'domains = ["cliente.example.net"]', []),
        ('customer_area = "https://a.b.example/"', 'domains = ["b.example"]', ["a.b.example", "to garden.domains"]),
        ('customer_area = "https://192.0.2.7/"', 'domains = ["b.example"]', ["192.0.2.7", "to garden.networks"]),
        ('customer_area = "https://192.0.2.7:8443/"', 'networks = ["192.0.2.0/29"]', []),
        ('customer_area = "https://[2001:db8::7]/"', 'networks = ["2001:db8::/64"]', []),
        ('customer_area = "https://[2001:db9::7]/"', 'networks = ["2001:db8::/64", "192.0.2.0/29"]', ["2001:db9::7"]),
        ('customer_area = "http://192.0.2.1/area"', "", []),  # where the page itself is
        ('whatsapp = "+55 11 90000-0000"', "", ["whatsapp", "wa.me, api.whatsapp.com, web.whatsapp.com"]),
        ('whatsapp = "+55 11 90000-0000"', 'domains = ["wa.me"]', ["needs api.whatsapp.com, web.whatsapp.com"]),
        ('whatsapp = "1"', 'domains = ["wa.me", "api.whatsapp.com", "web.whatsapp.com"]', []),
        ('phone = "1"', "", []),
    ],
)
def test_a_link_of_the_page_that_the_garden_does_not_open_is_said(
    file: Path, portal: str, garden: str, said: list[str]
) -> None:
    text = file.read_text().replace("[portal]", f'[portal]\nsite_listen = "192.0.2.1:80"\nprovider = {{ {portal} }}')
    file.write_text(f"{text}\n[garden]\n{garden}\n")
    about = [line for line in warnings(load(file)) if line.startswith("portal.provider.")]
    assert len(about) == bool(said)
    assert all(word in about[0] for word in said)
    assert not said or "with the command garden" in about[0]


@pytest.mark.parametrize(
    ("url", "site", "provider", "said"),
    [
        ("https://aviso.example.net/", "", 'customer_area = "https://aviso.example.net/login"', False),
        ("http://192.0.2.9/", "", 'customer_area = "http://192.0.2.9/x"', False),
        ("https://aviso.example.net/", "", 'customer_area = "https://cliente.example.net/"', False),  # not our page
        ("https://aviso.example.net/", "", 'whatsapp = "+55 11 90000-0000"', False),
        ("http://aviso.example.net./", "192.0.2.1:80", 'customer_area = "https://aviso.example.net/x"', False),
        ("http://aviso.example.net/", "192.0.2.1:80", 'customer_area = "https://aviso.example.net./x"', False),
        ("http://aviso.example.net/", "192.0.2.1:80", 'customer_area = "https://192.0.2.1/x"', False),
        ("http://[2001:db8:0::1]/", "[::]:80", 'customer_area = "http://[2001:DB8::1]/x"', False),
        ("http://aviso.example.net./", "192.0.2.1:80", 'customer_area = "https://cliente.example.net/"', True),
        ("http://aviso.example.net/", "192.0.2.1:80", 'customer_area = "https://192.0.2.2/"', True),
    ],
)
def test_the_host_of_the_page_is_always_open(file: Path, url: str, site: str, provider: str, *, said: bool) -> None:
    text = re.sub(r'url = ".*"', f'url = "{url}"', file.read_text())
    file.write_text(text.replace("[portal]", f'[portal]\nsite_listen = "{site}"\nprovider = {{ {provider} }}'))
    assert any(line.startswith("portal.provider.") for line in warnings(load(file))) == said


def test_an_empty_garden_is_said_beside_a_customer_area(file: Path) -> None:
    for area in ("", 'provider = { customer_area = "https://192.0.2.9/" }'):
        file.write_text(GOOD.replace("[portal]", f"[portal]\n{area}"))
        assert "garden.domains is empty" in "\n".join(warnings(load(file)))


def test_warnings_say_what_will_surprise(file: Path, tmp_path: Path) -> None:
    text = "\n".join(warnings(load(file)))
    for word in ("security.issuers is empty", "garden.networks is empty", "DNS", "site_listen is empty", "no phone"):
        assert word in text
    secret = tmp_path / "password"
    secret.write_text("x")
    secret.chmod(0o644)
    file.write_text(
        GOOD.replace("[portal]", '[portal]\nsite_listen = "192.0.2.1:8880"\nprovider = { phone = "1" }')
        + '[mqtt]\nbrokers = ["mqtt://192.0.2.9"]\nca_file = "/none"\nusername = "u"\n'
        + f'password_file = "{secret}"\n[security]\nrequire_signature = false\n'
        + '[garden]\nnetworks = ["192.0.2.53"]\ndomains = ["b.example"]\n[metrics]\nlisten = "0.0.0.0:9464"\n'
    )
    text = "\n".join(warnings(load(file)))
    for word in (
        "without TLS",
        "have no effect",
        "/none: No such file",
        "read by everybody",
        "= false",
        "same port",
        "not on loopback",
    ):
        assert word.replace("same port", "port of portal.listen_port") in text
    for word in ("garden.", "no phone"):
        assert word not in text


def test_the_example_shows_every_key_with_its_default() -> None:
    """The commented lines of the installed file are the defaults, and all of it loads when they are switched on."""
    text = EXAMPLE.read_text()
    load(EXAMPLE)
    everything = tomllib.loads(re.sub(r"^#(?=[a-z_0-9]+ = |\[\[)", "", text, flags=re.MULTILINE))
    shown = {
        (k,) if not isinstance(v, dict) or k == "areas" else (k, below)
        for k, v in everything.items()
        for below in (v if isinstance(v, dict) and k != "areas" else [k])
    }
    assert shown == {key[:2] for key in known_keys()}
    cfg = Config.model_validate(everything)
    only_examples = {
        "username",
        "password_file",
        "ca_file",
        "cert_file",
        "key_file",
        "protected",
        "networks",
        "domains",
        "provider",
        "issuers",
    }
    fresh = Config.model_validate(tomllib.loads(GOOD))
    for section in ("policy", "brake", "audit", "metrics", "security", "mqtt", "network"):
        for key, value in getattr(cfg, section).model_dump().items():
            if key not in only_examples | {"subscriber_interfaces", "cut_calendar"}:
                assert value == getattr(getattr(fresh, section), key), f"{section}.{key}"


def test_every_key_is_described(file: Path) -> None:
    assert not [s.key for s in settings(load_with_origins(file)) if not s.description]
    assert Path("/etc/edged/edged.toml") == config.DEFAULT_PATH
