"""A run that goes on: with its own settings, in its own folder, from its last state, or it says in a line why not."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import train
from gan.errors import InputError
from gan.run.cell import name_cell
from gan.run.command_line import complete_arguments
from gan.run.resume import compare_settings
from gan.system.code_version import describe_code
from gan.system.files import read_json, write_whole
from tests.helpers import NARROW
from tests.processes import run_forked

RUN = ["model=mlp", *NARROW["mlp"], "trainer.val_check_interval=4", "trainer.max_steps=8"]
FIRST = ["loss=hinge", "n_critic=2", "penalty=r1", "seed=3", "schedule=linear"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of 8 steps by a real command, evaluated at 4 and 8."""
    folder = tmp_path_factory.mktemp("finished") / "a run, of =8 [steps]"
    words = ["trainer=cpu", "trainer.precision=32-true", "logger=none", "metrics.n_fakes=200", "objective=fid_200"]
    done = run_forked(*words, *RUN, *FIRST, f"hydra.run.dir='{folder}'")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of that folder, a test's own."""
    return shutil.copytree(finished, tmp_path / "copied")


def config_of(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


def edit_config(folder, **values):
    (folder / "config.yaml").write_text(yaml.safe_dump(config_of(folder) | values))


def edit_evaluation(folder, **values):
    """Change what a folder's last checkpoint knows of its evaluations."""
    path = folder / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    state["callbacks"]["Evaluation"] |= values
    torch.save(state, path)


def steps_of(folder):
    return [json.loads(line)["step"] for line in (folder / "history.jsonl").read_text().splitlines()]


def test_a_run_resumed_by_its_folder_alone_keeps_its_settings(copied):
    done = run_forked(f"resume={copied}", "trainer.max_steps=12")
    assert done.returncode == 0, done.stderr
    assert "last.ckpt at step 8 with trainer.max_steps=12 (was 8)" in done.stdout
    config = config_of(copied)
    assert (config["choices"]["loss"], config["n_critic"], config["seed"]) == ("hinge", 2, 3)
    assert list(config["penalty"]) == ["r1"]
    assert config["changed_at_step"] == {"8": {"trainer.max_steps": 8}}
    assert {"loss=hinge", "trainer.max_steps=12"} <= set(config["overrides"])
    assert "trainer.max_steps=8" not in config["overrides"]
    assert steps_of(copied) == [4, 8, 12]
    assert json.loads((copied / "metrics.json").read_text())["scores"]["images_seen"] == 12 * 2 * 64


def test_a_run_records_each_version_of_the_code_that_trained_it(configure, copied):
    assert config_of(copied)["code"] == describe_code() != ""
    edit_config(copied, code="v1")
    words = ["ckpt_path=last", f"run_dir={copied}", *RUN, *FIRST]
    train.train(configure(*words, "trainer.max_steps=9"))
    assert config_of(copied)["code"] == f"v1, {describe_code()}"
    train.train(configure(*words, "trainer.max_steps=10"))
    assert config_of(copied)["code"] == f"v1, {describe_code()}"
    assert name_cell(config_of(copied)) == name_cell(config_of(copied) | {"code": "v2"})


def test_words_of_a_resumed_command(finished, tmp_path, monkeypatch):
    last, best = finished / "checkpoints" / "last.ckpt", finished / "checkpoints" / "best.ckpt"
    first = [word for word in config_of(finished)["overrides"] if not word.startswith("seed=")]
    place = ["ckpt_path=last", f"hydra.run.dir='{finished}'"]
    assert complete_arguments([f"resume={finished}"]) == [*first, "seed=3", *place]
    assert complete_arguments([f"ckpt_path='{last}'"]) == [*first, "seed=3", *place]
    branch = complete_arguments([f"ckpt_path={best}", "optimizer.lr=1e-5"])
    assert branch == [*first, "seed=3", f"ckpt_path={best}", "optimizer.lr=1e-5"]
    assert complete_arguments(["loss=bce", "ckpt_path=last"]) == ["loss=bce", "ckpt_path=last"]
    changed = complete_arguments([f"resume={finished}", "loss=bce", "seed=4"])
    assert "loss=hinge" not in changed
    assert changed[-4:] == ["loss=bce", "seed=4", *place]
    monkeypatch.chdir(finished.parent)
    assert complete_arguments([f"resume={finished.name}"])[-1] == f"hydra.run.dir='{finished.name}'"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["resume={tmp}"], "resume={tmp}: not a run's folder: {tmp}/config.yaml is missing"),
        (["resume={run}", "ckpt_path=x.ckpt"], "can't be combined with ckpt_path=x.ckpt"),
        (["resume={run}", "hydra.run.dir=elsewhere"], "hydra.run.dir=elsewhere: a resumed run stays in"),
        (["-m", "resume={run}", "seed=0,1"], "can't be combined with --multirun"),
        (["hparams_search=random", "resume={run}"], "can't be combined with --multirun"),
    ],
)
def test_a_resume_that_cannot_be_is_refused(finished, tmp_path, words, line):
    with pytest.raises(InputError) as caught:
        complete_arguments([word.format(tmp=tmp_path, run=finished) for word in words])
    assert line.format(tmp=tmp_path) in str(caught.value)


