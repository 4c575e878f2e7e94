"""`sirocco pull`, from a hub on this machine to a model that answers."""

import json
import stat

import pytest
from tests.hub.fake_hub import COMMIT, REPO, FakeHub, running

from sirocco import LLM, SamplingParams
from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog

MISTRAL = "@cf/mistral/mistral-7b-instruct-v0.1"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that holds the embedded model's checkpoint."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    folder = Catalog(tmp_path).find(EMBEDDED_MODEL_ID).folder
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with running(FakeHub(files)) as started:
        monkeypatch.setenv("HF_ENDPOINT", started.url)
        yield started


@pytest.fixture
def own_model(home):
    """A model of the user's own list, published in the hub's repository."""
    home.mkdir()
    text = f'[[model]]\nid = "@me/tiny"\nhub = "{REPO}"\ntemplate = "breeze"\n'
    (home / "catalog.toml").write_text(text)
    return "@me/tiny"


def test_a_model_that_was_pulled_answers(sirocco, hub, own_model, home):
    done = sirocco("pull", own_model, "--json")

    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert (told["id"], told["repo"], told["commit"]) == (own_model, REPO, COMMIT)
    assert told["folder"] == str(home / "models" / own_model)
    assert told["bytes"] > 1_000_000
    answer = LLM(own_model).chat(
        [{"role": "user", "content": "What is a KV cache?"}],
        SamplingParams(temperature=0, max_tokens=4),
    )
    assert answer.text


def test_a_repository_without_an_entry_is_served_by_its_name(sirocco, hub, home):
    done = sirocco("pull", REPO, "--revision", "v1")

    assert done.status == 0, done.err
    assert f"{REPO} is here: " in done.out
    assert COMMIT in done.out
    rows = {row["id"]: row for row in json.loads(sirocco("models", "--json").out)}
    assert (rows[REPO]["installed"], rows[REPO]["template"]) == ("yes", "breeze")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_repository_that_the_catalogue_knows_is_the_catalogues_model(
    sirocco, hub, own_model, home
):
    told = json.loads(sirocco("pull", REPO, "--json").out)

    assert told["id"] == own_model
    assert not (home / "models" / REPO).exists()


def test_what_is_here_is_not_pulled_again(sirocco, hub, own_model, refused):
    sirocco("pull", own_model)
    hub.requests.clear()

    assert "is here already" in sirocco("pull", own_model).out
    assert json.loads(sirocco("pull", own_model, "--json").out)["was_here"] is True
    assert sirocco("pull", own_model, "--revision", COMMIT).status == 0
    assert f"holds {COMMIT}: remove the folder" in refused("pull", own_model, "--revision", "v2")
    assert hub.requests == []


def test_the_embedded_model_is_here_already(sirocco):
    assert "is here already" in sirocco("pull", EMBEDDED_MODEL_ID).out


def test_an_endpoint_can_be_named(sirocco, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    assert sirocco("pull", REPO, "--endpoint", hub.url).status == 0


def test_a_model_of_another_family_is_refused_before_its_weights_come(refused, hub):
    hub.files["config.json"] = b'{"model_type": "gpt2"}'

    text = refused("pull", REPO, "--json")

    assert text == (
        "me/tiny cannot run on this version of Sirocco: config.json: model_type 'gpt2' is not "
        "one of mistral, llama"
    )
    assert not [path for path in hub.paths() if path.startswith("/storage/")]


def test_weights_that_do_not_fit_their_config_are_not_installed(refused, hub, home):
    config = json.loads(hub.files["config.json"])
    hub.files["config.json"] = json.dumps(config | {"num_hidden_layers": 2}).encode()

    assert "do not match its config" in refused("pull", REPO, "--json")
    assert not (home / "models" / REPO).exists()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("@cf/x/y", "'@cf/x/y' is neither a model of the catalogue nor a repository, OWNER/NAME"),
        ("nothing", "'nothing' is neither a model of the catalogue nor a repository, OWNER/NAME"),
        ("../x", "'../x' is neither a model of the catalogue nor a repository, OWNER/NAME"),
        ("@hf/thebloke/llamaguard-7b-awq",
         "@hf/thebloke/llamaguard-7b-awq cannot run on this version of Sirocco: its prompt, a "
         "task with categories of harm, is not in this version"),
    ],
)  # fmt: skip
def test_what_cannot_be_pulled_is_told_in_one_sentence(refused, hub, model, sentence):
    assert refused("pull", model, "--json") == sentence
    assert hub.requests == []


def test_a_model_of_the_catalogue_is_asked_for_by_its_repository(refused, hub):
    text = refused("pull", MISTRAL, "--json")

    assert "has no repository mistralai/Mistral-7B-Instruct-v0.1" in text
    assert hub.paths() == ["/api/models/mistralai/Mistral-7B-Instruct-v0.1"]
