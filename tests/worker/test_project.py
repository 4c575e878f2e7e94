"""What is taken from wrangler's configuration, and what is refused."""

import pytest

from sirocco.errors import ConfigError
from sirocco.worker import jsonc
from sirocco.worker.config import quoted, write_config
from sirocco.worker.example import write_example
from sirocco.worker.project import Project, read_project

TOML = """
name = "hello"
main = "src/index.ts"
compatibility_date = "2025-03-01"
compatibility_flags = ["nodejs_compat"]
kv_namespaces = [{ binding = "KV", id = "1" }]
[ai]
binding = "MIND"
[vars]
GREETING = "hello"
LIMITS = { tokens = 5 }
"""
JSONC = """{
  // a comment, "quoted"
  "main": "src/index.ts", /* another
  one */
  "ai": { "binding": "AI" },
  "vars": { "URL": "https://a.example/*x*/", "TEXT": "a,}", },
}
"""


def write(folder, name, text):
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src" / "index.ts").write_text("")
    file = folder / name
    file.write_text(text)
    return file


def test_a_script_alone_gets_env_ai(tmp_path):
    script = tmp_path / "script.js"
    script.touch()

    assert read_project(script) == Project(script, "AI")


@pytest.mark.parametrize("by_folder", [True, False])
def test_toml_is_read(tmp_path, by_folder):
    file = write(tmp_path, "wrangler.toml", TOML)

    project = read_project(tmp_path if by_folder else file)

    assert project == Project(
        tmp_path / "src" / "index.ts", "MIND", {"GREETING": "hello", "LIMITS": {"tokens": 5}},
        "2025-03-01", ("nodejs_compat",), file, ("kv_namespaces",), "hello",
    )  # fmt: skip


def test_json_with_comments_is_read(tmp_path):
    write(tmp_path, "wrangler.jsonc", JSONC)

    project = read_project(tmp_path)

    assert project.ai == "AI"
    assert project.variables == {"URL": "https://a.example/*x*/", "TEXT": "a,}"}
    assert project.unused == ()


def test_secrets_of_a_project_come_from_their_own_file(tmp_path):
    write(tmp_path, "wrangler.toml", 'main = "src/index.ts"\nvars = { A = "config", B = "b" }')
    (tmp_path / ".dev.vars").write_text("# C=no\nA = \"a=b\"\n\nD='x y'\nnothing\n")

    assert read_project(tmp_path).variables == {"A": "a=b", "B": "b", "D": "x y"}


def test_a_project_without_an_ai_binding_has_none(tmp_path):
    write(tmp_path, "wrangler.toml", 'main = "src/index.ts"')

    assert read_project(tmp_path).ai is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("main =", "cannot be read: "),
        ('name = "x"', "names no script: 'main' is missing"),
        ('main = "other.js"', "there is no script 'other.js'"),
        ("main = 7", "'main' must be a str, got 7"),
        ('main = "src/index.ts"\nvars = 3', "'vars' must be a dict, got 3"),
        ('main = "src/index.ts"\nai = "AI"', "'ai' must be a dict, got 'AI'"),
    ],
)
def test_a_faulty_configuration_is_told_with_its_file(tmp_path, text, sentence):
    file = write(tmp_path, "wrangler.toml", text)

    with pytest.raises(ConfigError) as raised:
        read_project(tmp_path)

    assert str(raised.value).startswith(str(file))
    assert sentence in str(raised.value)


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="there is no script"):
        read_project(tmp_path / "script.js")
    with pytest.raises(ConfigError, match="name a script"):
        read_project(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1,,]", '{"a": }', "{'a': 1}"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        jsonc.parse(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain ü", '"plain ü"'),
        ('a "b" \\n', r'"a \"b\" \\n"'),
        ("\n\t\x00\x7f", r'"\x0a\x09\x00\x7f"'),
    ],
)
def test_texts_are_written_so_that_nothing_gets_out(text, written):
    assert quoted(text) == written


@pytest.mark.parametrize("url", ["ftp://h:1", "http://", "127.0.0.1:8787", "http://h:1/path"])
def test_a_server_must_be_an_address_of_http(tmp_path, url):
    with pytest.raises(ConfigError, match="the server must be"):
        write_config(Project(tmp_path), b"", url, "t", tmp_path)


def test_the_example_is_a_project_and_overwrites_nothing(tmp_path):
    written = write_example(tmp_path / "new")

    project = read_project(tmp_path / "new")

    assert project.script in written
    assert (project.ai, project.unused) == ("AI", ())
    with pytest.raises(ConfigError, match="is there already"):
        write_example(tmp_path / "new")
