"""The standard tests that every task package runs, and what they need: clips with every difficulty, a small embedded
corpus, checks for command lines, imports and model directories, and the smoke test of an installed wheel. Only
`standard` and `fixtures` need pytest, a development dependency."""
