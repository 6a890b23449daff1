"""The demo: from nothing to a measured audio-visual recogniser on the embedded corpus, and a report to look at; or to
models of all five packages. Everything in it is synthetic, and says so.

    python -m tools.demo [--out runs/demo]
    python -m tools.demo all [--out runs/all]
"""
