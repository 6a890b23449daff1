"""Studies that are too long for a test: each makes a table that a package's README quotes, from one command."""
