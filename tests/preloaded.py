"""What processes forked for tests have in common: imports."""

# ruff: noqa: F401
import gan.launch
import gan.report.page
import gan.run.build
import gan.run.outputs
import gan.run.resume
import gan.search
import gan.tracking
from tests import signalled
