"""The version of the code: of a git checkout, with its changes, or of the package."""

import subprocess
from importlib import metadata

import pytest

from gan.system import code_version


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that stands for the checkout of this code."""
    monkeypatch.setattr(code_version, "CHECKOUT", tmp_path)
    monkeypatch.setattr(code_version, "describe_code", code_version.describe_code.__wrapped__)  # not cached
    return tmp_path


def git(folder, *words):
    names = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", folder, *names, *words], check=True, capture_output=True, text=True).stdout


def test_a_checkout_has_its_commit_its_tag_and_a_mark_for_changes(checkout):
    git(checkout, "init")
    (checkout / "file").write_text("1")
    git(checkout, "add", "file")
    git(checkout, "commit", "-m", "first")
    assert git(checkout, "rev-parse", "HEAD").startswith(code_version.describe_code())
    (checkout / "file").write_text("2")
    assert code_version.describe_code().endswith("-dirty")
    git(checkout, "commit", "-am", "second")
    git(checkout, "tag", "-a", "v7", "-m", "seven")
    assert code_version.describe_code() == "v7"


def test_without_a_checkout_or_git_the_package_has_a_version(checkout, monkeypatch):
    git(checkout, "init")
    (checkout / "package").mkdir()
    monkeypatch.setattr(code_version, "CHECKOUT", checkout / "package")  # inside of another repository
    assert code_version.describe_code() == metadata.version("gan-sweeps")
    monkeypatch.setattr(code_version, "CHECKOUT", checkout)
    monkeypatch.setenv("PATH", "")
    assert code_version.describe_code() == metadata.version("gan-sweeps")
    monkeypatch.setattr(code_version, "PACKAGE", "no-such-package")
    assert code_version.describe_code() == "unknown"
