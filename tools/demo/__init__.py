"""The demo: from nothing to a measured audio-visual recogniser on the embedded corpus, and a report to look at.

`python -m tools.demo [--out runs/demo]`. Everything in it is synthetic, and says so.
"""
