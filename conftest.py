"""What tests of every package share."""

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # small tensors: threads cost more than they give, and workers share cores

pytest_plugins = ["viseme.core.testing.fixtures"]
