"""No private name of a dependency is used but those listed here, each with its reason and a check that it is there."""

import ast
import inspect

import pytest
import torch

from tests.helpers import ROOT

SOURCES = [*sorted((ROOT / "gan").rglob("*.py")), *sorted((ROOT / "scripts").rglob("*.py")), ROOT / "train.py"]


def has_create_params():
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

    parameters, fixed, _ = create_params_from_overrides(["x=interval(0,1)", "y=2"])
    return [*parameters] == ["x"] and [*fixed] == ["y"]


def has_signal_connector():
    from pytorch_lightning import Trainer

    connector = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)._signal_connector
    return not inspect.signature(connector.register_signal_handlers).parameters


def has_dispatch_mode():
    from torch.utils._python_dispatch import TorchDispatchMode

    return [*inspect.signature(TorchDispatchMode.__torch_dispatch__).parameters][1:] == [
        "func",
        "types",
        "args",
        "kwargs",
    ]


def has_bfloat16_question():
    return isinstance(torch.ops.mkldnn._is_mkldnn_bf16_supported(), bool)


LISTED = {  # file and private name: a check of the installed library; the reason stands beside the use
    ("gan/search/parameters.py", "hydra_plugins.hydra_optuna_sweeper._impl"): has_create_params,
    ("gan/callbacks/interruption.py", "_signal_connector"): has_signal_connector,
    ("gan/callbacks/cost.py", "torch.utils._python_dispatch"): has_dispatch_mode,
    ("gan/system/precision.py", "_is_mkldnn_bf16_supported"): has_bfloat16_question,
}


def is_private(name: str) -> bool:
    """Return whether a name begins with one underscore; `os._exit` is documented, names with two are the language's."""
    return name.startswith("_") and not name.startswith("__") and not name.endswith("_") and name != "_exit"


def list_own_names(tree: ast.AST) -> set[str]:
    """Return the private names that a file defines: functions, classes, variables."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    return found | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def find_private_uses(source: str, own: set[str] = frozenset()) -> set[str]:
    """Return the private modules, names and attributes of others that a file uses.

    An attribute of `self` counts too where our own tree does not define it: it is a base class's.
    """
    tree, found = ast.parse(source), set()
    own = own | list_own_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if any(map(is_private, alias.name.split(".")))}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("gan."):
            if any(is_private(part) or part == "_internal" for part in node.module.split(".")):
                found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if is_private(alias.name)}
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            found.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "setattr", "hasattr"):
            words = [word.value for word in node.args[1:2] if isinstance(word, ast.Constant)]
            found |= {word for word in words if isinstance(word, str) and is_private(word) and word not in own}
    return found


def test_what_is_private_to_a_dependency_is_used_only_where_it_is_listed():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]
    own = set().union(*map(list_own_names, trees))
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in SOURCES
        for name in find_private_uses(path.read_text(encoding="utf-8"), own)
    }
    assert found == LISTED.keys()


@pytest.mark.parametrize("use", LISTED, ids=lambda use: use[1])
def test_a_listed_private_name_is_there_and_works_as_expected(use):
    assert LISTED[use]()


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (
            "from hydra._internal.core_plugins.basic_launcher import BasicLauncher",
            {"hydra._internal.core_plugins.basic_launcher"},
        ),
        ("from optuna.storages._heartbeat import BaseHeartbeat", {"optuna.storages._heartbeat"}),
        ("from torch.nn.modules.batchnorm import _BatchNorm", {"torch.nn.modules.batchnorm._BatchNorm"}),
        ("import torch._dynamo", {"torch._dynamo"}),
        ("study._storage.f(trial._trial_id)", {"_storage", "_trial_id"}),
        ("getattr(job, '_return_value')", {"_return_value"}),
        (
            "class Mine(Base):\n    def f(self):\n        self._experiment = self._wandb_init",
            {"_experiment", "_wandb_init"},
        ),
        ("cfg._target_, self.__dict__, os._exit(0)", set()),
        ("def _own(): pass\nmodule._own()", set()),
    ],
)
def test_a_private_use_is_found(source, names):
    assert find_private_uses(source) == names
