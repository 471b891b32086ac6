"""What processes forked for tests have in common: imports, and digits that take seconds to parse."""

import gan.run.build  # noqa: F401
import gan.run.outputs  # noqa: F401
import gan.run.resume  # noqa: F401
from gan.data.datasets import read_digits
from tests import signalled  # noqa: F401

read_digits()
