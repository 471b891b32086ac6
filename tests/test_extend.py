"""A loss and a model of the user's own: one class and one yaml each, in a folder of their own, and nothing else."""

import json

import pytest

from tests.helpers import run_command
from tests.processes import run_forked

LOSS = """
from torch.nn.functional import softplus

class Tempered:
    def __init__(self, *, temperature=1.0):
        self.temperature = temperature

    def discriminator(self, real_logits, fake_logits):
        return (softplus(-real_logits / self.temperature) + softplus(fake_logits / self.temperature)).mean()

    def generator(self, fake_logits, real_logits=None):
        return softplus(-fake_logits / self.temperature).mean()
"""
MODEL = """
import torch
from torch import nn

class Generator(nn.Module):
    def __init__(self, *, channels, image_size, num_classes, z_dim=8):
        super().__init__()
        self.z_dim, self.shape = z_dim, (channels, image_size, image_size)
        self.layer = nn.Linear(z_dim, channels * image_size**2)

    def forward(self, z, labels):
        return self.layer(z).tanh().unflatten(1, self.shape)

class Discriminator(nn.Module):
    def __init__(self, *, channels, image_size, num_classes):
        super().__init__()
        self.layer = nn.Linear(channels * image_size**2, 1)

    def forward(self, images, labels):
        return self.layer(images.flatten(1)).squeeze(1)
"""
FILES = {
    "my_losses.py": LOSS,
    "my_models.py": MODEL,
    "conf/loss/tempered.yaml": "_target_: my_losses.Tempered\ntemperature: 2.0\n",
    "conf/model/tiny.yaml": (
        "generator:\n  _target_: my_models.Generator\n  z_dim: 8\ndiscriminator:\n  _target_: my_models.Discriminator\n"
    ),
}


@pytest.mark.slow
def test_a_loss_and_a_model_in_a_folder_of_ones_own(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    small = ["trainer=cpu", "trainer.max_steps=3", "metrics.n_fakes=200", "objective=fid_200", "logger=none"]
    own = [f"hydra.searchpath=[file://{tmp_path}/conf]", "model=tiny", f"hydra.run.dir={tmp_path}/run"]
    on_path = {"PYTHONPATH": str(tmp_path)}
    done = run_command(*own, "loss=tempered", *small, env=on_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["scores"]["generator_steps"] == 3
    crossed = run_command(
        *own[:2], f"hydra.run.dir={tmp_path}/other", "loss=rpgan", "penalty=[r1,r2]", *small, env=on_path
    )
    assert crossed.returncode == 0, crossed.stderr
    generate = ["--run", tmp_path / "run", "--count", "4"]
    drawn = run_command(*generate, script="scripts/generate.py", cwd=tmp_path, env=on_path)
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "samples.png").is_file()


def test_what_is_not_on_the_path_by_name_is_not_called(tmp_path):
    """A value that came from elsewhere, say a sweep server, can't call the standard library."""
    done = run_forked("loss._target_=os.system", "+loss.command=true", "logger=none", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert "os.system" in done.stderr
    assert "Traceback" not in done.stderr
