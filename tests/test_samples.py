"""Grids of samples for any number of classes and samples: rows are named by the class that they show."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from gan.callbacks.samples import SampleGrid
from gan.data.pixels import draw_grid


class Labels(torch.nn.Module):
    """A generator of plain images: the brighter, the higher the label."""

    device, n_classes, generator = torch.device("cpu"), 1, None

    def ema(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        level = 2 * labels.float() / max(1, self.n_classes - 1) - 1
        return level[:, None, None, None].expand(-1, 1, 28, 28)


def drawn(tmp_path, classes: list[str], n_samples: int, **options):
    """Draw the grid of a run with these classes and so many validation samples."""
    z, labels = torch.randn(n_samples, 4), torch.arange(n_samples) * len(classes) // max(1, n_samples)
    trainer = SimpleNamespace(is_global_zero=True, global_step=7, logger=None)
    trainer.datamodule = SimpleNamespace(classes=classes, latents=SimpleNamespace(draw=lambda: (z, labels)))
    generator = Labels()
    generator.n_classes = len(classes)
    callback = SampleGrid(str(tmp_path), **options)
    callback.on_validation_epoch_end(trainer, generator)
    with Image.open(tmp_path / "step_000007.png") as picture:
        return callback, picture.copy()


@pytest.mark.parametrize("n_samples", [3, 64, 100])
@pytest.mark.parametrize(("n_classes", "rows"), [(2, 2), (10, 10), (12, 12), (100, 20), (1000, 20)])
def test_each_row_shows_the_class_that_names_it(tmp_path, n_classes, rows, n_samples):
    names = [f"class {i}" for i in range(n_classes)]
    callback, picture = drawn(tmp_path, names, n_samples)
    columns = min(10, n_samples)
    assert picture.size[1] == rows * 58 + 2
    assert picture.size[0] > columns * 58 + 2
    shown = list(callback.run.pictures)
    assert (len(shown), shown[0], shown[-1]) == (rows, names[0], names[-1])
    for i, (name, row) in enumerate(callback.run.pictures.items()):
        level = round(255 * names.index(name) / (n_classes - 1))
        assert row[0, 20, 20].mul(255).round() == pytest.approx(level, abs=1)
        assert picture.getpixel((picture.size[0] - 20, 2 + 58 * i + 20))[0] == pytest.approx(level, abs=1)


@pytest.mark.parametrize(("classes", "options"), [([], {}), (["all"], {}), (["a", "b"], {"conditional": False})])
@pytest.mark.parametrize(("n_samples", "height"), [(3, 60), (64, 7 * 58 + 2), (500, 10 * 58 + 2)])
def test_without_classes_the_grid_has_no_names(tmp_path, classes, options, n_samples, height):
    callback, picture = drawn(tmp_path, classes, n_samples, **options)
    assert list(callback.run.pictures) == ["all"]
    assert picture.size == (min(10, n_samples) * 58 + 2, height)


def test_a_single_image_has_a_frame_like_any_other():
    assert draw_grid(torch.zeros(1, 1, 28, 28), 10).shape == (3, 60, 60)


def test_long_and_foreign_names_fit_the_margin():
    picture = draw_grid(torch.zeros(2, 3, 64, 64), 1, ["鳥, Vögel", "a name that is much too long for the margin"])
    assert picture.shape[1] == 2 * 66 + 2
    assert 66 < picture.shape[2] < 350
    assert picture[:, :60, :-66].min() < 0.5  # something is written there