def test_a_run_of_a_search_is_resumed_alone_in_its_folder(copied):
    edit_config(copied, overrides=["hparams_search=random", "run_dir=elsewhere", "loss=hinge"])
    words = complete_arguments([f"resume={copied}"])
    assert words == ["loss=hinge", "seed=3", "ckpt_path=last", f"hydra.run.dir='{copied}'"]


@pytest.mark.parametrize("word", ["--multirun", "hydra/launcher=local", "hydra.sweep.dir=elsewhere"])
def test_recorded_words_that_set_nothing_of_a_run_are_refused(copied, word):
    edit_config(copied, overrides=["loss=hinge", word])
    with pytest.raises(InputError, match=rf"config.yaml: {word} is not a key of a run's config"):
        complete_arguments([f"resume={copied}"])


def test_a_run_without_a_checkpoint_is_not_resumed(copied):
    (copied / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(InputError, match=r"last.ckpt is missing; the run ended before its first checkpoint"):
        complete_arguments([f"resume={copied}"])


def test_another_model_is_refused(configure, copied):
    with pytest.raises(
        InputError, match=r"^model.generator._target_=gan.models.dcgan.Generator \(the run has .* and \d+ more"
    ):
        train.train(configure("model=dcgan", *RUN[-2:], "seed=3", f"ckpt_path={copied}/checkpoints/last.ckpt"))


def resume(configure, tmp_path, *overrides):
    return train.train(configure(*RUN, *FIRST, f"ckpt_path={tmp_path}/copied/checkpoints/last.ckpt", *overrides))


def test_learning_rates_betas_schedule_and_weights_change_when_told_to(configure, copied, tmp_path, capsys):
    words = ["optimizer.lr=1e-6", "optimizer.beta1=0.9", "schedule=constant", "penalty.r1.gamma=3", "ema_ramp_up=null"]
    resume(configure, tmp_path, *words, "trainer.max_steps=9", f"run_dir={copied}")
    state = torch.load(copied / "checkpoints" / "last.ckpt", weights_only=True)
    for optimizer in state["optimizer_states"]:
        assert optimizer["param_groups"][0]["lr"] == 1e-6
        assert optimizer["param_groups"][0]["betas"] == (0.9, 0.999)
    assert "optimizer.generator.lr=1e-06 (was 0.0002)" in capsys.readouterr().out.replace("\n", " ")
    config = config_of(copied)
    assert config["penalty"]["r1"]["gamma"] == 3
    before = config["changed_at_step"]["8"]
    assert before["optimizer.generator.lr"] == 2e-4
    assert before["penalty.r1.gamma"] == 10
    assert before["schedule._target_"] == "gan.schedules.linear"


def test_a_second_resume_adds_to_the_record_of_changes(configure, copied, tmp_path):
    words = f"run_dir={copied}", "trainer.max_steps=9"
    resume(configure, tmp_path, *words, "optimizer.lr=1e-6")
    resume(configure, tmp_path, f"run_dir={copied}", "trainer.max_steps=10", "optimizer.lr=1e-6")
    changes = config_of(copied)["changed_at_step"]
    assert list(changes) == ["8", "9"]
    assert changes["9"] == {"trainer.max_steps": 9}


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.generator.hidden=[16]", r"model.generator.hidden=\[16\] \(the run has model.generator.hidden=\[32\]\)"),
        ("loss=bce", "loss._target_=gan.losses.BCE"),
        ("n_critic=1", r"n_critic=1 \(the run has n_critic=2\): can't change when .*last.ckpt"),
        ("penalty=[r1,r2]", "penalty.r2._target_"),
        ("seed=4", r"seed=4 \(the run has seed=3\)"),
        ("augment=diffaugment", "augment"),
        ("data.batch_size=32", r"data.batch_size=32 \("),
        ("discriminator_norm=none", "discriminator_norm=none"),
        ("optimizer.generator._target_=torch.optim.SGD", r"optimizer.generator._target_=torch.optim.SGD \("),
        ("+optimizer.generator.weight_decay=0.1", r"optimizer.generator.weight_decay=0.1 \(the run has no optimizer"),
    ],
)
def test_what_cannot_change_on_the_way_is_refused_by_name(configure, copied, tmp_path, override, line):
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=line):
        resume(configure, tmp_path, override, f"run_dir={copied}")
    assert before == {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("word", "name"), [("objective=kid", "kid"), ("metrics.reference=train", "fid_200")])
