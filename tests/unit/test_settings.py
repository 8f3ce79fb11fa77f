"""Settings: one clear line for each that is wrong, all of them at once, and never a password."""

import os
import re
import socket

import pytest

from worker.errors import SettingsError
from worker.settings import PREFIX, Settings

PASSWORD = "hunter2"
DATABASE_URL = f"postgresql://worker:{PASSWORD}@db.example:5432/referrals"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    """No setting comes from the machine that runs the tests."""
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def load(monkeypatch):
    """Load settings from an environment of these, with a database unless it is None."""

    def load(database_url=DATABASE_URL, **settings):
        if database_url is not None:
            settings["database_url"] = database_url
        for name, value in settings.items():
            monkeypatch.setenv(PREFIX + name.upper(), value)
        return Settings.load()

    return load


@pytest.fixture
def lines_of(load):
    """Return the lines in which settings are refused."""

    def lines_of(**settings):
        with pytest.raises(SettingsError) as error:
            load(**settings)
        return str(error.value).split("\n")

    return lines_of


def test_settings_have_defaults_for_all_but_the_database(load):
    """A database is all that a worker needs to be told."""
    settings = load()
    assert settings.database_url == DATABASE_URL
    assert settings.bootstrap_servers == "localhost:9092"
    assert settings.usages_topic == "referral-usages"
    assert settings.rejected_topic == "referral-usages-rejected"
    assert settings.app_id == "referral-usage-worker"
    assert settings.partitions == 8
    assert settings.future_max_s == 300
    assert (settings.web_host, settings.web_port) == ("127.0.0.1", 8080)
    assert settings.url == "http://127.0.0.1:8080"


def test_settings_name_the_database_when_it_is_missing(lines_of):
    """Without a database the one line names the variable and shows its form."""
    (line,) = lines_of(database_url=None)
    assert line.startswith("REFERRALS_DATABASE_URL is not set")
    assert "postgresql://user:password@host:port/database" in line


BAD_VALUES = [
    ("bootstrap_servers", ""),
    ("bootstrap_servers", "localhost"),
    ("bootstrap_servers", "localhost:"),
    ("bootstrap_servers", ":9092"),
    ("bootstrap_servers", "localhost:0"),
    ("bootstrap_servers", "localhost:65536"),
    ("bootstrap_servers", "localhost:-1"),
    ("bootstrap_servers", "localhost:kafka"),
    ("bootstrap_servers", "localhost:\u00b2"),
    ("bootstrap_servers", "a:9092,"),
    ("bootstrap_servers", "a:9092,b"),
    ("bootstrap_servers", "kafka://localhost:9092"),
    ("usages_topic", ""),
    ("usages_topic", "a b"),
    ("usages_topic", ".."),
    ("usages_topic", "a" * 201),
    ("usages_topic", "usages\n"),
    ("rejected_topic", "a/b"),
    ("app_id", "\u00e9"),
    ("database_url", ""),
    ("database_url", "mysql://worker@db/referrals"),
    ("database_url", "db.example:5432"),
    ("database_url", "host=db user=worker"),
    ("database_url", "postgresql://worker@db/referrals?colour=red"),
    ("database_url", "postgresql://worker@db:65536/referrals"),
    ("database_url", "postgresql://worker@db:0/referrals"),
    ("database_url", "postgresql://worker@db:port/referrals"),
    ("database_url", "postgresql://worker@[::1/referrals"),
    ("partitions", "0"),
    ("partitions", "4097"),
    ("partitions", "8.5"),
    ("partitions", ""),
    ("replication_factor", "-2"),
    ("replication_factor", "0"),
    ("replication_factor", "33"),
    ("start_timeout_s", "0"),
    ("start_timeout_s", "nan"),
    ("start_timeout_s", "3601"),
    ("stop_timeout_s", "0"),
    ("stop_timeout_s", "601"),
    ("run_max_records", "0"),
    ("run_max_records", "50001"),
    ("filter_max_bytes", "-1"),
    ("filter_max_bytes", "68719476737"),
    ("future_max_s", "-1"),
    ("future_max_s", "86401"),
    ("future_max_s", "nan"),
    ("database_connections", "0"),
    ("database_connections", "65"),
    ("reader_connections", "0"),
    ("reader_connections", "65"),
    ("connect_timeout_s", "0"),
    ("connect_timeout_s", "301"),
    ("transaction_timeout_s", "0"),
    ("transaction_timeout_s", "601"),
    ("read_timeout_s", "0"),
    ("read_timeout_s", "301"),
    ("retry_max_s", "0"),
    ("retry_max_s", "inf"),
    ("session_timeout_s", "0.5"),
    ("session_timeout_s", "301"),
    ("stall_timeout_s", "0"),
    ("stall_timeout_s", "3601"),
    ("web_host", ""),
    ("web_port", "0"),
    ("web_port", "65536"),
    ("web_port", "http"),
    ("web_url", "worker.example"),
    ("web_url", "ftp://worker.example"),
    ("web_token", ""),
    ("web_token", "short"),
    ("web_token", "sixteen and a space"),
    ("web_token", "\u00e9" * 16),
    ("web_token", "t" * 201),
    ("web_admin_token", "short"),
    ("web_anonymous", "perhaps"),
    ("log_format", "xml"),
    ("log_level", "loud"),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES, ids=[f"{name}={value[:24]!a}" for name, value in BAD_VALUES])
