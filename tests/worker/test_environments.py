"""What an environment of wrangler's configuration takes from the top of the file, and what not."""

import pytest

from sirocco.errors import ConfigError
from sirocco.worker.project import read_project

TOML = """
name = "hello"
main = "index.js"
compatibility_date = "2025-03-01"
compatibility_flags = ["nodejs_compat"]
ai = { binding = "AI" }
vars = { WORD = "top", ONLY = "here" }

[env.staging]
vars = { WORD = "staging" }
ai = { binding = "MIND" }
d1_databases = []

[env.production]
name = "greeter"
main = "other.js"
compatibility_date = "2026-01-01"

[env.empty]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "index.js").touch()
    (tmp_path / "other.js").touch()
    (tmp_path / "wrangler.toml").write_text(TOML)
    return tmp_path


def test_without_a_name_the_top_of_the_file_is_read(folder):
    project = read_project(folder)

    assert (project.name, project.ai, project.environment) == ("hello", "AI", None)
    assert project.variables == {"WORD": "top", "ONLY": "here"}
    assert (project.unused, project.not_inherited) == ((), ())


def test_variables_and_binding_are_the_environments_own_and_the_rest_is_inherited(folder):
    project = read_project(folder, "staging")

    assert (project.name, project.ai) == ("hello-staging", "MIND")
    assert project.variables == {"WORD": "staging"}
    assert project.script == folder / "index.js"
    assert project.compatibility_date == "2025-03-01"
    assert project.compatibility_flags == ("nodejs_compat",)
    assert (project.unused, project.not_inherited) == (("d1_databases",), ())


def test_what_an_environment_names_takes_the_place_of_what_it_would_inherit(folder):
    project = read_project(folder, "production")

    assert (project.name, project.script) == ("greeter", folder / "other.js")
    assert project.compatibility_date == "2026-01-01"


def test_what_is_not_inherited_is_told(folder):
    project = read_project(folder, "empty")

    assert (project.name, project.ai, project.variables) == ("hello-empty", None, {})
    assert project.not_inherited == ("ai", "vars")


def test_json_has_environments_too(tmp_path):
    (tmp_path / "index.js").touch()
    (tmp_path / "wrangler.jsonc").write_text(
        '{"main": "index.js", "env": {"a b": {"vars": {"X": [1]}}}}'
    )

    project = read_project(tmp_path, "a b")

    assert (project.name, project.variables) == (None, {"X": [1]})


def test_an_environments_own_secrets_are_taken_alone_if_there_are_any(folder):
    (folder / ".dev.vars").write_text("A=all\nWORD=secret")
    (folder / ".dev.vars.staging").write_text("B=staging")

    assert read_project(folder).variables == {"WORD": "secret", "ONLY": "here", "A": "all"}
    assert read_project(folder, "staging").variables == {"WORD": "staging", "B": "staging"}
    assert read_project(folder, "empty").variables == {"A": "all", "WORD": "secret"}


def test_every_file_that_secrets_may_come_from_is_watched(folder):
    names = {file.name for file in read_project(folder, "staging").sources}

    assert names == {"wrangler.toml", ".dev.vars", ".dev.vars.staging"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (TOML, "has no environment 'test'; it has staging, production, empty"),
        ('main = "index.js"', "has no environment 'test'; it has none"),
        ('main = "index.js"\nenv = 1', "'env' must hold an object for each environment"),
        ("env = { test = 1 }", "'env' must hold an object for each environment"),
        ("env = { test = { main = 7 } }", "'main' must be a str, got 7"),
    ],
)
def test_an_environment_that_is_not_there_is_refused(folder, text, sentence):
    (folder / "wrangler.toml").write_text(text)

    with pytest.raises(ConfigError) as raised:
        read_project(folder, "test")

    assert str(raised.value).startswith(str(folder / "wrangler.toml"))
    assert sentence in str(raised.value)


def test_a_script_alone_has_no_environments(folder):
    with pytest.raises(ConfigError, match=r"environment 'x' needs a wrangler file"):
        read_project(folder / "index.js", "x")