def test_a_best_belongs_to_its_objective_and_protocol(configure, copied, tmp_path, word, name):
    edit_evaluation(copied, best=-1.0)
    resume(configure, tmp_path, "trainer.max_steps=9", f"run_dir={copied}", word)
    scores = json.loads((copied / "metrics.json").read_text())
    assert scores["scores"][f"{name}_best"] == scores["scores"][name]
    assert scores["best"]["step"] == 9


def test_the_seconds_before_a_resume_count(configure, copied, tmp_path):
    edit_evaluation(copied, seconds=1000.0)
    resume(configure, tmp_path, "trainer.max_steps=9", f"run_dir={copied}")
    assert 1000 < json.loads((copied / "metrics.json").read_text())["scores"]["seconds"] < 1100
    assert json.loads((copied / "history.jsonl").read_text().splitlines()[-1])["seconds"] > 1000


def test_other_images_are_refused(configure, copied, tmp_path):
    edit_config(copied, data_sha256="0" * 64)
    with pytest.raises(InputError, match=r"last.ckpt: was trained on other images; start a new run"):
        resume(configure, tmp_path, "trainer.max_steps=9", f"run_dir={copied}")


def test_where_a_run_and_its_data_lie_is_no_change():
    def at(place, n):
        parts = {"data": {"root": place, "cache_dir": place, "num_workers": n}, "trainer": {"default_root_dir": place}}
        return {"run_dir": place, "data_dir": place, "cache_dir": place, "ckpt_path": place, "seed": 0, **parts}

    assert compare_settings(at("here", 1), at("there", 2), "x.ckpt") == {}


def test_a_run_without_a_key_had_the_value_that_changes_nothing():
    assert compare_settings({"seed": 0}, {"seed": 0, "pack": 1, "data": {"fraction": 1.0}}, "x.ckpt") == {}
    with pytest.raises(InputError, match=r"^data.fraction=0.1 \(the run has data.fraction=1.0\): can't change"):
        compare_settings({"seed": 0}, {"seed": 0, "data": {"fraction": 0.1}}, "x.ckpt")


