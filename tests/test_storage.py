"""Where studies lie: no trial is taken twice, and one whose process has died is tried again."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Timer
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

from gan.errors import InputError
from gan.search import heartbeat, storage
from gan.search.workers import Workers

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
POSTGRESQL = os.environ.get("DATABASE_URL", "").startswith("postgresql")


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def place(request, tmp_path):
    if request.param == "postgresql" and not POSTGRESQL:
        pytest.skip("needs a PostgreSQL server at DATABASE_URL")
    places = {"sqlite": f"sqlite:///{tmp_path}/study.db", "journal": str(tmp_path / "study.log")}
    return places.get(request.param) or os.environ["DATABASE_URL"]


@pytest.fixture
def study(place, request):
    return optuna.create_study(study_name=request.node.name + os.urandom(4).hex(), storage=storage.open_storage(place))


@pytest.fixture
def clock(monkeypatch):
    """The time that heartbeats see."""
    now = SimpleNamespace(monotonic=0.0, time=1e9)
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=lambda: now.monotonic, time=lambda: now.time))
    return now


@pytest.fixture
def workers(place, study):
    """Workers on the study that use their own connection to it, as those of another command."""
    own = storage.open_storage(place)
    study = optuna.load_study(study_name=study.study_name, storage=own)
    heartbeats = heartbeat.Heartbeats(study, own, interval_s=10)
    unused = {"launcher": None, "space": None, "folder": None, "n_trials": 1, "max_failures": 1}
    return Workers(study, heartbeats=heartbeats, max_retries=2, **unused)


def test_no_two_workers_take_the_same_trial(place, study):
    """With Optuna's own storage on sqlite about 20 of these 60 are taken twice."""
    for x in range(60):
        study.enqueue_trial({"x": x})

    def ten(_):
        mine = optuna.load_study(study_name=study.study_name, storage=storage.open_storage(place))
        return [mine.ask().number for _ in range(10)]

    with ThreadPoolExecutor(6) as pool:
        taken = [number for numbers in pool.map(ten, range(6)) for number in numbers]
    assert sorted(taken) == list(range(60))


@pytest.mark.timeout(120)
def test_ctrl_c_leaves_no_study_locked(place, monkeypatch, tmp_path):
    """Wherever in the work it comes, the trial that it ends can be recorded, and others go on at once."""
    monkeypatch.setattr(storage, "LOCK_TIMEOUT_S", 0.2)
    name = "ctrl-c" + os.urandom(4).hex()
    study = optuna.create_study(study_name=name, storage=storage.open_storage(place))

    def ask_until_interrupted(delay):
        Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
        while True:
            trial = study.ask()
            try:
                trial.set_user_attr("beat", 1)
                study.get_trials(deepcopy=False)
            except KeyboardInterrupt:
                assert study.tell(trial, state=TrialState.FAIL).state == TrialState.FAIL
                raise

    for i in range(30):
        with pytest.raises(KeyboardInterrupt):
            ask_until_interrupted(delay=0.001 * i)
        other = optuna.load_study(study_name=name, storage=storage.open_storage(place)).ask()
        assert other.number == study.ask().number - 1
        assert not list(tmp_path.glob("*.lock"))


def test_ctrl_c_does_not_come_in_the_middle_of_a_database_driver(monkeypatch, tmp_path):
    """A driver may take its exception for a connection that was cut, and go on."""
    database = storage.open_storage(f"sqlite:///{tmp_path}/study.db")
    study = optuna.create_study(storage=database)
    whole = []

    def ping(_):
        signal.raise_signal(signal.SIGINT)
        whole.append(True)
        return True

    monkeypatch.setattr(database.engine.dialect, "do_ping", ping)
    with pytest.raises(KeyboardInterrupt):
        study.ask()
    assert whole == [True]


@pytest.mark.timeout(30)
def test_ctrl_c_ends_the_wait_for_a_database_out_of_reach(tmp_path):
    (tmp_path / "here").mkdir()
    database = storage.open_storage(f"sqlite:///{tmp_path}/here/study.db")
    study = optuna.create_study(storage=database)
    database.patience_s = 60
    database.engine.dispose()
    (tmp_path / "here").rename(tmp_path / "away")
    Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        study.ask()


