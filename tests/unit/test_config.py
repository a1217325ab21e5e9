"""The configuration: every mistake names key, value and remedy; the environment wins; the example says it all."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from edged import config
from edged.config import Config, checks, load, load_with_origins, settings, warnings
from edged.config.mistakes import known_keys
from edged.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "config" / "edged.toml"
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
    ("portal", 'language = "fr"', "portal.language", '"fr"', "'pt-BR' or 'en'"),
    ("portal", 'site_listen = "0.0.0.0"', "portal.site_listen", "0.0.0.0", "address:port"),
    ("portal", 'site_listen = "::1:80"', "portal.site_listen", "::1:80", "[::1]:9464"),
    ("portal", "max_connections_per_address = 30000", "portal.max_connections_per_address", "30000", "at most 20000"),
    ("portal", "header_timeout = true", "portal.header_timeout", "true", "number without quotes"),
    ("portal", 'provider = { fone = "1" }', "portal.provider.fone", '"1"', "did you mean portal.provider.phone?"),
    ("portal", 'provider = { customer_area = "javascript:x" }', "customer_area", "javascript:x", "https://"),
    ("policy", 'timezone = "Mars"', "policy.timezone", '"Mars"', "America/Sao_Paulo"),
    ("policy", 'timezone = "../../etc/passwd"', "policy.timezone", "passwd", "America/Sao_Paulo"),
    ("policy", "require_notice = 1", "policy.require_notice", "1", "true or false"),
    ("policy", 'cut_calendar = "BR"', "policy.cut_calendar", '"BR"', "comes with a later version"),
    ("policy", "mark_bit = 1", "policy.mark_bit", "1", "did you mean network.mark_bit?"),
    ("policy", "colour = 1", "policy.colour", "1", "no such key; remove it"),
    ("brake", "enabled = true", "brake", "", "comes with a later version"),
    ("xdp", 'mode = "auto"', "xdp", "", "comes with a later version"),
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
    assert "security.require_signature = true (default): signatures are not in this version" in text
    assert host in text
    file.write_text(file.read_text() + "[security]\nrequire_signature = false\n")
    assert not load(file).security.require_signature


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


def test_warnings_say_what_will_surprise(file: Path, tmp_path: Path) -> None:
    text = "\n".join(warnings(load(file)))
    for word in ("require_signature", "garden.networks is empty", "DNS", "site_listen is empty", "no phone"):
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
    everything = tomllib.loads(re.sub(r"^#(?=[a-z_0-9]+ = )", "", text, flags=re.MULTILINE))
    shown = {
        (k,) if not isinstance(v, dict) else (k, below)
        for k, v in everything.items()
        for below in (v if isinstance(v, dict) else [k])
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
    }
    fresh = Config.model_validate(tomllib.loads(GOOD))
    for section in ("policy", "metrics", "security", "mqtt", "network"):
        for key, value in getattr(cfg, section).model_dump().items():
            if key not in only_examples | {"subscriber_interfaces"}:
                assert value == getattr(getattr(fresh, section), key), f"{section}.{key}"


def test_every_key_is_described(file: Path) -> None:
    assert not [s.key for s in settings(load_with_origins(file)) if not s.description]
    assert Path("/etc/edged/edged.toml") == config.DEFAULT_PATH
