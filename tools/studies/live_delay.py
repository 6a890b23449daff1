"""How good a live recogniser is, and how late its words come: streamed frame by frame against read whole.

    python -m tools.studies.live_delay MODEL STORE [--split test] [--modality audiovisual] [--clips N]

MODEL was trained with `model.chunk` (`avsr train recipe=live`). Every clip arrives in pieces of 40 ms. Delays do not
count computing: they are how much more of the recording had arrived when a word came out;
from the end of the word, where the corpus says when that was.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np

from viseme.avsr.live import LiveSession, LiveUnit
from viseme.avsr.pipeline import AVSR, Recording, Search
from viseme.core.data import Manifest
from viseme.core.data.dataset import ClipDataset
from viseme.core.data.transforms import SAMPLES_PER_FRAME, match_audio
from viseme.core.data.word_times import WORD_TIMES, parse_word_times
from viseme.core.metrics import bootstrap_interval, count_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--modality", choices=("video", "audio", "audiovisual"), action="append")
    parser.add_argument("--clips", type=int)
    args = parser.parse_args()
    recogniser = AVSR.from_pretrained(args.model, device="cpu")
    clips = Manifest.read(args.store / "manifest.csv").filter(split=args.split)[: args.clips]
    loaded = ClipDataset(clips, lambda clip, row, generator: clip)
    print("| read from | streamed WER, % | same as read whole | median delay, s | 90 %, s | from the word's end, s |")
    print("|---|---|---|---|---|---|")
    for modality in args.modality or recogniser.modalities:
        errors, words, same, late, after = [], [], 0, [], []
        for index, row in enumerate(clips):
            clip = loaded.load(index)
            crops = clip.video.frames if clip.video is not None and modality != "audio" else None
            samples = None
            if clip.audio is not None and modality != "video":
                samples = match_audio(clip.audio.samples, len(clip.video.frames)).numpy()
            session, units = stream(recogniser, modality, crops, samples)
            whole = recogniser.recognise([Recording(crops, samples)], search=Search(greedy=True))[0]
            same += tuple(session.tokens) == whole.tokens
            found = count_errors(row.text.split(), session.text.split())
            errors.append(found.errors)
            words.append(found.length)
            late += [unit.known_s - unit.time_s for unit in units]
            spoken = parse_word_times(row.extra.get(WORD_TIMES, ""))
            if [word for word, _, _ in spoken] == session.text.split() and len(units) == len(spoken):
                after += [unit.known_s - end_s for unit, (_, _, end_s) in zip(units, spoken, strict=True)]
        low, high = bootstrap_interval(errors, words)
        rate = f"{100 * sum(errors) / sum(words):.1f} ({100 * low:.1f} to {100 * high:.1f})"
        ninety = f"{np.percentile(late, 90):.2f}" if late else ""
        median = f"{statistics.median(late):.2f}" if late else ""
        end = f"{statistics.median(after):.2f}" if after else ""
        print(f"| {modality} | {rate} | {same} of {len(clips)} | {median} | {ninety} | {end} |", flush=True)


def stream(
    recogniser: AVSR, modality: str, crops: np.ndarray | None, samples: np.ndarray | None
) -> tuple[LiveSession, list[LiveUnit]]:
    """One recording in pieces of a frame: the session at its end, and what came out."""
    session, units = LiveSession(recogniser, modality), []  # type: ignore[arg-type]
    frames = len(crops) if crops is not None else len(samples) // SAMPLES_PER_FRAME  # type: ignore[arg-type]
    for frame in range(frames):
        sound = None if samples is None else samples[frame * SAMPLES_PER_FRAME : (frame + 1) * SAMPLES_PER_FRAME]
        units += session.push(None if crops is None else crops[frame : frame + 1], sound)
    return session, units + session.push(last=True)


if __name__ == "__main__":
    main()
