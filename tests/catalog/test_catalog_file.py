"""A user's own list of models: it adds to ours, and its faults are named."""

import pytest

from sirocco.catalog import EMBEDDED_MODEL_ID, Catalog
from sirocco.errors import ConfigError

MISTRAL = "@cf/mistral/mistral-7b-instruct-v0.1"
MINE = '[[model]]\nid = "@me/mine"\n'


@pytest.fixture
def own(tmp_path):
    """Read our list, and beside it a file with this text."""

    def read(text):
        file = tmp_path / "catalog.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Catalog(tmp_path / "models", own_file=file)

    return read


def test_without_the_file_there_are_ours_alone(tmp_path):
    catalog = Catalog(tmp_path, own_file=tmp_path / "catalog.toml")

    assert catalog.entries == Catalog(tmp_path).entries


def test_a_model_of_ones_own_is_added_with_all_it_says(own, tmp_path):
    catalog = own("""
        [defaults]
        short_system = "Be brief."

        [[model]]
        id = "@me/mine"
        description = "Mine."
        template = "llama2"
        system = "short_system"
        hub = "me/Mine-7B"
        aliases = ["@me/same"]
        context_window = 100
        input_neurons = 1
        output_neurons = 25
        experimental = true
        tags = ["x"]
    """)

    entry = catalog.find("@me/same")
    assert (entry.model_id, entry.description, entry.template) == ("@me/mine", "Mine.", "llama2")
    assert (entry.default_system, entry.hub, entry.tags) == ("Be brief.", "me/Mine-7B", ("x",))
    assert (entry.context_window, entry.price.output) == (100, 25)
    assert (entry.is_experimental, entry.folder) == (True, tmp_path / "models" / "@me/mine")
    assert EMBEDDED_MODEL_ID in {entry.model_id for entry in catalog.entries}


def test_a_models_folder_may_be_anywhere(own, tmp_path):
    catalog = own(f"""
        [[model]]
        id = "@me/near"
        folder = "near"
        [[model]]
        id = "@me/far"
        folder = "/srv/far"
        [[model]]
        id = "@me/same"
        weights_of = "@me/far"
        [[model]]
        id = "@me/other"
        weights_of = "{MISTRAL}"
    """)

    folders = [str(catalog.find(f"@me/{n}").folder) for n in ("near", "far", "same", "other")]
    models = str(tmp_path / "models")
    assert folders == [str(tmp_path / "near"), "/srv/far", "/srv/far", f"{models}/{MISTRAL}"]


def test_a_model_of_ours_can_be_described_anew(own):
    catalog = own(f'[[model]]\nid = "{MISTRAL}"\ntemplate = "llama2"\nsystem = "code_system"')

    assert catalog.find(MISTRAL).template == "llama2"
    assert catalog.find(MISTRAL).default_system.startswith("Write code")
    assert len([e for e in catalog.entries if e.model_id == MISTRAL]) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model = ", "cannot be read"),
        (b"\xff", "cannot be read"),
        ("model = 5", r"every model must begin with \[\[model\]\], got 5"),
        ("models = []", "there is no field 'models'"),
        ("[defaults]\nx = 1", "defaults must be a table of texts, got {'x': 1}"),
        ("[[model]]", "model 1, None: id is missing"),
        (MINE + "colour = 1", "model 1, '@me/mine': there is no field 'colour'"),
        (MINE + "template = 'jinja'", "template must be one of breeze, .*, got 'jinja'"),
        (MINE + "template = 5", "template must be a text, got 5"),
        (MINE + "system = 'none'", "system must be one of default_system, .*, got 'none'"),
        (MINE + "hub = 'https://x/y'", "hub must be OWNER/NAME, .*, got 'https://x/y'"),
        (MINE + "hub = '../x'", "hub must be OWNER/NAME, .*, got '../x'"),
        (MINE + "aliases = 'x'", "aliases must be an array of texts, got 'x'"),
        (MINE + "aliases = [1]", r"aliases must be an array of texts, got \[1\]"),
        (MINE + "context_window = 0", "context_window must be at least 1, got 0"),
        (MINE + "context_window = true", "context_window must be a whole number, got True"),
        (MINE + "context_window = 1.5", "context_window must be a whole number, got 1.5"),
        (MINE + "input_neurons = 1", "input_neurons and output_neurons are given together"),
        (MINE + "input_neurons = -1", "input_neurons must be at least 0 .*, got -1"),
        (MINE + f"input_neurons = {10**13}", "input_neurons must be .* at most 10+, got 10+"),
        (MINE + "input_neurons = 1.5", "input_neurons must be a whole number, got 1.5"),
        (MINE + "input_neurons = nan", "input_neurons must be a whole number, got nan"),
        (MINE + "input_neurons = 'x'", "input_neurons must be a whole number, got 'x'"),
        (MINE + "experimental = 1", "experimental must be true or false, got 1"),
        (MINE + "task = 'Summarization'", "task must be one of text-generation, got 'Summ"),
        (MINE + MINE, "model 2, '@me/mine': id stands twice in the file"),
        ("[[model]]\nid = '@me/../x'", "id must be like @me/name, .*, got '@me/../x'"),
        ("[[model]]\nid = '/etc'", "id must be like @me/name, .*, got '/etc'"),
        ("[[model]]\nid = 'mine'", "id must be like @me/name, .*, got 'mine'"),
        ("a = " + "[" * 5000, "cannot be read"),
    ],
)
def test_a_fault_is_named_with_file_field_and_value(own, tmp_path, text, sentence):
    with pytest.raises(ConfigError, match=sentence) as raised:
        own(text)

    assert str(raised.value).startswith(str(tmp_path / "catalog.toml"))
    assert "\n" not in str(raised.value)
