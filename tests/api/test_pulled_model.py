"""A model that is pulled while the server runs is served at once, without a restart."""

from tests.hub.fake_hub import REPO, FakeHub, running

from sirocco.engine.loading import check_loadable
from sirocco.hub.listing import Hub
from sirocco.hub.pull import Checks, pull
from sirocco.model.config import ModelConfig

BODY = {"prompt": "the cat", "temperature": 0, "max_tokens": 4}


def test_pulled_while_the_server_runs_and_served(server, checkpoint, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    folder = server.app.state.settings.models_folder / REPO
    assert server.run(BODY, REPO).json()["errors"][0]["code"] == 5007
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    with running(FakeHub(files)) as hub:
        hub.cuts = [1000]

        pull(Hub.resolve(hub.url), REPO, folder, Checks(ModelConfig.from_folder, check_loadable),
             pause_s=0.01)  # fmt: skip

    answer = server.run(BODY, REPO)
    assert answer.status_code == 200
    assert answer.json()["result"] == server.run(BODY).json()["result"]