def test_settings_refuse_a_bad_value_in_one_line(lines_of, name, value):
    """A value out of its bounds or form ends in one line that names the variable and says more than that."""
    (line,) = lines_of(**{name: value})
    variable, _, words = line.partition(": ")
    assert variable == PREFIX + name.upper()
    assert len(words) > 10
    assert "Value error" not in words
    assert "invalid literal" not in words


def test_settings_with_a_bound_or_form_each_have_a_bad_value():
    """No setting is forgotten above; a folder may have any name."""
    assert {name for name, _ in BAD_VALUES} == set(Settings.model_fields) - {"data_dir"}


@pytest.mark.parametrize("field", Settings.model_fields.values(), ids=list(Settings.model_fields))
def test_settings_each_have_a_sentence(field):
    """The description is what docs/settings.md shows."""
    assert field.description


def test_settings_tell_all_problems_at_once(lines_of):
    """Whoever starts a worker learns of every bad setting in one go, a line for each."""
    lines = lines_of(
        database_url=None,
        bootstrap_servers="localhost",
        web_port="70000",
        usages_topic="a b",
        start_timeout_s="soon",
    )
    assert {re.match(r"\w+", line)[0] for line in lines} == {
        "REFERRALS_DATABASE_URL",
        "REFERRALS_BOOTSTRAP_SERVERS",
        "REFERRALS_WEB_PORT",
        "REFERRALS_USAGES_TOPIC",
        "REFERRALS_START_TIMEOUT_S",
    }
    assert len(lines) == 5


def test_settings_refuse_one_topic_for_usages_and_rejects(lines_of):
    """Rejects on the usages topic would be rejected again, for ever; the line names both variables."""
    (line,) = lines_of(usages_topic="events", rejected_topic="events")
    assert "REFERRALS_USAGES_TOPIC" in line
    assert "REFERRALS_REJECTED_TOPIC" in line


@pytest.mark.parametrize(
    "database_url",
    [
        f"mysql://worker:{PASSWORD}@db/referrals",
        f"worker:{PASSWORD}@db/referrals",
        f"host=db password={PASSWORD}",
        f"postgresql:{PASSWORD}@db",
        f"postgresql://worker:{PASSWORD}@db/referrals?colour=red",
        f"postgresql://worker:{PASSWORD}@db/referrals?password={PASSWORD}&colour=red",
        f"postgresql://worker:{PASSWORD}%@db/referrals",
        f"postgresql://worker:{PASSWORD}%zz@db/referrals",
        f"postgresql://worker:{PASSWORD}%00@db/referrals",
        f"postgresql://worker:{PASSWORD} 7@db/referrals",
        f"postgresql://worker:{PASSWORD}@[::1/referrals",
        f"postgresql://worker:{PASSWORD}@[::1]x/referrals",
    ],
)
def test_settings_never_show_a_password_of_a_bad_database_url(lines_of, database_url):
    """However the database's URL is wrong, what is said about it leaves out its password."""
    (line,) = lines_of(database_url=database_url)
    assert line.startswith("REFERRALS_DATABASE_URL: ")
    assert PASSWORD not in line


@pytest.mark.parametrize("character", ["]", "[", "\u2100", "@", "?", "#"], ids=ascii)
def test_settings_never_show_a_password_of_unusual_characters(load, character):
    """A character that some parser of URLs stumbles over does not bring the password into what is said about it."""
    said = ""
    try:
        load(database_url=f"postgresql://worker:{PASSWORD}{character}@db/referrals")
    except SettingsError as error:
        said = f"{error} {error.__cause__}"
    assert PASSWORD not in said


def test_settings_never_show_a_password_given_to_kafka(lines_of):
    """Somebody who puts a user and a password into the brokers' address does not find them in the log."""
    (line,) = lines_of(bootstrap_servers=f"sasl://worker:{PASSWORD}@broker:9092")
    assert PASSWORD not in line


