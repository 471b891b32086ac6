"""Nothing that someone sent runs: a planted file writes a marker when it is unpickled or imported, and none appears."""

import json
import os
import pickle
import shutil

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import train
from gan.errors import InputError
from gan.launch.wandb_agent import translate_parameters
from gan.metrics.extractors import inception
from gan.run import allowlist
from gan.run.config import prepare_config
from gan.run.generator import load_generator
from gan.run.untrusted import MOVED, load_plain
from scripts.evaluate import load_config
from tests.helpers import FEW_FAKES, NARROW, ROOT
from tests.processes import run_forked

HOLES = (  # reached by a library, by an allowed module's imports, or by what allowed classes inherit
    "torch.load",
    "torch.hub.load",
    "torch.hub.load_state_dict_from_url",
    "torch.ops.load_library",
    "torch.jit.load",
    "torch.package.PackageImporter",
    "torch.utils.data.DataLoader",
    "torch.optim.lr_scheduler.LambdaLR",
    "torch.optim.adam.torch.load",
    "torchvision.datasets.LSUN",
    "torchvision.datasets.folder.pil_loader",
    "torchvision.datasets.DatasetFolder",
    "pytorch_lightning.LightningModule.load_from_checkpoint",
    "pytorch_lightning.Trainer.__init__",
    "pytorch_lightning.callbacks.LambdaCallback",
    "pytorch_lightning.utilities.migration.utils.migrate_checkpoint",
    "pytorch_lightning.core.saving.load_hparams_from_yaml",
    "lightning_fabric.utilities.cloud_io._load",
    "optuna.storages.RDBStorage",
    "hydra.utils.get_method",
    "hydra.utils.instantiate",
    "hydra.utils.call",
    "functools.partial",
    "builtins.eval",
    "os.system",
    "subprocess.run",
    "gan.penalties.torch.load",
    "gan.augment.torch.hub.load",
    "gan.models.dcgan.torch.ops.load_library",
    "gan.models.dcgan.Generator.apply",
    "gan.models.dcgan.Generator.__init__.__globals__.get",
    "gan.data.datasets.os.system",
    "gan.data.folder.ImageData",
    "gan.metrics.extractors.inception.torch.load",
    "gan.run.generator.load_checkpoint",
    "gan.launch.jobs.exit_now",
    "gan.launch.local.os.system",
    "gan.launch.forecast.subprocess.run",
    "gan.tracking.wandb.init",
    "gan.launch.slurm.ClusterLauncher",
    "gan.run.untrusted.load_plain",
    ["torch.load"],
    7,
)


class Payload:
    """Writes a file where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path):
    """A path that must stay empty, and beside it a pickle and a hub folder whose payloads write there."""
    path = tmp_path / "marker"
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Payload(path)))
    torch.save({"state_dict": {}, "global_step": 3, "x": Payload(path)}, tmp_path / "evil.ckpt")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "hubconf.py").write_text(f"import os\nos.mkdir({str(path)!r})\ndef make(**_): return None\n")
    yield path
    assert not path.exists()


@pytest.fixture
def calls(marker, tmp_path):
    """Calls that would write the marker, as a config names them."""
    hub = {"repo_or_dir": str(tmp_path / "hub"), "model": "make", "source": "local"}
    url = {"url": f"file://{tmp_path}/evil.pt", "model_dir": str(tmp_path), "weights_only": False}
    return [
        {"_target_": "torch.load", "f": str(tmp_path / "evil.pt"), "weights_only": False},
        {"_target_": "torch.hub.load", **hub},
        {"_target_": "torch.hub.load_state_dict_from_url", **url},
        {"_target_": "gan.models.dcgan.torch.hub.load", **hub},
        {"_target_": "os.mkdir", "path": str(marker)},
    ]


@pytest.fixture
def finished(configure, tmp_path):
    train.train(configure("trainer.max_steps=2", *NARROW["dcgan"]))
    return tmp_path / "run"


def test_the_payload_would_write_the_marker(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("target", HOLES, ids=str)
def test_what_a_part_of_a_run_may_not_name(target):
    with pytest.raises(InputError, match=r"^a\.0\.b\._target_=.*: this import path is not"):
        allowlist.require_trusted({"a": [{"b": {"_target_": target}}]})


def test_all_that_is_listed_exists_and_hydra_agrees(configure):
    """Hydra's own check sees more than ours, as what is bound to an object, and may not see less."""
    for name in allowlist.PARTS:
        if not name.endswith(".*"):
            assert callable(allowlist.pkgutil.resolve_name(name)), name
    for hole in HOLES:
        if isinstance(hole, str):
            with pytest.raises(Exception, match=r"whitelist|Reference|Error locating"):
                trusted_build(hole)


