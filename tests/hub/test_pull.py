"""Pulling from a hub on this machine: whole or not at all, and nothing that is not asked for."""

import fcntl
import json
import os
import shutil
from collections import namedtuple

import pytest
from tests.hub.fake_hub import COMMIT, REPO, FakeHub, running

from sirocco.errors import CheckpointError, HubError
from sirocco.hub.listing import Hub
from sirocco.hub.pull import SOURCE_FILE, Checks, Source, Watcher, pull, source_of

WEIGHTS = bytes(range(256)) * 4000
CHECKPOINT = {
    "config.json": b'{"model_type": "mistral"}',
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "generation_config.json": b"{}",
    "model.safetensors": WEIGHTS,
}
FINE = Checks(config=lambda _folder: None, whole=lambda _folder: None)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub():
    with running(FakeHub(dict(CHECKPOINT))) as started:
        yield started


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models" / "@me" / "tiny"


@pytest.fixture
def pulled(hub, folder):
    def run(checks=FINE, repo=REPO, **options):
        return pull(Hub.resolve(hub.url), repo, folder, checks, pause_s=0.01, **options)

    return run


@pytest.fixture
def refused(pulled, folder):
    """Pull what cannot be pulled; give the one sentence, and see that nothing looks installed."""

    def run(**options):
        with pytest.raises(HubError) as raised:
            pulled(**options)
        assert not folder.exists()
        assert "\n" not in str(raised.value)
        return str(raised.value)

    return run


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def beside(folder):
    return folder.parent / f".{folder.name}.part"


def asked_for_weights(hub):
    return [wanted for path, wanted, _ in hub.requests if path.startswith("/storage/")]


# --- what comes ---


def test_a_checkpoint_comes_whole_and_says_where_it_is_from(pulled, folder):
    result = pulled()

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        **CHECKPOINT, SOURCE_FILE: (folder / SOURCE_FILE).read_bytes(),
    }  # fmt: skip
    assert source_of(folder) == result.source == Source(REPO, COMMIT)
    assert result.n_bytes == sum(map(len, CHECKPOINT.values()))
    assert names_in(folder.parent) == ["tiny"]


def test_nothing_comes_that_a_checkpoint_does_not_need(hub, pulled, folder):
    extra = {
        "README.md": b"x", "pytorch_model.bin": b"x", "model.gguf": b"x", "modeling_x.py": b"x",
        "onnx/model.safetensors": b"x", "consolidated.safetensors": b"x", "params.json": b"x",
        ".gitattributes": b"x", "training_args.bin": b"x", "other.safetensors": b"x",
    }  # fmt: skip
    hub.files.update(extra)

    pulled()

    assert names_in(folder) == sorted([*CHECKPOINT, SOURCE_FILE])
    assert not [path for path in hub.paths() if path.endswith(tuple(extra)) and "resolve" in path
                and path.rpartition("/")[2] not in CHECKPOINT]  # fmt: skip


def test_weights_in_parts_come_with_their_index(hub, pulled, folder):
    del hub.files["model.safetensors"]
    hub.files["model.safetensors.index.json"] = b"{}"
    parts = {f"model-0000{i}-of-00002.safetensors": WEIGHTS[i:] for i in (1, 2)}
    hub.files.update(parts)

    pulled()

    assert {name: (folder / name).read_bytes() for name in parts} == parts


def test_mistrals_own_layout_comes_without_the_other_ones_config(hub, pulled, folder):
    del hub.files["model.safetensors"]
    hub.files |= {"params.json": b"{}", "consolidated.safetensors": WEIGHTS}

    pulled()

    assert "config.json" not in names_in(folder)
    assert {"params.json", "consolidated.safetensors"} <= set(names_in(folder))


def test_a_revision_is_pinned_to_its_commit(hub, pulled):
    assert pulled(revision="v1").source.commit == COMMIT

    assert f"/api/models/{REPO}/revision/v1" in hub.paths()
    assert all(COMMIT in path for path in hub.paths() if "/resolve/" in path)


def test_the_small_files_come_first_and_are_looked_at_before_the_weights(hub, pulled, folder):
    def refuse(present):
        assert not asked_for_weights(hub)
        raise CheckpointError(f"{present}/config.json: model_type 'gpt2' is not supported")

    with pytest.raises(HubError, match=r"me/tiny cannot run .*: config\.json: model_type 'gpt2'"):
        pulled(Checks(config=refuse, whole=lambda _folder: None))

    assert names_in(folder.parent) == []
    assert not asked_for_weights(hub)


def test_what_came_whole_and_cannot_be_loaded_is_not_installed(pulled, folder, refused):
    def refuse(_folder):
        raise CheckpointError("missing tensor")

    text = refused(checks=Checks(config=lambda _folder: None, whole=refuse))

    assert "missing tensor" in text
    assert str(beside(folder)) in text


