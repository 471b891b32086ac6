"""The W&B server: whether it can be reached with the account that is configured, and which runs it holds."""

import json
import logging
import math
import urllib.error
import urllib.request
from typing import Any

import pydantic
import wandb

from gan.errors import InputError
from gan.system.wandb_names import LONGEST

WAIT_S = 5  # for an answer, before it counts as out of reach
SETTINGS = {"group": "run_group", "name": "run_name", "id": "run_id", "tags": "run_tags"}  # names of its own
MODES = ("online", "offline", "disabled")
HINT = "or train without it by WANDB_MODE=offline"

log = logging.getLogger(__name__)
unreachable: dict[str, str] = {}  # servers that did not answer this process, and why


def choose_mode(mode: str | None) -> str:
    """Return "online", "offline" or "disabled": what is asked for, else online where an API key is configured.

    A server that does not answer makes the run an offline one, with a warning. It is asked once per process, and
    nobody is prompted.
    Raises InputError for another mode, and for settings or a key that W&B refuses.
    """
    mode = {"dryrun": "offline", "run": "online"}.get(mode, mode)  # W&B's older words
    if mode and mode not in MODES:
        raise InputError(f"WANDB_MODE={mode}: must be one of {', '.join(MODES)}")
    if mode in ("offline", "disabled"):
        return mode
    url = str(read_settings({"mode": mode} if mode else {}).base_url)
    if not has_api_key():
        if mode:
            raise InputError(f"WANDB_MODE=online: no API key is configured for {url}; run `wandb login`, {HINT}")
        return "offline"
    unreachable.update({url: why} if url not in unreachable and (why := find_outage(url)) else {})
    if url in unreachable:
        log.warning("%s can't be reached (%s): logged offline, to be uploaded by `wandb sync`", url, unreachable[url])
        return "offline"
    verify_key()
    return "online"


def read_settings(options: dict[str, Any]) -> wandb.Settings:
    """Return W&B's settings: options, and what its files and variables say; raise InputError for a wrong one."""
    try:
        return wandb.setup(wandb.Settings(silent=True, **options)).settings
    except (pydantic.ValidationError, wandb.Error) as error:
        raise InputError(describe_refusal(error)) from error


def has_api_key() -> bool:
    """Return whether an API key is configured; raise InputError for a malformed one."""
    try:
        return wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise build_key_error(error) from error


def verify_key() -> None:
    """Raise InputError for a key that the server refuses."""
    try:
        wandb.Api()
    except wandb.Error as error:
        raise build_key_error(error) from error


def build_key_error(error: Exception) -> InputError:
    """Return the error for an API key that W&B refuses, with what to do."""
    words = " ".join(str(error).split()).rstrip(".")
    return InputError(f"W&B refuses the API key: {words}; run `wandb login --relogin`, {HINT}")


def find_outage(url: str) -> str | None:
    """Return why a server does not answer, None if it does; requests may go through a proxy, as urllib finds it."""
    query = json.dumps({"query": "query Viewer { viewer { id } }"}).encode()
    request = urllib.request.Request(f"{url.rstrip('/')}/graphql", query, {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=WAIT_S).close()
    except urllib.error.HTTPError as error:  # an answer; below 500, of a server that works
        return f"HTTP {error.code}" if error.code >= 500 else None
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None


def require_name(key: str, value: str | list[str] | None) -> None:
    """Raise InputError for a name, or tags, that W&B does not accept."""
    if len(str(value)) > LONGEST and not isinstance(value, list):
        raise InputError(f"logger.{key}={value}: has {len(str(value))} characters; W&B accepts at most {LONGEST}")
    try:
        wandb.Settings(**{SETTINGS.get(key, key): value or None})
    except (pydantic.ValidationError, wandb.Error) as error:
        words = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else str(error)
        raise InputError(f"logger.{key}={value}: {words}") from error


def describe_refusal(error: Exception) -> str:
    """Return one line for settings that W&B refuses, with the environment variable of each."""
    if isinstance(error, pydantic.ValidationError):
        names = ["_".join(map(str, part["loc"])).upper().replace("RUN_TAGS", "TAGS") for part in error.errors()]
        return "; ".join(f"WANDB_{name}: {part['msg']}" for name, part in zip(names, error.errors(), strict=True))
    return f"W&B: {' '.join(str(error).split()).rstrip('.')}"


def is_best_of_group(run: Any, key: str, value: float, protocol_id: str | None) -> bool:
    """Return whether no other run of the group, scored under the same protocol, has a smaller value in its summary.

    False where the server can't tell.
    """
    try:
        others = list(wandb.Api(timeout=WAIT_S).runs(f"{run.entity}/{run.project}", filters={"group": run.group}))
        summaries = [read_plain(other.summary) for other in others if other.id != run.id]
    except Exception as error:  # whatever it is, the run has its scores
        log.warning("the group's best run is not known: %s", error)
        return False
    rivals = [summary for summary in summaries if summary.get("protocol_id") == protocol_id]
    return math.isfinite(value) and all(value <= rival.get(key, math.inf) for rival in rivals)


def load_scored_runs(project: str, sweep: str | None = None) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return name, config, and scores with their protocol, of a project's or sweep's runs that ended with scores.

    Raises InputError for a project that is not there or holds none.
    """
    try:
        runs = list(wandb.Api().runs(project, filters={"sweep": sweep} if sweep else {}))
    except (wandb.Error, ValueError) as error:
        raise InputError(f"--project {project}: {' '.join(str(error).split())}") from error
    found = []
    for run in runs:
        summary = read_plain(run.summary)
        if "protocol" in summary:
            parts = {name: summary.get(name) or {} for name in ("floor", "n_floor", "at_n_floor", "protocol", "best")}
            found.append((run.name, run.config, {"scores": summary} | parts))
    if not found:
        raise InputError(f"--project {project}: none of its {len(runs)} runs has ended with scores")
    return found


def add_entity(project: str) -> str:
    """Return entity/name of a project, with the account's default entity where none is given."""
    return project if "/" in project else f"{wandb.Api().default_entity}/{project}"


def read_plain(value: Any) -> Any:
    """Return a W&B summary as dicts and numbers; the words for inf and nan become numbers."""
    if hasattr(value, "items"):
        return {name: read_plain(part) for name, part in value.items()}
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
