"""scripts/generate.py on the generator of a real, short run."""

import numpy as np
import pytest
import torch
from PIL import Image

import train
from gan.data.pixels import to_uint8
from gan.errors import InputError
from gan.priors import normal
from gan.run.generator import load_generator
from scripts import generate
from scripts.generate import choose_latents, draw_truncated, find_class, generate_images, interpolate_spherically
from tests.helpers import NARROW
from tests.processes import run_forked


@pytest.fixture
def finished(configure, tmp_path):
    train.train(configure("metrics=none", "trainer.max_steps=2", *NARROW["dcgan"]))
    return tmp_path / "run"


def drawn(*arguments, **options):
    *inputs, columns = choose_latents(*arguments, **options)
    return torch.cat([*generate_images(*inputs)]), columns


def generated(monkeypatch, run, *arguments) -> None:
    monkeypatch.setattr("sys.argv", ["generate.py", "--run", str(run), *arguments])
    generate.main()


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def test_the_command_writes_one_class_and_the_same_for_the_same_seed(finished, tmp_path):
    outs = [tmp_path / f"{name}.png" for name in ("a", "b", "c")]
    for out, seed in zip(outs, ("1", "1", "2"), strict=True):
        arguments = ["--run", str(finished), "--label", "5", "--count", "64", "--out", str(out), "--seed", seed]
        done = run_forked(*arguments, script="scripts/generate.py", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert pixels(outs[0]).shape == (8 * 58 + 2, 8 * 58 + 2, 3)
    assert np.array_equal(pixels(outs[0]), pixels(outs[1]))
    assert not np.array_equal(pixels(outs[0]), pixels(outs[2]))


def test_an_image_does_not_depend_on_the_others_of_its_batch(finished):
    network, prior, *_ = load_generator(finished)
    z, labels = prior(8, network.z_dim), torch.arange(8)
    assert torch.allclose(network(z, labels)[:2], network(z[:2], labels[:2]), atol=1e-5)


def test_all_classes_come_one_a_row(finished):
    images, columns = drawn(finished, None, 100, seed=0, interpolate=False, truncation=None)
    assert (images.shape, columns) == ((100, 1, 28, 28), 10)


def test_interpolation_walks_from_one_z_to_another(finished):
    images, columns = drawn(finished, ["3"], 20, seed=0, interpolate=True, truncation=None)
    assert (len(images), columns) == (20, 10)
    steps = (images[1:10] - images[:9]).flatten(1).norm(dim=1)
    assert steps.max() < (images[9] - images[0]).norm()


def test_a_class_is_given_by_its_name_or_its_number():
    assert [find_class(label, 3, ["cat", "1", "fox"]) for label in ("fox", "0", "1", "2")] == [2, 0, 1, 2]
    assert find_class("2", 3, []) == 2
    with pytest.raises(InputError, match="--label dog: this generator knows 0 to 2, or one of cat, cow, fox"):
        find_class("dog", 3, ["cat", "cow", "fox"])


def test_spherical_steps_keep_the_shell_and_the_ends():
    a, b = torch.randn(2, 3, 64)
    walk = interpolate_spherically(a, b, 5).view(3, 5, 64)
    torch.testing.assert_close(walk[:, 0], a)
    torch.testing.assert_close(walk[:, -1], b)
    assert walk.norm(dim=2).min() > 0.8 * min(a.norm(dim=1).min(), b.norm(dim=1).min())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "10"], "--label 10: this generator knows 0 to 9"),
        (["--count", "0"], "--count 0: must be at least 1"),
        (["--run", "nowhere"], "nowhere/generator.safetensors: no such file"),
        (["--out", "x"], "--out x: must end in .bmp, .gif, .jpeg"),
        (["--out", "x.txt"], "or in / for a folder"),
        (
            ["--count", "20000", "--out", "x.png"],
            "--count 20000: one file holds up to 1000 images; --out x/ writes one file per image",
        ),
        (["--count", "1000000000", "--out", "x/"], "must be at least 1 and at most 1000000"),
        (["--seed", "-1"], "--seed -1: must be at least 0"),
        (["--out", "/dev/null/x.png"], "--out /dev/null/x.png: File exists"),
        (["--out", "/dev/null/x/"], "--out /dev/null/x/: Not a directory"),
    ],
)
def test_bad_input_is_one_line(finished, monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        generated(monkeypatch, finished, *arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_takes_each_image_as_a_file_of_its_own(finished, tmp_path, monkeypatch):
    folder = tmp_path / "new" / "samples"
    generated(monkeypatch, finished, "--count", "250", "--out", f"{folder}/")
    assert [path.name for path in sorted(folder.iterdir())] == [f"{i:05}.png" for i in range(250)]
    images, _ = drawn(finished, None, 250, seed=0, interpolate=False, truncation=None)
    for i in (0, 99, 100, 249):
        assert np.array_equal(pixels(folder / f"{i:05}.png"), to_uint8(images[i])[0].numpy())
    (tmp_path / "there").mkdir()
    generated(monkeypatch, finished, "--count", "2", "--out", str(tmp_path / "there"))
    assert len([*(tmp_path / "there").iterdir()]) == 2
    with pytest.raises(SystemExit):  # samples of two runs would be mixed
        generated(monkeypatch, finished, "--out", str(folder))


def test_truncation_redraws_what_lies_beyond_and_keeps_the_rest():
    """Brock et al. 2019: resampled, not clamped, so nothing piles up at the threshold."""
    plain = draw_truncated(normal, 500, 20, None, torch.Generator().manual_seed(3))
    for threshold in (0.05, 0.5, 2.0):
        z = draw_truncated(normal, 500, 20, threshold, torch.Generator().manual_seed(3))
        assert z.abs().max() <= threshold
        assert torch.equal(z[plain.abs() <= threshold], plain[plain.abs() <= threshold])
        assert (z.abs() == threshold).sum() == 0
    assert torch.equal(plain, torch.randn(500, 20, generator=torch.Generator().manual_seed(3)))
