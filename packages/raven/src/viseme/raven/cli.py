"""The `raven` console script: thin, no logic."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from viseme.core.cli import App

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["app", "main"]

app = App(
    "raven",
    "RAVEn and BRAVEn: speech learnt from unlabelled talking faces, read from lips or sound.",
    package="viseme.raven",
    extras={"sentencepiece": "sub-word units", "jiwer": "alignments in reports"},
)


@app.config_verb("pretrain", "learn encoders of lips and sound from unlabelled clips")
def pretrain(cfg: DictConfig) -> None:
    from viseme.raven.train import pretrain as run

    report = run(cfg)
    print(f"{report.run}: {report.parameters / 1e6:.2f} M parameters, {report.epochs} epochs on {report.clips} clips")
    for directory in report.models.values():
        print(directory)


@app.config_verb("train", "fine-tune an encoder, or train a recogniser from scratch")
def train(cfg: DictConfig) -> None:
    from viseme.raven.train import train as run

    report = run(cfg)
    model = report.models["model"]
    print(f"{model}: {report.parameters / 1e6:.2f} M parameters, {report.epochs} epochs on {report.clips} clips")


@app.config_verb(
    "evaluate",
    "word error rate over a list",
    description="Error rates with a bootstrap interval, of the model that the same configuration trained or of "
    "evaluate.model=DIR: raven evaluate recipe=NAME data.root_dir=STORE evaluate.lm=DIR evaluate.lm_weight=0.3",
)
def evaluate(cfg: DictConfig) -> None:
    from viseme.raven.evaluate import evaluate_list

    result = evaluate_list(cfg)
    print(result)
    for clip, reason in result.failures.items():
        print(f"not read: {clip}: {reason}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return app.main(argv)


if __name__ == "__main__":
    sys.exit(main())
