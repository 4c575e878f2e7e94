"""Settings come from four places in a fixed order, and a bad one stops the start in a sentence."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from sirocco.engine.config import EngineConfig
from sirocco.errors import ConfigError
from sirocco.settings import Settings, load_settings

PASSWORD = "hunter-2"  # noqa: S105 - made up
URL = f"postgresql://sirocco:{PASSWORD}@db.example/sirocco"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a fresh SIROCCO_HOME, and no other setting in the environment."""
    for name in os.environ:
        if name.upper().startswith("SIROCCO_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SIROCCO_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def write_file(home: Path) -> Callable[[str], object]:
    """Write settings.toml."""
    return (home / "settings.toml").write_text


def refused(**flags: object) -> str:
    """Give the sentence in which the settings are refused."""
    with pytest.raises(ConfigError) as raised:
        load_settings(**flags)
    text = str(raised.value)
    assert "\n" not in text
    return text


# --- where a value comes from ---


@pytest.mark.parametrize(
    ("given", "port"),
    [
        ({}, 8787),
        ({"file": 1}, 1),
        ({"environment": 2}, 2),
        ({"file": 1, "environment": 2}, 2),
        ({"flag": 3}, 3),
        ({"file": 1, "flag": 3}, 3),
        ({"file": 1, "environment": 2, "flag": 3}, 3),
        ({"file": 1, "environment": 2, "flag": 0}, 0),
    ],
)
def test_flag_over_environment_over_file_over_default(write_file, monkeypatch, given, port):
    if "file" in given:
        write_file(f"port = {given['file']}")
    if "environment" in given:
        monkeypatch.setenv("SIROCCO_PORT", str(given["environment"]))

    assert load_settings(port=given.get("flag")).port == port


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("host", "0.0.0.0", "0.0.0.0"),  # noqa: S104 - nothing listens here
        ("stand_in", "true", True),
        ("stand_in", "0", False),
        ("device", "cpu", "cpu"),
        ("weights", "bfloat16", "bfloat16"),
        ("max_seq_len", "128", 128),
        ("kv_cache_bytes", "1048576", 1048576),
        ("shutdown_s", "0", 0),
        ("log_format", "json", "json"),
        ("database_url", URL, URL),
        ("models", '{"@me/mine": "/srv/mine"}', {"@me/mine": Path("/srv/mine")}),
    ],
)
def test_a_setting_is_read_from_the_environment(monkeypatch, name, text, value):
    monkeypatch.setenv(f"SIROCCO_{name.upper()}", text)

    assert getattr(load_settings(), name) == value


def test_models_are_a_table_in_the_file(write_file):
    write_file('[models]\n"@me/mine" = "/srv/mine"')

    assert load_settings().models == {"@me/mine": Path("/srv/mine")}


@pytest.mark.parametrize("name", ["SIROCCO_PORT", "SIROCCO_HOST", "SIROCCO_DATABASE_URL"])
def test_an_empty_variable_is_as_good_as_none(monkeypatch, name):
    expected = load_settings()
    monkeypatch.setenv(name, "")

    assert load_settings() == expected


def test_an_empty_home_is_not_the_present_folder(monkeypatch):
    monkeypatch.setenv("SIROCCO_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")

    assert load_settings().home.is_absolute()


@pytest.mark.parametrize("flags", [{}, {"home": "~/state"}], ids=["environment", "flag"])
def test_a_tilde_is_the_users_folder(monkeypatch, home, flags):
    user = home / "user"
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setenv("SIROCCO_HOME", str(home) if flags else "~/state")

    settings = load_settings(models={"@me/mine": "~/mine"}, **flags)

    assert settings.home == user / "state"
    assert settings.models == {"@me/mine": user / "mine"}


def test_state_lies_in_home(home):
    settings = load_settings()

    assert settings.home == home
    assert settings.resolved_database_url == f"sqlite:///{home / 'sirocco.db'}"
    assert settings.models_folder == home / "models"


def test_the_engines_numbers_are_handed_on():
    settings = load_settings(
        max_seq_len=99, block_size=8, kv_cache_bytes=1 << 20, max_step_tokens=64, max_running=32,
        max_waiting=7,
    )  # fmt: skip

    assert settings.engine == EngineConfig(
        max_seq_len=99, block_size=8, kv_cache_bytes=1 << 20, max_step_tokens=64, max_running=32,
        max_waiting=7,
    )  # fmt: skip


def test_the_engines_defaults_are_the_settings_defaults():
    assert load_settings().engine == EngineConfig()


def test_settings_do_not_change():
    settings = load_settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