def trusted_build(target):
    from hydra.utils import execution_whitelist, instantiate

    with execution_whitelist(allowlist.PARTS, reset=True):
        return instantiate({"_target_": target})


def test_only_folders_of_the_callers_own_give_modules(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("import os\ndef loss(): ...\n")
    for name in ("yaml.py", "os.py", "torch.py"):  # by which a library on PYTHONPATH would be opened
        (tmp_path / name).touch()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "helper.py").touch()
    (tmp_path / "site" / "helper-1.0.dist-info").mkdir()
    path = os.pathsep.join(map(str, ["", tmp_path, tmp_path / "site", ROOT, tmp_path / "nowhere"]))
    assert allowlist.list_own_modules(path) == ("mine.*",)
    monkeypatch.syspath_prepend(tmp_path)
    allowlist.require_target("mine.loss", "loss", ("mine.*",))
    with pytest.raises(InputError, match=r"loss._target_=mine.os.system: .* allowed are mine\.\*"):
        allowlist.require_target("mine.os.system", "loss", ("mine.*",))


def test_no_part_of_a_config_runs_a_planted_file(configure, calls):
    for part in ("loss", "prior", "data", "model.generator", "metrics.extractor", "trainer", "callbacks.cost"):
        cfg = configure("metrics=classifier", *FEW_FAKES)
        for call in calls:
            OmegaConf.update(cfg, part, call | {"domain": "mnist"}, merge=False)
            with pytest.raises(InputError, match=rf"{part}._target_={call['_target_']}: this import path is not"):
                prepare_config(cfg)


def test_evaluate_and_generate_run_nothing_of_a_folder_that_someone_sent(finished, calls):
    config, recipe = (yaml.safe_load((finished / name).read_text()) for name in ("config.yaml", "generator.yaml"))
    for call in calls:
        for part in ("generator", "prior"):
            (finished / "generator.yaml").write_text(yaml.safe_dump(recipe | {part: call}))
            with pytest.raises(InputError, match=rf"{part}._target_={call['_target_']}: .*allowed are gan.models"):
                load_generator(finished)
        for part in ("data", "prior"):
            (finished / "config.yaml").write_text(yaml.safe_dump(config | {part: call}))
            with pytest.raises(InputError, match=rf"{part}._target_={call['_target_']}: this import path is not"):
                load_config(finished, None, [])


def test_the_commands_refuse_in_one_line(finished, calls, tmp_path):
    config, recipe = (yaml.safe_load((finished / name).read_text()) for name in ("config.yaml", "generator.yaml"))
    (finished / "config.yaml").write_text(yaml.safe_dump(config | {"data": calls[0]}))
    (finished / "generator.yaml").write_text(yaml.safe_dump(recipe | {"generator": calls[1]}))
    for script in ("evaluate", "generate"):
        done = run_forked("--run", str(finished), script=f"scripts/{script}.py", cwd=tmp_path)
        assert done.returncode != 0
        assert f"{calls[script == 'generate']['_target_']}: this import path is not" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_checkpoints_are_read_as_weights(finished, marker, tmp_path):
    for name in ("evil.pt", "evil.ckpt"):
        with pytest.raises(InputError, match="not a checkpoint"):
            load_generator(finished, tmp_path / name)
    shutil.copy(tmp_path / "evil.pt", finished / "generator.safetensors")
    with pytest.raises(Exception, match="header"):
        load_generator(finished)


