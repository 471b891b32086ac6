"""What processes forked for tests have in common: imports, and digits that take seconds to parse."""

# ruff: noqa: F401
import gan.launch
import gan.report.page
import gan.run.build
import gan.run.outputs
import gan.run.resume
import gan.search
import gan.tracking
from gan.data.datasets import read_digits
from tests import signalled

read_digits()