def test_who_watches_is_told_every_byte(pulled):
    begun: list[int] = []
    came: list[int] = []

    pulled(watcher=Watcher(lambda *counts: begun.extend(counts), came.append))

    assert begun == [sum(came), 0]


# --- interruptions ---


def test_a_connection_that_breaks_is_taken_up_where_it_broke(hub, pulled, folder):
    hub.cuts = [100_000, 50_000]

    pulled()

    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    firsts = [0 if r is None else int(r[6:-1]) for r in asked_for_weights(hub)]
    assert firsts == [0, 100_000, 150_000]


def test_a_pull_that_was_given_up_goes_on_later(hub, pulled, folder, refused):
    hub.cuts = [100_000, *[0] * 20]

    text = refused()
    assert "pull again to go on from byte 100000" in text
    assert names_in(folder.parent) == [".tiny.part"]
    hub.cuts.clear()
    hub.requests.clear()
    seen: list[int] = []
    pulled(watcher=Watcher(begun=lambda *counts: seen.extend(counts)))

    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert asked_for_weights(hub) == ["bytes=100000-"]
    assert not [path for path in hub.paths() if path.endswith("config.json")]
    total = sum(map(len, CHECKPOINT.values()))
    assert seen == [total, total - len(WEIGHTS) + 100_000]
    assert names_in(folder.parent) == ["tiny"]


def test_what_was_begun_of_another_commit_is_thrown_away(hub, pulled, folder):
    beside(folder).mkdir(parents=True)
    (beside(folder) / "model.safetensors.part").write_bytes(b"old" * 1000)
    (beside(folder) / "tokenizer.model").write_bytes(b"old")
    (beside(folder) / SOURCE_FILE).write_text(json.dumps({"repo": REPO, "commit": "f" * 40}))

    pulled()

    assert asked_for_weights(hub) == [None]
    assert "tokenizer.model" not in names_in(folder)


def test_a_hub_that_sends_whole_files_only_is_obeyed(hub, pulled, folder):
    hub.cuts, hub.ignores_range = [100_000], True
    seen: list[int] = []

    pulled(watcher=Watcher(advanced=seen.append))

    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sum(seen) == sum(map(len, CHECKPOINT.values()))


@pytest.mark.parametrize("status", [500, 503, 429, 416])
def test_a_hub_that_fails_for_a_moment_is_asked_again(hub, pulled, folder, status):
    hub.statuses = [status, status]

    pulled()

    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_two_pulls_of_a_model_do_not_mix(folder, refused):
    beside(folder).mkdir(parents=True)
    handle = os.open(beside(folder), os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)

    text = refused()

    os.close(handle)
    assert text == f"{beside(folder)} is being filled by another pull"


# --- what is not what it says ---


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_wrong_checksum_is_refused_and_the_file_thrown_away(hub, folder, refused, name):
    hub.sent[name] = hub.files[name][:-1] + b"?"

    assert f"{name} does not have the checksum that the hub lists" in refused()
    assert not [n for n in names_in(beside(folder)) if n.startswith(name)]


def test_more_bytes_than_listed_are_not_written(hub, folder, refused):
    hub.sent["model.safetensors"] = WEIGHTS * 2

    assert "more bytes than the hub listed" in refused()
    assert "model.safetensors.part" not in names_in(beside(folder))


def test_fewer_bytes_than_listed_are_not_enough(hub, refused):
    hub.sent["model.safetensors"] = WEIGHTS[:-1]

    assert "model.safetensors does not come" in refused()


@pytest.mark.parametrize(
    "name",
    ["../evil.json", "a/../../evil.json", "/etc/evil.json", "..", "a//b", "a\\..\\b", "C:evil",
     "new\nline.json", "./config.json", ""],
)  # fmt: skip
def test_a_name_that_leaves_the_folder_stops_the_pull(hub, folder, refused, name):
    hub.files[name] = b"x"

    assert "would leave its folder" in refused()
    assert not folder.parent.exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"lfs": {"sha256": "x", "size": len(WEIGHTS), "pointerSize": 1}}, "no checksum of model"),
        ({"lfs": None, "blobId": None}, "no checksum of model.safetensors"),
        ({"lfs": {"sha256": "0" * 64, "size": -1, "pointerSize": 1}}, "no size of 'model.safet"),
        ({"lfs": {"sha256": "0" * 64, "size": "1", "pointerSize": 1}}, "no size of 'model.safet"),
        ({"lfs": {"sha256": "0" * 64, "size": 10**18, "pointerSize": 1}}, "GB are needed"),
        ({"lfs": 5}, "gave no listing"),
    ],
)
def test_a_listing_that_makes_no_sense_is_refused(hub, refused, change, sentence):
    hub.listed["model.safetensors"] = change

    assert sentence in refused()


def test_a_tokenizer_of_terabytes_is_refused(hub, refused):
    hub.listed["tokenizer.json"] = {"size": 10**12}

    assert "tokenizer.json of me/tiny must have at most" in refused()