def test_a_trial_without_signs_of_life_is_tried_again(study, workers, clock):
    """Also one that died before its first sign; what it has reported is kept, and it is tried once."""
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.report(3.0, step=10)
    for second in (0, 29):
        clock.monotonic = second
        workers.retry_dead_trials()
        assert [one.state for one in study.trials] == [TrialState.RUNNING]
    for second in (31, 32, 100):
        clock.monotonic = second
        workers.retry_dead_trials()
        assert [one.state for one in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    again = study.trials[1]
    assert (again.params, again.intermediate_values) == (trial.params, {10: 3.0})
    assert again.system_attrs["retry_history"] == [0]


def test_a_trial_that_gives_signs_of_life_is_left_alone_whatever_the_time_on_its_machine(study, workers, clock):
    trial = study.ask()
    for second in range(0, 100, 20):
        clock.monotonic, clock.time = second, 1e9 - 1000 * second
        workers.heartbeats.send_once(trial)
        workers.retry_dead_trials()
    assert [one.state for one in study.trials] == [TrialState.RUNNING]
    study.tell(trial, 1.0)
    workers.heartbeats.send_once(trial)  # one that comes late is no error


def test_a_database_that_is_away_is_waited_for(tmp_path):
    """Nobody could give signs of life meanwhile, so no trial is taken for dead after it."""
    (tmp_path / "here").mkdir()
    database = storage.open_storage(f"sqlite:///{tmp_path}/here/study.db")
    study = optuna.create_study(storage=database)
    study.ask()
    heartbeats = heartbeat.Heartbeats(study, database, interval_s=0.3)
    assert heartbeats.find_silent_trials() == []
    database.patience_s = 30
    database.engine.dispose()
    (tmp_path / "here").rename(tmp_path / "away")
    Timer(1.5, lambda: (tmp_path / "away").rename(tmp_path / "here")).start()
    assert heartbeats.find_silent_trials() == []
    heartbeats.seen = {0: (None, 0.0)}  # a trial that was silent since long before the outage
    assert heartbeats.find_silent_trials() == []
    database.reachable_since = 0.0
    assert [trial.number for trial in heartbeats.find_silent_trials()] == [0]
    database.patience_s = 0.5
    database.engine.dispose()
    (tmp_path / "here").rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"hydra.sweeper.storage=.*: out of reach for 0.5 s: "):
        study.ask()


def test_a_trial_that_another_worker_took_for_dead_is_not_overwritten(study, workers, caplog):
    trial = study.ask()
    workers.study.tell(trial.number, state=TrialState.FAIL)
    workers.tell(trial, TrialState.COMPLETE, [1.0])
    assert [one.state for one in study.trials] == [TrialState.FAIL]
    assert "trial 0 was taken for dead" in caplog.text


@pytest.mark.parametrize("place", ["study.log", "a/study.log", "sqlite:///study.db", "sqlite:///a/study.db"])
def test_a_relative_place_is_the_same_from_another_folder(place):
    scheme, _, path = place.rpartition("///")
    absolute = storage.resolve_storage(place, "/runs")
    assert absolute == (f"{scheme}////runs/{path}" if scheme else f"/runs/{path}")
    assert storage.resolve_storage(absolute, "/elsewhere") == absolute


def test_a_server_has_no_relative_place():
    assert storage.resolve_storage("postgresql://me@host/studies", "/runs") == "postgresql://me@host/studies"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("postgresql+psycopg://me:secret@host/db", "holds a password, .* PGPASSWORD"),
        ("/proc/nowhere/study.log", "hydra.sweeper.storage=/proc/nowhere/study.log: .*No such file"),
        ("nosuch://host/db", "hydra.sweeper.storage=nosuch://host/db: Can't load plugin"),
    ],
)
def test_a_storage_that_cannot_be_is_one_line(place, reason):
    with pytest.raises(InputError, match=reason) as caught:
        storage.open_storage(place)
    assert "secret" not in str(caught.value)
