"""What becomes of trials that fail: run again by the next command, never for ever, and never part of the total."""

from types import SimpleNamespace

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from gan.errors import InputError, ProcessDied
from gan.search import storage
from gan.search.heartbeat import Heartbeats
from gan.search.parameters import suggest
from gan.search.retries import copy_run_files
from gan.search.trials import FAILURE, SURPLUS, give_second_chances
from gan.search.workers import StudyEnded, Workers

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


class Launcher:
    """Ends each job as the next of `endings` says, by a value or an error."""

    def __init__(self, *endings: float | Exception) -> None:
        self.endings, self.launched = [*endings], []

    def launch(self, words, initial_job_idx):
        self.launched.append(words[0])
        ending = self.endings.pop(0)
        if isinstance(ending, Exception):
            raise ending
        return [SimpleNamespace(return_value=ending)]


@pytest.fixture
def command(tmp_path):
    """Run a command on a study of two trials, the first time a new one; return it, its launcher and how it ended."""

    def run(*endings: float | Exception, n_trials: int = 2, max_retries: int = 2, max_failures: int = 5):
        place = storage.open_storage(str(tmp_path / "study.log"))
        study = optuna.create_study(study_name="s", storage=place, load_if_exists=True)
        give_second_chances(study, {"x"})
        part, launcher = FloatDistribution(0, 1), Launcher(*endings)
        space = SimpleNamespace(parameters={"x": part}, draw_overrides=lambda trial: [f"x={suggest(trial, 'x', part)}"])
        heartbeats = Heartbeats(study, place, interval_s=10)
        limits = {"n_trials": n_trials, "max_retries": max_retries, "max_failures": max_failures}
        workers = Workers(study, launcher, heartbeats=heartbeats, space=space, folder=tmp_path, **limits)
        try:
            workers.work()
        except StudyEnded as end:
            return study, launcher, str(end)
        return study, launcher, ""

    return run


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def test_failed_trials_are_run_by_the_next_command_and_use_nothing_up(command):
    study, _, _ = command(ConnectionError("no server"), 1.0, n_trials=2)
    assert states(study) == ["FAIL", "COMPLETE"]
    again, _, _ = command(2.0)
    assert states(again) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert again.trials[2].params == again.trials[0].params
    assert FAILURE not in again.trials[2].user_attrs
    assert again.trials[0].user_attrs[FAILURE] == "failed: ConnectionError no server"
    assert command()[1].launched == []


def test_a_trial_has_one_second_chance_then_another_is_drawn(command):
    first = command(OSError("no disk"), 1.0)[0].trials[0].params
    second = command(OSError("no disk"))[0].trials[2].params
    third = command(1.0)[0].trials[3].params
    assert first == second != third


@pytest.mark.parametrize(("attributes", "parameters"), [({SURPLUS: True}, {"x"}), ({}, {"y"})])
def test_a_trial_that_never_ran_or_is_of_other_parameters_has_no_second_chance(attributes, parameters):
    study = optuna.create_study()
    trial = study.ask({"x": FloatDistribution(0, 1)})
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    study.tell(trial, state=TrialState.FAIL)
    give_second_chances(study, parameters)
    assert states(study) == ["FAIL"]


def test_a_trial_that_diverged_is_a_result(command):
    study, _, _ = command(float("inf"), 1.0)
    assert states(study) == ["FAIL", "COMPLETE"]
    assert command()[1].launched == []


def test_a_mistake_that_all_trials_share_ends_the_command(command):
    """The first trial's; the mended command draws new ones. One of the parameter's own value ends nothing."""
    study, launcher, end = command(InputError("data.root=nowhere: no such folder"), n_trials=9)
    assert (len(launcher.launched), end) == (1, "data.root=nowhere: no such folder")
    assert states(command(1.0, 1.0)[0]) == ["FAIL", "COMPLETE", "COMPLETE"]
    study, _, end = command(InputError("data.root=nowhere: no such folder"), 1.0, n_trials=4)
    assert (states(study)[-2:], end) == (["FAIL", "COMPLETE"], "")


def test_a_mistake_that_all_trials_share_ends_the_command_while_others_run(command, tmp_path):
    place = storage.open_storage(str(tmp_path / "study.log"))
    optuna.create_study(study_name="s", storage=place).ask()
    _, launcher, end = command(InputError("data.root=nowhere: no such folder"), n_trials=9)
    assert (len(launcher.launched), end) == (1, "data.root=nowhere: no such folder")


def test_a_refused_value_of_a_parameter_is_no_shared_mistake(command):
    study, _, end = command(InputError("x=0.3: must not be"), 1.0)
    assert (states(study), end) == (["FAIL", "COMPLETE"], "")


def test_failures_in_a_row_end_the_command(command):
    study, _, end = command(*[OSError("no disk")] * 3, n_trials=9, max_failures=3)
    assert states(study) == ["FAIL"] * 3
    assert end.startswith("3 trials in a row have failed (hydra.sweeper.max_failures), the last one: OSError no disk;")


def test_failures_with_a_result_between_them_are_not_in_a_row(command):
    error = OSError("no disk")
    study, _, end = command(error, error, 1.0, error, error, 1.0, n_trials=6, max_failures=3)
    assert (states(study), end) == (["FAIL", "FAIL", "COMPLETE"] * 2, "")


def test_a_command_whose_trials_all_fail_ends(command):
    assert len(command(*[OSError("no disk")] * 2)[1].launched) == 2


def test_a_trial_whose_process_dies_is_tried_again_up_to_max_retries(command, tmp_path):
    (tmp_path / "0-cell" / "checkpoints").mkdir(parents=True)
    names = ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "history.jsonl")
    for name in names:
        (tmp_path / "0-cell" / name).write_text(name)
    died = ProcessDied("process 7 died")
    study, launcher, _ = command(died, 5.0, n_trials=1, max_retries=1)
    assert states(study) == ["FAIL", "COMPLETE"]
    assert launcher.launched[0] == launcher.launched[1]
    assert [(tmp_path / "1-cell" / name).read_text() for name in names] == list(names)
    study, launcher, _ = command(died, died, n_trials=2, max_retries=1)
    assert len(launcher.launched) == 2
    assert [trial.state for trial in study.trials][2:] == [TrialState.FAIL] * 2
    assert study.trials[3].user_attrs[FAILURE] == "failed: ProcessDied process 7 died"


def test_two_commands_that_queue_the_same_trial_run_it_once(command):
    study, _, _ = command(OSError("no disk"), 1.0)
    give_second_chances(study, {"x"})
    study.add_trial(study.get_trials()[2])  # as another command does at the same moment
    again, launcher, _ = command(2.0, 3.0, n_trials=3)
    assert [trial.state.name for trial in again.trials] == ["FAIL", "COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert len({tuple(words) for words in launcher.launched}) == 2


def test_a_next_try_takes_over_the_files_of_its_own_trial_only(tmp_path):
    for run in ("1-cell", "10-other", "11-cell"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "history.jsonl").write_text(run)
    copy_run_files(tmp_path, 1, 20)
    assert [path.parent.name for path in tmp_path.glob("20-*/*")] == ["20-cell"]
    assert (tmp_path / "20-cell" / "history.jsonl").read_text() == "1-cell"
