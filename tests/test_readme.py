"""The commands of README and its pages, run as they stand but for their budget and their placeholders."""

import os
import re
import shlex
import shutil
import sys

import pytest
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

import train
from scripts import evaluate
from tests.helpers import FEW_FAKES, NARROW, ROOT, run_command
from tests.processes import run_forked

FOLDERS = [path for path in ROOT.glob("[a-z]*/**/README.md") if path.parent.name != "results"]  # tests/test_results.py
FILES = [ROOT / "README.md", *FOLDERS, *ROOT.glob("docs/*.md")]
TRAINING, SWEEPS, CLUSTER = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("train", "sweep", "cluster"))
PAGES = "\n".join(path.read_text() for path in FILES)
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGES, re.S) for line in block.splitlines()]
TRAIN = [line for line in COMMANDS if line.startswith("python train.py")]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run scored by 200 samples; in W&B's project gan-sweeps too, where a server is."""
    run = tmp_path_factory.mktemp("scored") / "run"
    small = ["trainer=cpu", "trainer.max_steps=2", "trainer.val_check_interval=2", *FEW_FAKES, *NARROW["dcgan"]]
    done = run_command("model=dcgan", *small, f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stderr
    return run


def test_every_command_is_of_a_kind_that_a_test_or_ci_runs():
    scripts = {path.name for path in (ROOT / "scripts").glob("*.py")}
    assert set(re.findall(r"scripts/(\w+\.py)", PAGES)) <= scripts
    known = (
        "python train.py",
        "PYTHONPATH=mine python train.py",
        "python scripts/generate.py",
        "python scripts/evaluate.py",
        "python scripts/compare.py",
        "python scripts/report.py",
        "python scripts/look.py",
        "make train",
        "make test",
        "make test-all",
        "wandb sync",
        "wandb login",  # this and the next four: tests/test_wandb_agent.py
        "wandb sweep",
        "wandb agent",
        "CUDA_VISIBLE_DEVICES=1 wandb agent",
        "python scripts/sweep_local.py",
        "optuna-dashboard",  # tests/test_search.py
    )
    assert all(line.startswith(known) for line in COMMANDS), COMMANDS
    assert len(TRAIN) >= 5


def test_the_table_of_options_names_them_all():
    for path in (ROOT / "conf").glob("*/*.yaml"):
        if path.parent.name == "experiment":
            assert f"`{path.stem}`" in PAGES, path
        elif path.parent.name != "callbacks":
            assert re.search(rf"^\| `{path.parent.name}` \|.*`{path.stem}`", TRAINING, re.M), path


def test_every_sweep_is_in_the_table_with_its_question():
    for path in (ROOT / "sweeps").glob("*.yaml"):
        assert f"| `{path.stem}` | " in SWEEPS, path


SINGLE = [line for line in TRAIN if " -m " not in line and "hparams_search=" not in line]


@pytest.mark.parametrize("line", [line for line in SINGLE if "resume=" not in line])
def test_train_commands(configure, tmp_path, my_images, line):
    overrides = shlex.split(line, comments=True)[2:]
    if {"data=fashion_mnist", "experiment=mnist_fast"} & set(overrides) and "DATA_DIR" not in os.environ:
        pytest.skip("needs the image sets under DATA_DIR")
    overrides = [override.replace("data.root=my_images", f"data.root={my_images}") for override in overrides]
    replaced = "metrics=", "trainer.max_steps=", "budget."
    kept = [override for override in overrides if not override.startswith(replaced)]
    train.train(configure(*kept, "metrics=none", "trainer.max_steps=4"))
    assert (tmp_path / "run" / "generator.safetensors").is_file()


@pytest.mark.slow
def test_the_command_to_go_on(scored, tmp_path):
    run = shutil.copytree(scored, tmp_path / "run")
    (line,) = (line for line in SINGLE if "resume=" in line)
    words = shlex.split(line.replace("outputs/mnist_5k-dcgan-bce/DATE", str(run)).replace("=10000", "=4"))
    done = run_forked(*words[2:])
    assert done.returncode == 0, done.stderr
    assert f"resuming {run}/checkpoints/last.ckpt at step 2 with trainer.max_steps=4 (was 2)" in done.stdout


@pytest.fixture(scope="module")
def my_images(tmp_path_factory):
    """400 pictures in two classes."""
    root = tmp_path_factory.mktemp("my_images")
    for i in range(400):
        (root / str(i % 2)).mkdir(exist_ok=True)
        Image.new("RGB", (70, 80), (i % 256, 255 - i % 256, 100 * (i % 2))).save(root / str(i % 2) / f"{i}.png")
    return root


@pytest.mark.slow
def test_the_multirun_command(tmp_path):
    (line,) = (line for line in TRAIN if " -m " in line and "my_images" not in line)
    small = ["trainer=cpu", "trainer.max_steps=1", "metrics=none", "logger=none", f"hydra.sweep.dir={tmp_path}"]
    done = run_forked(*shlex.split(line)[2:], *small)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*/generator.safetensors"))) == 12


@pytest.mark.slow
@pytest.mark.parametrize("line", sorted({line for line in TRAIN if "experiment=my_images" in line and " -m " in line}))
def test_commands_for_ones_own_images(tmp_path, my_images, line):
    """One seed, two steps and the cheapest features; the test of the recipe itself is in test_my_images.py."""
    words = [
        word.replace("data.root=my_images", f"data.root={my_images}") for word in shlex.split(line, comments=True)[2:]
    ]
    small = ["trainer.max_steps=2", "seed=0", "metrics.n_fakes=20", "objective=fid_20", "logger=none"]
    small += [
        "model.generator.z_dim=4",
        "loss=bce",
        *(["model=dcgan"] if "r3gan" not in line else ["model=dcgan,r3gan"]),
    ]
    done = run_forked(*words, *small, f"hydra.sweep.dir={tmp_path}", env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*/metrics.json"))) == (2 if "r3gan" in line else 1)


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in COMMANDS if "look.py" in line])
def test_look_commands(tmp_path, my_images, line):
    words = [str(my_images) if word == "my_images" else word for word in shlex.split(line, comments=True)[2:]]
    done = run_forked(*words, script="scripts/look.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / (words[-1] if "--out" in words else "look.png")).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in TRAIN if "hparams_search=" in line])
def test_search_commands(tmp_path, line):
    small = ["trainer.max_steps=2", "logger=none", "hydra.sweeper.n_trials=2", *FEW_FAKES, *NARROW["dcgan"]]
    small += ["hydra.sweeper.confirm=1", "hydra.sweeper.confirm_seeds=2"]
    words = shlex.split(line, comments=True)[2:]
    done = run_forked(*words, *small, f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "best: trial" in done.stdout
    assert "on 2 fresh seeds" in done.stdout
    assert len(list(tmp_path.glob("*/metrics.json"))) == 2
    assert len(list(tmp_path.glob("confirm/*/metrics.json"))) == 2


@pytest.mark.parametrize("line", re.findall(r"\| `(python train\.py .*?)` \|", CLUSTER))
def test_commands_from_one_machine_to_a_cluster_are_what_a_launcher_takes(configure, line):
    """They are started for real, small, by tests/test_local.py, test_search.py and test_slurm.py."""
    words = []
    for override in OverridesParser.create().parse_overrides([word for word in shlex.split(line)[2:] if word != "-m"]):
        values = list(override.sweep_string_iterator()) if override.is_sweep_override() else []
        words.append(f"{override.key_or_group}={values[0]}" if values else override.input_line)
    cfg = compose("train", words, return_hydra_config=True)
    hydra = OmegaConf.to_container(OmegaConf.masked_copy(cfg, "hydra"), resolve=False)["hydra"]
    chosen = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    launchers = {"local": "gan.launch.local.MachineLauncher", "slurm": "gan.launch.slurm.ClusterLauncher"}
    target = launchers.get(chosen.get("hydra/launcher", "").removesuffix("_ddp"))
    assert hydra["launcher"]["_target_"].endswith(target or "BasicLauncher")
    assert ("StudySweeper" in hydra["sweeper"]["_target_"]) == ("hparams_search" in chosen)


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in COMMANDS if "generate.py" in line])
def test_generate_commands(scored, tmp_path, line):
    words = [word.replace("outputs/mnist_5k-dcgan-bce/DATE", str(scored)) for word in shlex.split(line)[2:]]
    done = run_forked(*words, script="scripts/generate.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / words[words.index("--out") + 1]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in COMMANDS if "evaluate.py" in line])
def test_evaluate_commands(scored, monkeypatch, line):
    """With few samples, and features that need no download."""
    monkeypatch.setattr(evaluate, "CAS_IMAGES", 1000)
    words = [word.replace("outputs/mnist_5k-dcgan-bce/DATE", str(scored)) for word in shlex.split(line, comments=True)]
    words = ["classifier" if word == "inception" else "200" if word.endswith("000") else word for word in words]
    monkeypatch.setattr(sys, "argv", words[1:])
    evaluate.main()
    assert list((scored / "evaluations").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("line", sorted({line.split("  ")[0] for line in COMMANDS if "report.py --local" in line}))
def test_the_report_commands(scored, line):
    words = [str(scored) if word in ("outputs", "multirun/my_images") else word for word in shlex.split(line)]
    done = run_forked(*words[2:], script="scripts/report.py")
    assert done.returncode == 0, done.stderr
    assert (scored / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in COMMANDS if "compare.py" in line])
def test_compare_commands(scored, tmp_path, line):
    words = shlex.split(line, comments=True)[2:]
    if "--project" in words and "WANDB_BASE_URL" not in os.environ:
        pytest.skip("needs a W&B server at WANDB_BASE_URL")
    words = [word.removeprefix("ENTITY/") for word in words]
    runs = shutil.copytree(scored, tmp_path / "run", ignore=shutil.ignore_patterns("evaluations"))  # one protocol
    folders = ("outputs", "multirun/DATE", "multirun/OLD", "multirun/NEW")
    words = [str(runs) if word in folders else word for word in words]
    done = run_forked(*words, script="scripts/compare.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--out" not in words or (tmp_path / words[words.index("--out") + 1]).is_file()


@pytest.mark.slow
def test_the_loss_that_the_readme_adds_works_as_written(tmp_path):
    """Its class, its yaml and its command, copied from the page."""
    for name in ("my_losses.py", "conf/loss/pearson.yaml"):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.search(rf"```\w+\n# mine/{name}\n(.*?)```", PAGES, re.S)[1])
    (line,) = (line for line in COMMANDS if line.startswith("PYTHONPATH=mine"))
    words = shlex.split(line.replace("file://mine", f"file://{tmp_path}/mine"))
    small = ["trainer=cpu", "trainer.max_steps=2", "metrics=none", "logger=none", f"hydra.run.dir={tmp_path}/run"]
    done = run_command(*words[3:], *small, *NARROW["dcgan"], env={"PYTHONPATH": str(tmp_path / "mine")})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "generator.safetensors").is_file()
