"""Tables that are made, not written: published weights from the records, published commands for the README.

python -m tools.reference          writes docs/weights.md and the marked parts of README.md
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from viseme.core.checkpoint import WeightRecord, available_models

ROOT = Path(__file__).resolve().parents[1]
RECORDS = {
    "avsr": "viseme.avsr.records",
    "raven": "viseme.raven.records",
    "lip2speech": "viseme.lip2speech.published",
    "im2speech": "viseme.im2speech.published",
    "wav2lip": "viseme.wav2lip.published",
}

WEIGHTS_HEAD = """# Published weights and model cards

<!-- made by `python -m tools.reference` from the records in the packages; not edited by hand -->

Every file here converts (`avsr convert FILE DIR`, and the same verb of each package) and answers as its authors' code
does: the parity tests pin that. Nothing is downloaded: fetch the file from its authors under its licence. Figures are
**theirs**, on their data; we have not measured them again.

A converted or trained model directory holds `card.md`: what it was trained on, the licence, the claims, and the command
and figures of our own runs. `available_models(commercial_ok=True)` lists what plainly allows commercial use.

"""


def records() -> dict[str, list[WeightRecord]]:
    """The records of each package, by name."""
    for module in RECORDS.values():
        importlib.import_module(module)
    return {package: available_models(package) for package in RECORDS}


def claims(record: WeightRecord) -> str:
    """Published figures, e.g. `LRS3 WER 20.3 %`."""
    written = []
    for metric, value in record.claims.items():
        name, percent, rest = metric.partition(" %")
        written.append(f"{name} {value:g}{percent}{rest}")
    return ", ".join(written) or "none"


def weights_page() -> str:
    """docs/weights.md."""
    parts = [WEIGHTS_HEAD]
    for package, some in records().items():
        parts.append(f"## {package}\n\n| weights | trained on | claimed | licence | source |\n|---|---|---|---|---|\n")
        for record in some:
            trained = record.trained_on or "not stated"
            source = f"[authors]({record.source})" if record.source.startswith("http") else record.source
            parts.append(f"| `{record.name}` | {trained} | {claims(record)} | {record.licence} | {source} |\n")
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


def weights_table() -> str:
    """A row for every published file: the README's table."""
    lines = ["| weights | claimed by their authors | licence |", "|---|---|---|"]
    for some in records().values():
        lines += [f"| `{record.name}` | {claims(record)} | {record.licence} |" for record in some]
    return "\n".join(lines)


def commands_table() -> str:
    """The tables of docs/commands.md."""
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- table -->\n(.*)<!-- /table -->", text, re.DOTALL)
    assert found is not None, "docs/commands.md has lost its marks"
    return re.sub(r"^## (.*)$", r"**\1**", found.group(1), flags=re.MULTILINE).strip()


def readme(text: str) -> str:
    """README.md with its marked parts made anew."""
    for name, made in (("weights", weights_table()), ("commands", commands_table())):
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        assert mark.search(text), f"README.md has lost the mark {name}"
        text = mark.sub(lambda found, made=made: f"{found.group(1)}\n{made}\n\n{found.group(2)}", text)
    return text


def main() -> int:
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / "docs" / "weights.md").write_text(weights_page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
