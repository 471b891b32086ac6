"""What a failed trial leaves: the reason, and the files from which its next try resumes."""

import shutil
from pathlib import Path

from optuna.trial import Trial

from gan.errors import find_reason
from gan.search.trials import REFUSED
from gan.system.files import replace_whole
from gan.system.run_folder import BEST, CONFIG, HISTORY, LAST


def record_reason(trial: Trial, error: BaseException) -> str:
    """Return in one line why a trial failed; record it in the trial if its settings were refused."""
    text = find_reason(error) if isinstance(error, Exception) else None
    if text:
        trial.set_user_attr(REFUSED, text)
    return text or " ".join([type(error).__name__, *str(error).strip().splitlines()[-1:]])


def copy_run_files(folder: Path, before: int, number: int) -> None:
    """Copy settings, checkpoints and history of trial `before` to trial `number`, which tries it again."""
    for run in folder.glob(f"{before}-*"):
        for name in (CONFIG, LAST, BEST, HISTORY):
            if (run / name).is_file():
                own = run.with_name(f"{number}-{run.name.partition('-')[2]}") / name
                with replace_whole(own) as part:
                    shutil.copy2(run / name, part)
