"""Commands of train.py in forks of one process that has imported everything: a real command without 8 s of imports."""

import json
import os
import resource
import runpy
import signal
import sys
import warnings
from pathlib import Path

MEMORY_BYTES = 8 * 2**30


def serve(script: str) -> None:
    """Run a script for each line of JSON on stdin: its words, folder, log file and seconds; answer with its status."""
    import gan.run.build  # noqa: F401
    import gan.tracking  # noqa: F401

    warnings.filterwarnings("ignore", category=DeprecationWarning)  # of forking beside threads
    for line in sys.stdin:
        words, folder, log, seconds = json.loads(line)
        child = os.fork()
        if not child:
            run(script, words, folder, log, seconds)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(script: str, words: list[str], folder: str, log: str, seconds: int) -> None:
    """Become the command: its output goes into the log, SIGALRM ends it after so many seconds."""
    os.chdir(folder)
    output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.alarm(seconds)
    sys.argv = [script, *words]
    status = 1
    try:
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        status = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(sys.argv[1]).parent))
    serve(sys.argv[1])
