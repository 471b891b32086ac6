"""Whether a run is logged online: what is configured, what the server says, and what happens when it says nothing."""

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
import wandb

from gan import tracking
from gan.errors import InputError
from gan.system import wandb_server
from gan.system.wandb_server import choose_mode, require_name
from tests.stub import KEY


@pytest.fixture
def configured(offline, monkeypatch):
    """An account, and a server at a URL that a test gives."""

    def at(url: str, key: str = KEY) -> None:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", key)

    monkeypatch.setattr(wandb_server, "unreachable", {})
    return at


@contextmanager
def answering(status: int):
    """A server that gives every request the same answer; yields its URL and the requests that it got."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b'{"errors": [{"message": "user is not logged in"}]}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", requests
    server.shutdown()
    server.server_close()


def test_without_an_account_a_run_is_offline(offline):
    assert choose_mode(None) == "offline"
    with pytest.raises(InputError, match=r"WANDB_MODE=online: no API key is configured for .*run `wandb login`"):
        choose_mode("online")


def test_with_an_account_it_is_online(stub, tmp_path, monkeypatch):
    assert choose_mode(None) == choose_mode("online") == choose_mode("run") == "online"
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert choose_mode("online") == "online"  # of the command line
    wandb.teardown()
    monkeypatch.delenv("WANDB_MODE")
    assert tracking.wandb_logger(save_dir=str(tmp_path)).options["mode"] == "online"
    assert {"viewer"} <= {name.lower() for name in stub.dump()["operations"]}


@pytest.mark.parametrize("mode", ["offline", "disabled", "dryrun"])
def test_a_run_that_is_to_be_offline_asks_nobody(configured, mode):
    with answering(200) as (url, requests):
        configured(url)
        assert choose_mode(mode) in ("offline", "disabled")
    assert requests == []


@pytest.mark.parametrize("mode", ["ofline", "Online", "on"])
def test_a_mistyped_mode_is_named_with_those_that_there_are(offline, mode):
    with pytest.raises(InputError, match=f"^WANDB_MODE={mode}: must be one of online, offline, disabled$"):
        choose_mode(mode)


@pytest.mark.parametrize("key", ["abc", "c0ffee c0ffee c0ffee c0ffee c0ffee c0ffee", f" {KEY}", "x" * 39])
def test_a_malformed_key_is_refused_without_a_look_at_the_server(configured, key):
    with answering(200) as (url, requests):
        configured(url, key)
        with pytest.raises(InputError, match="key") as refused:
            choose_mode(None)
    assert requests == []
    assert key not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_key_that_the_server_refuses_ends_in_one_line(configured):
    with answering(401) as (url, _):
        configured(url)
        with pytest.raises(InputError, match=r"W&B refuses the API key: .*not logged in; run `wandb login") as refused:
            choose_mode(None)
    assert KEY not in str(refused.value)


def test_an_address_that_is_none_is_named(configured):
    configured("nonsense")
    with pytest.raises(InputError, match="WANDB_BASE_URL: "):
        choose_mode(None)


@pytest.mark.parametrize("why", ["closed", "silent", "broken", "unknown"])
@pytest.mark.parametrize("mode", [None, "online"])
def test_a_server_out_of_reach_is_asked_once_and_runs_are_offline(configured, monkeypatch, caplog, why, mode):
    monkeypatch.setattr(wandb_server, "WAIT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening, answering(503) as (broken, requests):
        port = listening.getsockname()[1]
        if why == "closed":
            listening.close()
        url = {"broken": broken, "unknown": "http://nowhere.invalid"}.get(why, f"http://127.0.0.1:{port}")
        configured(url)
        assert [choose_mode(mode) for _ in range(3)] == ["offline"] * 3
        assert len(requests) == (why == "broken")
    assert f"{url} can't be reached (" in caplog.text.replace(f"{url}/", url)
    assert "logged offline, to be uploaded by `wandb sync`" in caplog.text


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("project", "a/b", "cannot contain characters"),
        ("project", "x" * 129, "129 characters"),
        ("group", "g" * 130, "130 characters"),
        ("name", "ü" * 129, "129 characters"),
        ("id", "a/b", "cannot contain the characters"),
        ("id", " a", "whitespace"),
        ("tags", ["fine", "t" * 65], "65 characters"),
        ("tags", [""], "empty"),
    ],
)
def test_a_name_that_is_not_taken_is_refused_with_its_key(key, value, words):
    with pytest.raises(InputError, match="^logger." + key) as refused:
        require_name(key, value)
    assert words in str(refused.value)


@pytest.mark.parametrize("value", ["R1, day 2", "ablation/lr", "größer", "g" * 128, None])
def test_other_names_of_groups_are_taken(value):
    require_name("group", value)


def test_a_project_without_scores_is_named(monkeypatch):
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(runs=lambda project, filters: []))
    with pytest.raises(InputError, match="--project nowhere: none of its 0 runs has ended with scores"):
        wandb_server.load_scored_runs("nowhere")


def test_who_is_best_does_not_matter_where_the_server_does_not_tell(monkeypatch, caplog):
    run = SimpleNamespace(entity="e", project="p", group="g", id="a")
    for error in (wandb.Error("gone"), ConnectionError("gone"), RuntimeError("gone")):
        monkeypatch.setattr("wandb.Api", lambda timeout, error=error: (_ for _ in ()).throw(error))
        assert wandb_server.is_best_of_group(run, "fid_best", 1.0, None) is False
    assert caplog.text.count("gone") == 3


def test_a_run_that_diverged_is_not_the_best_of_its_group(monkeypatch):
    run = SimpleNamespace(entity="e", project="p", group="g", id="a")
    monkeypatch.setattr("wandb.Api", lambda timeout: SimpleNamespace(runs=lambda project, filters: []))
    assert wandb_server.is_best_of_group(run, "fid_best", 1.0, None)
    assert not wandb_server.is_best_of_group(run, "fid_best", float("inf"), None)


@pytest.mark.parametrize(("sweep", "filters"), [(None, {}), ("s", {"sweep": "s"})])
def test_runs_of_a_project_or_of_a_sweep_come_with_all_that_a_table_shows(monkeypatch, sweep, filters):
    summary = {"fid": "Infinity", "protocol": {"n": 1}, "floor": {"fid": 2}, "n_floor": 3, "at_n_floor": {"fid": 4}}
    run = SimpleNamespace(name="r", config={}, summary=summary)
    asked = []

    def runs(project, filters):
        asked.append((project, filters))
        return [run, SimpleNamespace(name="running", config={}, summary={})]

    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(runs=runs))
    ((name, _, found),) = wandb_server.load_scored_runs("p", sweep)
    assert asked == [("p", filters)]
    assert name == "r"
    assert found["scores"]["fid"] == float("inf")
    assert {part: found[part] for part in found if part != "scores"} == {
        **{part: summary[part] for part in ("protocol", "floor", "n_floor", "at_n_floor")},
        "best": {},
    }


def test_an_entity_is_the_accounts_own_unless_one_is_given(monkeypatch):
    monkeypatch.setattr("wandb.Api", lambda: SimpleNamespace(default_entity="me"))
    assert (wandb_server.add_entity("p"), wandb_server.add_entity("team/p")) == ("me/p", "team/p")
