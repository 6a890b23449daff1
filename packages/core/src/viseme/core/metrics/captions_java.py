"""METEOR and SPICE of captions: their authors' Java programs, run where Java and the jar are at hand.

The jars come with the `pycocoevalcap` package (extra `captions`), or are named by VISEME_METEOR_JAR and
VISEME_SPICE_JAR.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from viseme.core.errors import DataError, DependencyError

__all__ = ["METEOR_JAR", "SPICE_JAR", "find_jar", "meteor", "spice"]

METEOR_JAR, SPICE_JAR = "meteor/meteor-1.5.jar", "spice/spice-1.0.jar"
_VARIABLES = {METEOR_JAR: "VISEME_METEOR_JAR", SPICE_JAR: "VISEME_SPICE_JAR"}


def find_jar(name: str) -> Path:
    """The jar of METEOR_JAR or SPICE_JAR.

    Raises:
        DependencyError: neither named by its variable nor installed, or no Java to run it.
    """
    variable = _VARIABLES[name]
    if not shutil.which("java"):
        raise DependencyError(f"{Path(name).stem} needs Java", hint="The other caption scores do not.")
    if named := os.environ.get(variable):
        path = Path(named)
    else:
        package = importlib.util.find_spec("pycocoevalcap")
        path = Path(package.origin).parent / name if package is not None and package.origin else Path(name)
    if not path.is_file():
        raise DependencyError(
            f"{Path(name).name} is not at hand",
            expected=f"the package pycocoevalcap, or {variable}=FILE",
            hint="The other caption scores need neither.",
        )
    return path


def meteor(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> tuple[float, list[float]]:
    """METEOR 1.5 (Denkowski and Lavie 2014) over all images and of each; texts are tokenised already.

    Raises:
        DependencyError: no Java or no jar.
        DataError: the program failed.
    """
    jar = find_jar(METEOR_JAR)
    # Its protocol: statistics of every pair first, then one evaluation of all of them.
    command = ["java", "-Xmx2G", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    lines = [_score_line(texts, hypothesis) for texts, hypothesis in zip(references, hypotheses, strict=True)]
    with subprocess.Popen(
        command, cwd=jar.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin is not None and run.stdout is not None and run.stderr is not None
        try:
            statistics = []
            for line in lines:
                run.stdin.write(line + "\n")
                run.stdin.flush()
                statistics.append(run.stdout.readline().strip())
            run.stdin.write(" ||| ".join(["EVAL", *statistics]) + "\n")
            run.stdin.close()
            single = [float(run.stdout.readline()) for _ in lines]
            return float(run.stdout.readline()), single
        except (OSError, ValueError) as error:
            said = run.stderr.read()[-300:]
            raise DataError("METEOR failed", path=jar, got=said or str(error)) from error
        finally:
            run.kill()


def _score_line(texts: Sequence[str], hypothesis: str) -> str:
    clean = " ".join(hypothesis.replace("|||", "").split())
    return " ||| ".join(["SCORE", *texts, clean])


def spice(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> tuple[float, list[float]]:
    """SPICE (Anderson et al. 2016) over all images and of each. Its jar needs Stanford CoreNLP 3.6.0 beside it and
    wants Java 8.

    Raises:
        DependencyError: no Java or no jar.
        DataError: the program failed.
    """
    jar = find_jar(SPICE_JAR)
    items = [
        {"image_id": number, "test": hypothesis, "refs": list(texts)}
        for number, (texts, hypothesis) in enumerate(zip(references, hypotheses, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "in.json", Path(folder) / "out.json"
        source.write_text(json.dumps(items), encoding="utf-8")
        command = ["java", "-Xmx8G", "-jar", jar.name, str(source), "-out", str(result), "-subset", "-silent"]
        run = subprocess.run(command, cwd=jar.parent, capture_output=True, text=True)
        if run.returncode or not result.is_file():
            raise DataError("SPICE failed", path=jar, got=(run.stderr or run.stdout)[-300:])
        found = {item["image_id"]: item["scores"]["All"]["f"] for item in json.loads(result.read_text("utf-8"))}
    single = [float(found[number]) for number in range(len(items))]
    return sum(single) / len(single), single