@pytest.mark.parametrize("old", [None, 1.0])
@pytest.mark.parametrize("name", ["gradient_clip_val", "weight_clip", "ema_half_life_steps", "ema_ramp_up"])
def test_numbers_that_may_change_on_the_way_are_recorded(name, old):
    assert compare_settings({name: old}, {name: 2.0}, "x.ckpt") == {name: (old, 2.0)}


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        (lambda path: path.write_bytes(b""), "not a checkpoint, or a damaged one"),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "or a damaged one"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "or a damaged one"),
        (lambda path: path.write_text("learning_rate: 1e-4\n"), "or a damaged one"),
        (lambda path: save_file({"w": torch.ones(2)}, path), "or a damaged one"),
        (lambda path: torch.save({"w": torch.ones(2)}, path), "it has no global_step and no state_dict"),
        (lambda path: torch.save([1], path), "not a checkpoint"),
        (lambda path: path.unlink() or path.mkdir(), "no such file"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(configure, copied, tmp_path, harm, line):
    harm(copied / "checkpoints" / "last.ckpt")
    with pytest.raises(InputError, match=line) as caught:
        resume(configure, tmp_path, "trainer.max_steps=9", f"run_dir={copied}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_checkpoint_of_other_layers_is_refused(configure, copied, tmp_path):
    path = copied / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    name = next(iter(state["state_dict"]))
    state["state_dict"][name] = torch.ones(7)
    torch.save(state, path)
    with pytest.raises(InputError, match=rf"has the weights of another model: {name} is \(7,\) there"):
        resume(configure, tmp_path, "trainer.max_steps=9", f"run_dir={copied}")


def test_a_checkpoint_away_from_its_run_is_refused(configure, copied, tmp_path):
    alone = tmp_path / "alone" / "some.ckpt"
    alone.parent.mkdir()
    shutil.copy2(copied / "checkpoints" / "last.ckpt", alone)
    with pytest.raises(InputError, match=r"the settings of its run are unknown"):
        train.train(configure(*RUN, *FIRST, f"ckpt_path={alone}"))


def test_a_folder_that_holds_a_run_takes_no_other(configure, copied):
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    line = r"run_dir=.*: already contains a run \(config.yaml, metrics.json.*\); .*resume="
    with pytest.raises(InputError, match=line):
        train.train(configure(*RUN, f"run_dir={copied}"))
    (copied / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(InputError, match="already contains a run"):  # finished, whatever its last.ckpt
        train.train(configure(*RUN, *FIRST, f"run_dir={copied}", "ckpt_path=last"))
    assert before == {path: path.read_bytes() for path in before if path.is_file()} | {
        copied / "checkpoints" / "last.ckpt": before[copied / "checkpoints" / "last.ckpt"]
    }


def test_a_run_that_died_before_its_first_checkpoint_starts_afresh(configure, copied):
    for name in ("metrics.json", "checkpoints/last.ckpt", "generator.safetensors"):
        (copied / name).unlink()
    with pytest.raises(InputError, match="can't change when"):
        train.train(configure(*RUN, f"run_dir={copied}", "ckpt_path=last"))
    train.train(configure(*RUN, *FIRST, f"run_dir={copied}", "ckpt_path=last", "trainer.val_check_interval=8"))
    assert steps_of(copied) == [8]
    assert [path.name for path in (copied / "samples").iterdir()] == ["step_000008.png"]


def test_last_is_the_last_state_and_best_the_best(configure, tmp_path, monkeypatch):
    """Killed after the evaluation at step 12, where the best was at step 4."""
    from gan.metrics.scorer import Scorer

    fids, compute = [4.0, 5.0, 3.0], Scorer.compute
    monkeypatch.setattr(Scorer, "compute", lambda self: compute(self) | {"fid_200": fids.pop()})
    with pytest.raises(IndexError):  # the fourth evaluation
        train.train(configure(*RUN, f"run_dir={tmp_path}/run", "trainer.max_steps=16"))
    steps = {
        name: torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)["global_step"]
        for name in ("last", "best")
    }
    assert steps == {"last": 12, "best": 4}


def test_a_checkpoint_between_evaluations_loses_no_more_than_its_interval(configure, tmp_path, monkeypatch):
    from gan.gan import GAN

    step = GAN.training_step

    def die(self, *arguments):
        if self.global_step == 7:
            raise RuntimeError("killed")
        return step(self, *arguments)

    words = [*RUN, "trainer.val_check_interval=6", "callbacks.last.every_n_steps=3", "trainer.max_steps=9"]
    with monkeypatch.context() as patch:
        patch.setattr(GAN, "training_step", die)
        with pytest.raises(RuntimeError, match="killed"):
            train.train(configure(*words))
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 6
    train.train(configure(*words, "ckpt_path=last"))
    train.train(configure(*words, f"run_dir={tmp_path}/alone"))
    resumed, alone = (load_file(tmp_path / name / "generator.safetensors") for name in ("run", "alone"))
    assert all(torch.equal(resumed[name], alone[name]) for name in alone)
    assert steps_of(tmp_path / "run") == steps_of(tmp_path / "alone") == [6, 9]


def test_a_run_killed_in_an_evaluation_takes_it_again(configure, tmp_path, monkeypatch):
    """A state saved just before it, at the same step, would skip it."""
    from gan.metrics.scorer import Scorer

    words = [*RUN, "trainer.val_check_interval=6", "callbacks.last.every_n_steps=3", "trainer.max_steps=9"]
    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "compute", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train.train(configure(*words))
    train.train(configure(*words, "ckpt_path=last"))
    assert steps_of(tmp_path / "run") == [6, 9]


def test_a_run_shorter_than_its_first_interval_leaves_a_best(configure, tmp_path):
    """Its only evaluation selected nothing, so that its scores are not biased, and are the best ones."""
    train.train(configure(*RUN, "trainer.val_check_interval=100"))
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    run = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert best["global_step"] == run["best"]["step"] == 8
    assert run["best"]["protocol"] == run["protocol"]
    assert run["best"]["scores"]["kid"] == run["scores"]["kid"]
    assert "fid_200_best" not in run["best"]["scores"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_whole(path, "ä first")
    with pytest.raises(TypeError):
        write_whole(path, None)
    assert path.read_text(encoding="utf-8") == "ä first"
    assert [found.name for found in path.parent.iterdir()] == ["file.txt"]
    assert path.stat().st_mode & 0o044 == 0o044


def test_a_file_that_cannot_be_written_is_named_and_leaves_no_part(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_whole(path, "first")

    def fill(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fill)
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(path, "second")
    assert caught.value.filename == str(path)
    assert [found.read_text() for found in tmp_path.iterdir()] == ["first"]


@pytest.mark.parametrize("content", ["", "{", "[1]", "3"])
def test_json_that_is_no_object_is_read_as_an_empty_one(tmp_path, content):
    path = tmp_path / "file.json"
    assert read_json(path) == {}
    path.write_text(content)
    assert read_json(path) == {}


def test_a_run_killed_after_its_last_save_scores_its_last_state_once(configure, copied, tmp_path):
    (copied / "metrics.json").unlink()
    resume(configure, tmp_path, f"run_dir={copied}")
    assert steps_of(copied) == [4, 8]
    assert (copied / "metrics.json").is_file()
