"""What processes forked for tests have in common: imports."""

# ruff: noqa: F401
import gan.launch.preloaded
import gan.report.page
import gan.search
from tests import signalled