# --- what is refused ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65_536),
        ("port", "http"),
        ("device", "tpu"),
        ("weights", "int3"),
        ("stand_in", "perhaps"),
        ("max_seq_len", 0),
        ("kv_cache_bytes", 0),
        ("block_size", 1025),
        ("max_step_tokens", 0),
        ("max_running", 1.5),
        ("max_waiting", 0),
        ("max_body_bytes", 1023),
        ("queue_timeout_s", 0),
        ("time_limit_s", -1),
        ("step_timeout_s", 86_401),
        ("shutdown_s", 3601),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("models", 5),
    ],
)
@pytest.mark.parametrize("written", ["flag", "environment", "file"])
def test_a_bad_value_is_refused_by_name_and_value(write_file, monkeypatch, name, value, written):
    flags = {}
    if written == "flag":
        flags = {name: value}
    elif written == "environment":
        monkeypatch.setenv(f"SIROCCO_{name.upper()}", str(value))
    else:
        write_file(f"{name} = {value!r}")

    text = refused(**flags)

    assert text.startswith(f"{name}: ")
    assert f"got {value!r}" in text or f"got '{value}'" in text


def test_every_bad_value_is_named():
    text = refused(port=-1, device="tpu")

    assert "port: " in text
    assert "device: " in text


def test_an_unknown_flag_is_refused():
    assert refused(prot=80) == "there is no setting 'prot'"


def test_an_unknown_setting_in_the_file_is_refused(write_file):
    write_file("prot = 80")

    assert refused() == "there is no setting 'prot'"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"max_running": 600}, "max_running must be at most max_step_tokens 512, got 600"),
        ({"max_step_tokens": 10}, "max_running must be at most max_step_tokens 10, got 64"),
    ],
)
def test_more_sequences_than_a_step_has_tokens_are_refused(flags, sentence):
    assert refused(**flags) == sentence


@pytest.mark.parametrize(
    "content",
    [b"port = ", b"port = 1\nport = 2", b"[models", b"\xff\xfe", b"a = " + b"[" * 5000],
    ids=["no-value", "twice", "no-end", "not-utf8", "nested"],
)
def test_a_broken_file_is_refused_by_its_path(home, content):
    (home / "settings.toml").write_bytes(content)

    assert refused().startswith(f"{home / 'settings.toml'} cannot be read: ")


@pytest.mark.parametrize("text", ["no json", "[" * 100_000], ids=["word", "nested"])
def test_broken_json_in_a_variable_is_refused(monkeypatch, text):
    monkeypatch.setenv("SIROCCO_MODELS", text)

    assert refused().startswith("the settings cannot be read: ")


def test_a_home_of_nobody_is_refused(monkeypatch):
    monkeypatch.setenv("SIROCCO_HOME", "~no-such-user/state")

    assert "~no-such-user/state" in refused()


# --- what is shown ---


def test_every_setting_is_shown_as_it_was_resolved(home):
    shown = load_settings(port=0, models={"@me/mine": "/srv/mine"}).shown()

    assert set(shown) == set(Settings.model_fields)
    assert shown["port"] == 0
    assert shown["home"] == str(home)
    assert shown["models"] == {"@me/mine": "/srv/mine"}
    assert shown["database_url"] == f"sqlite:///{home / 'sirocco.db'}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "postgresql+psycopg://sirocco:***@db.example/sirocco"),
        (f"postgresql://db.example/sirocco?user=sirocco&password={PASSWORD}", None),
        (f"postgresql://db.example/sirocco?sslpassword={PASSWORD}", None),
        (f"postgresql://db.example/sirocco?pasword={PASSWORD}", None),
        (f"no url at all, {PASSWORD}", "a hidden value"),
        (f"postgresql://sirocco:{PASSWORD}@db.example:port/sirocco", "a hidden value"),
    ],
    ids=["in-front", "behind", "of-a-key", "misspelt", "not-a-url", "bad-port"],
)
def test_a_password_of_the_database_is_masked(url, shown):
    text = load_settings(database_url=url).shown()["database_url"]

    assert PASSWORD not in text
    assert shown in (None, text)


@pytest.mark.parametrize(
    "write",
    [
        lambda: {"database_url": [URL]},
        lambda: {"database_url": {"password": PASSWORD}},
        lambda: {"database_url": URL, "port": "x"},
        lambda: {"database-url": URL},
    ],
    ids=["list", "table", "beside-another", "misspelt"],
)
def test_no_error_tells_the_database_password(write):
    """Not in the sentence, and not in the chain of causes that a log would keep."""
    with pytest.raises(ConfigError) as raised:
        load_settings(**write())
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    "line",
    [
        f'database_url = ["{URL}"]',
        f'[database_url]\npassword = "{PASSWORD}"',
        f'database_url = "{URL}',
        f"database_url = {URL}",
        f'databas_url = "{URL}"',
    ],
    ids=["list", "table", "no-end", "no-quotes", "misspelt"],
)
def test_no_error_about_the_file_tells_the_database_password(write_file, line):
    write_file(line)

    with pytest.raises(ConfigError) as raised:
        load_settings()
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))