def test_settings_never_show_a_password_when_another_is_wrong(lines_of):
    """A good database URL is not repeated beside what is bad."""
    assert PASSWORD not in "\n".join(lines_of(web_port="0", partitions="0"))


def test_settings_never_show_a_password_in_their_text(load):
    """Settings in a traceback or a log line do not carry the database's password."""
    settings = load()
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in str(settings)


def test_settings_error_keeps_no_password_in_its_cause(load):
    """Neither does the error beneath, which a traceback would show."""
    with pytest.raises(SettingsError) as error:
        load(database_url=f"mysql://worker:{PASSWORD}@db/referrals", web_port="0")
    assert PASSWORD not in str(error.value.__cause__)


def test_settings_take_a_list_of_brokers_with_spaces(load):
    """Brokers are separated by commas; spaces around them do not matter, and an address of IPv6 is one."""
    assert load(bootstrap_servers=" a:9092 , b:9093,[::1]:9092").bootstrap_servers == "a:9092,b:9093,[::1]:9092"


@pytest.mark.parametrize("hosts", ["a,b", "a:5432,b", "a,b:5433", "a:5432,b:5433", "[::1]:5432", ""], ids=repr)
def test_settings_take_a_database_on_several_hosts(load, hosts):
    """A database may have standbys, each with or without a port, or no host at all: the local socket."""
    url = f"postgresql://worker@{hosts}/referrals"
    assert load(database_url=url).database_url == url


def test_settings_show_the_url_that_others_reach(load):
    """A given URL wins over host and port."""
    assert load(web_host="10.1.2.3", web_port="9000", web_anonymous="true").url == "http://10.1.2.3:9000"
    assert load(web_url="https://worker-1.example/").url == "https://worker-1.example/"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_settings_show_the_machine_when_all_its_addresses_are_served(load, host):
    """Nobody reaches a wildcard address: the machine's name stands for it, so that each container has its own URL."""
    assert load(web_host=host, web_anonymous="true").url == f"http://{socket.gethostname()}:8080"


def test_settings_show_a_url_of_an_ipv6_address(load):
    """An IPv6 address stands in brackets in a URL."""
    assert load(web_host="::1").url == "http://[::1]:8080"


def test_settings_are_frozen(load):
    """Settings do not change once they are read."""
    settings = load()
    with pytest.raises(ValueError, match="frozen"):
        settings.web_port = 1


TOKEN = "a-token-that-reads"
ADMIN_TOKEN = "a-token-that-changes"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "192.0.2.1", "worker.example", "localhost.example"])
def test_settings_refuse_an_address_that_others_reach_without_a_token(lines_of, host):
    """Nobody opens the worker to a network by mistake; the line names all three ways out."""
    (line,) = lines_of(web_host=host)
    assert repr(host) in line
    for name in ("WEB_TOKEN", "WEB_ADMIN_TOKEN", "WEB_ANONYMOUS"):
        assert PREFIX + name in line


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "LOCALHOST", "::1", "[::1]"])
def test_settings_take_loopback_without_a_token(load, host):
    """On this machine alone nothing guards, unless it is asked to."""
    assert load(web_host=host).web_token is None


@pytest.mark.parametrize(
    "settings",
    [
        {"web_token": TOKEN},
        {"web_admin_token": ADMIN_TOKEN},
        {"web_token": TOKEN, "web_admin_token": ADMIN_TOKEN},
        {"web_anonymous": "true"},
        {"web_anonymous": "true", "web_admin_token": ADMIN_TOKEN},
    ],
    ids="+".join,
)
def test_settings_take_any_address_with_a_token_or_on_purpose(load, settings):
    """Either token, or the word that everybody may read, opens the worker to others."""
    assert load(web_host="0.0.0.0", **settings).web_host == "0.0.0.0"


def test_settings_refuse_tokens_that_contradict(lines_of):
    """One token for both would let readers change things; a reader's token means nothing when everybody reads."""
    (line,) = lines_of(web_token=TOKEN, web_admin_token=TOKEN)
    assert "are the same" in line
    assert TOKEN not in line
    (line,) = lines_of(web_token=TOKEN, web_anonymous="true")
    assert "unset one" in line


def test_settings_never_show_a_token(load, lines_of):
    """Neither in their text, nor as a dictionary or JSON, nor beside what is wrong with it or another."""
    settings = load(web_token=TOKEN, web_admin_token=ADMIN_TOKEN)
    short = "hunter2hunter2"
    said = [repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()]
    said += lines_of(web_token=short, web_admin_token=ADMIN_TOKEN, web_port="0")
    assert not any(token in text for text in said for token in (TOKEN, ADMIN_TOKEN, short))
