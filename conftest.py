"""What tests of every package share."""

import os

# Small tensors: threads cost more than they give, and test workers share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["viseme.core.testing.fixtures"]
