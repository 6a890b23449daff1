"""What tests of every package share."""

pytest_plugins = ["viseme.core.testing.fixtures"]