def test_resuming_runs_nothing_of_a_checkpoint(marker, tmp_path):
    words = ["trainer=cpu", "logger=none", "metrics=none", *NARROW["dcgan"], f"ckpt_path={tmp_path}/evil.ckpt"]
    done = run_forked(*words, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 1
    assert not marker.exists()


def test_a_sweep_servers_parameters_run_nothing(calls, tmp_path):
    """Among them Hydra's option that unpickles a file."""
    chosen = {f"+loss.{name}".replace("+loss._", "loss._"): value for name, value in calls[0].items()}
    fixed = ["trainer=cpu", "logger=none", f"hydra.run.dir={tmp_path}/run"]
    done = run_forked(*fixed, json.dumps(chosen), script="scripts/sweep_run.py", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: loss._target_=torch.load: this import path is not")
    assert "Traceback" not in done.stderr
    names = ("--experimental-rerun", "-cd", "hydra.searchpath", "hydra/launcher", "+hydra.launcher.setup", "loss@hydra")
    for name in names:
        with pytest.raises(InputError, match="a sweep may only set keys"):
            translate_parameters([json.dumps({name: str(tmp_path / "evil.pt")})], None, tmp_path)
    for value in ("${oc.env:HOME}", {"a": ["${oc.env:HOME}"]}):
        with pytest.raises(InputError, match="a sweep may only set plain values"):
            translate_parameters([json.dumps({"logger.name": value})], None, tmp_path)


def test_a_folder_that_someone_sent_cannot_read_the_environment(finished):
    config = yaml.safe_load((finished / "config.yaml").read_text())
    for key in ("config", "generator"):
        path = finished / f"{key}.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"extra": [{"root": "${oc.env:HOME}"}]}))
    with pytest.raises(InputError, match=r"config.yaml: extra.0.root is an interpolation"):
        load_config(finished, None, [])
    with pytest.raises(InputError, match=r"generator.yaml: extra.0.root is an interpolation"):
        load_generator(finished)
    (finished / "config.yaml").write_text(yaml.safe_dump(config | {"overrides": ["x=${data_dir}"]}))
    load_config(finished, None, [])
    for text in ("a: [", "- 1", "\x00"):
        (finished / "config.yaml").write_text(text)
        with pytest.raises(InputError, match=r"config\.yaml: not a run's config"):
            load_config(finished, None, [])


def test_inceptions_weights_are_read_as_weights(marker, monkeypatch, tmp_path):
    """The hash's known beginning is short enough to be met by a file made for it."""
    import hashlib

    start = hashlib.sha256((tmp_path / "evil.pt").read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(inception, "SHA256_PREFIX", start)
    with pytest.raises(InputError, match=r"metrics\.weights_path=.*weights"):
        inception.Inception(weights_path=str(tmp_path / "evil.pt"))


def test_every_config_of_the_suite_may_name_what_it_names():
    targets = set()
    for path in (ROOT / "conf").rglob("*.yaml"):
        for line in path.read_text().splitlines():
            if line.strip().startswith("_target_:"):
                targets.add(line.split(":")[1].split("#")[0].strip())
    assert len(targets) > 30
    for target in targets:
        allowlist.require_target(target, "conf", allowlist.TARGETS)
    with initialize_config_dir(str(ROOT / "conf")):
        assert compose("train").loss._target_ in targets


def test_configs_of_older_runs_are_read_with_todays_import_paths(tmp_path):
    parts = [{"_target_": path} for path in MOVED]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"parts": parts}), encoding="utf-8")
    config = OmegaConf.to_container(load_plain(tmp_path / "config.yaml"))
    allowlist.require_trusted(config)
    for part in config["parts"]:
        assert callable(allowlist.pkgutil.resolve_name(part["_target_"]))