@pytest.mark.parametrize(
    "listing", [b"", b"<html>", b"[]", b"{}", b'{"id": "me/tiny", "sha": "../x", "siblings": []}']
)
def test_something_that_is_no_hub_is_told(hub, refused, listing):
    hub.listing = listing

    text = refused()
    assert "gave no listing" in text or "no commit" in text


# --- what is not there ---


def without(*names, **more):
    files = {name: content for name, content in CHECKPOINT.items() if name not in names}
    return {**files, **{name.replace("__", "."): b"x" for name in more}}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (without("model.safetensors") | {"pytorch_model.bin": b"x"},
         "has its weights only as pickle files (pytorch_model.bin), which can run code"),
        (without("model.safetensors") | {"a.Q4_0.gguf": b"x"}, "has its weights only as GGUF"),
        (without("model.safetensors"), "there are no weights to pull"),
        (without("config.json"), "not in a layout that can be read"),
        (without("tokenizer.json"), "has no tokenizer.json and no tokenizer.model"),
        (without("model.safetensors") | {"model-00001-of-00002.safetensors": b"x"},
         "not in a layout that can be read"),
        (without("model.safetensors") | {"model-00001-of-00002.safetensors": b"x",
                                         "model.safetensors.index.json": b"x"},
         "has 1 of the 2 parts of its weights"),
    ],
)  # fmt: skip
def test_a_repository_without_a_checkpoint_says_what_is_there(
    hub, folder, refused, files, sentence
):
    hub.files = files

    assert sentence in refused()
    assert not folder.parent.exists()


def test_a_repository_that_is_not_there(refused):
    assert "has no repository me/nothing" in refused(repo="me/nothing")


def test_a_revision_that_is_not_there(refused):
    assert refused(revision="v9") == "me/tiny has no revision 'v9'"


@pytest.mark.parametrize("repo", ["tiny", "../x", "a/b/c", "me/..", "me/a..b", "me/x?y", ""])
def test_a_repository_has_an_owner_and_a_name(hub, refused, repo):
    assert "OWNER/NAME" in refused(repo=repo)
    assert hub.requests == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://[::1"])
def test_a_hub_that_does_not_answer(folder, url):
    with pytest.raises(HubError, match="gave no listing"):
        pull(Hub.resolve(url), REPO, folder, FINE)


def test_an_address_must_be_of_the_web():
    with pytest.raises(HubError, match="must begin with http"):
        Hub.resolve("file:///etc")


# --- credentials ---


@pytest.mark.parametrize(("status", "code"), [(401, "GatedRepo"), (403, "GatedRepo"), (403, "")])
def test_a_gated_repository_says_how_to_get_in(hub, refused, status, code):
    hub.refuses = (status, code)

    text = refused()
    assert f"accept its terms at {hub.url}/me/tiny, and set HF_TOKEN" in text


def test_a_token_that_is_not_accepted_is_told(hub, refused, monkeypatch):
    hub.refuses = (403, "GatedRepo")
    monkeypatch.setenv("HF_TOKEN", "hf_bad")

    text = refused()
    assert "refused HF_TOKEN for me/tiny" in text
    assert "hf_bad" not in text


def test_a_token_opens_the_hub_and_is_not_told_to_the_storage(hub, pulled, monkeypatch):
    hub.refuses = (401, "GatedRepo")
    monkeypatch.setenv("HF_TOKEN", f" {hub.token}\n")

    pulled()

    for path, _, token in hub.requests:
        assert token == (None if path.startswith("/storage/") else f"Bearer {hub.token}")


def test_files_that_are_refused_although_the_listing_is_not(hub, refused):
    hub.statuses = [403]

    assert "gated or private" in refused()


def test_the_environment_names_the_hub(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    found = Hub.resolve()

    assert found.endpoint == "http://127.0.0.1:9"
    assert "hf_secret" not in repr(found)


# --- the place ---


def test_an_empty_folder_is_no_hindrance(pulled, folder):
    folder.mkdir(parents=True)

    pulled()

    assert "config.json" in names_in(folder)


def test_a_folder_with_something_else_is_left_alone(hub, pulled, folder):
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")

    with pytest.raises(HubError, match="is in the way"):
        pulled()

    assert names_in(folder) == ["notes.txt"]
    assert hub.requests == []


def test_a_disk_without_room_is_told_before_anything_comes(hub, refused, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 10, 1_000_000))

    assert "GB free, and 0.1 GB are needed" in refused()
    assert not asked_for_weights(hub)


def test_a_place_that_cannot_be_made_is_told(hub, tmp_path):
    (tmp_path / "file").write_text("x")

    with pytest.raises(HubError, match="cannot be made"):
        pull(Hub.resolve(hub.url), REPO, tmp_path / "file" / "x" / "y", FINE)
