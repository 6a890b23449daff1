"""Caption scores against the COCO caption tools and sacreBLEU."""

from __future__ import annotations

import json

import harness
import pytest

from viseme.core.errors import DependencyError
from viseme.core.metrics.captions import caption_scores, ptb_tokenise, sacre_bleu
from viseme.core.metrics.captions_java import METEOR_JAR, find_jar, meteor

SYSTEM = "im2speech"


def pointer(entry: dict, path: str) -> object:
    """What the entry's JSON file holds under `/a/b/0`."""
    value = json.loads((harness.folder(SYSTEM) / entry["file"]).read_text(encoding="utf-8"))
    for part in path.strip("/").split("/"):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def check(entry: dict, answers: dict) -> None:
    wanted = {name for name, spec in entry["arrays"].items() if not spec.get("optional")}
    assert wanted == set(answers), "every answer is compared"
    for name, got in answers.items():
        spec = entry["arrays"][name]
        problem = harness.inputs.disagreement(got, pointer(entry, spec["stored"]), spec)
        assert not problem, f"{name}: {problem}"


def given(entry: dict, name: str):
    return pointer(entry, entry["inputs"][name]["stored"])


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "caption_metrics/tokenized"))
def test_tokenised(name: str, entry: dict) -> None:
    images = given(entry, "images")
    check(
        entry,
        {
            "references": {str(i["image_id"]): [ptb_tokenise(text) for text in i["references"]] for i in images},
            "hypotheses": {str(i["image_id"]): [ptb_tokenise(i["hypothesis"])] for i in images},
        },
    )


def scored(entry: dict) -> tuple[list[list[str]], list[str]]:
    references, hypotheses = given(entry, "references"), given(entry, "hypotheses")
    return [references[image] for image in hypotheses], [texts[0] for texts in hypotheses.values()]


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "caption_metrics/scores"))
def test_scores(name: str, entry: dict) -> None:
    scores = caption_scores(*scored(entry), tokenised=True)
    answers = {f"corpus.{key}": value for key, value in scores.corpus.items()}
    answers |= {f"per_image.{key}": values for key, values in scores.per_image.items()}
    with_java = {"arrays": {n: s for n, s in entry["arrays"].items() if "METEOR" not in n and "SPICE" not in n}}
    check({**entry, **with_java}, answers)


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "caption_metrics/scores"))
def test_meteor(name: str, entry: dict) -> None:
    try:
        find_jar(METEOR_JAR)
    except DependencyError as error:
        pytest.skip(f"{error} (METEOR is its authors' program; nothing of it is ours to test)")
    corpus, single = meteor(*scored(entry))
    arrays = {name: spec for name, spec in entry["arrays"].items() if "METEOR" in name}
    check({**entry, "arrays": arrays}, {"corpus.METEOR": corpus, "per_image.METEOR": single})


@pytest.mark.parametrize(("name", "entry"), harness.entries(SYSTEM, "caption_metrics/validation"))
def test_validation(name: str, entry: dict) -> None:
    images = given(entry, "images")
    streams = min(len(image["references"]) for image in images)
    references = [[text.lower() for text in image["references"][:streams]] for image in images]
    predictions = [image["hypothesis"].lower() or " " for image in images]
    score = sacre_bleu(references, predictions)
    answers = {"predictions": predictions, "references_used_per_image": streams}
    check(entry, {**answers, "score": score.score, "format": str(score)})
