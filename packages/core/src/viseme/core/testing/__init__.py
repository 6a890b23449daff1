"""The standard tests that every task package runs, and what they need: a small embedded corpus, checks for command lines,
imports and model directories, and the smoke test of an installed wheel. Needs pytest (a development dependency) only
where `standard` and `fixtures` are imported."""
