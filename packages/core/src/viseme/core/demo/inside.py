"""Look inside: what a recogniser sees and hears of a clip, and where its decoder looks while it writes.

T frames, L units, H heads, K width of a head.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from viseme.core.demo.site import Model, Page, Site
from viseme.core.errors import FaceError
from viseme.core.faces import FaceTracker, MouthCropper, choose_track
from viseme.core.layers.attention import split_heads
from viseme.core.layers.transformer import TransformerDecoder
from viseme.core.media import probe, read_audio, stream_frames
from viseme.core.signal import WAV2LIP_MEL

__all__ = ["attention_picture", "cross_attention", "crop_sheet", "inside_page", "mel_picture"]

FPS, COLUMNS, ROWS, CROP_PX = 25.0, 12, 4, 96


def inside_page(site: Site) -> Page:
    """The tab: crops and sound of any clip; attention where a recogniser of viseme-avsr is among the models."""
    models = [model for model in site.models if model.package == "avsr" and model.config.get("package") == "avsr"]
    if importlib.util.find_spec("viseme.avsr") is None:
        models = []

    def build() -> None:
        import gradio as gr

        names = [model.name for model in models]
        gr.Markdown("What the networks are given: mouth crops on the mean face, sound as a mel spectrogram.")
        with gr.Row():
            with gr.Column(scale=1):
                video = gr.File(label="A video of a face, or a sound", file_types=["video", "audio"], type="filepath")
                model = gr.Dropdown(names, value=names[0] if names else None, label="Recogniser", visible=bool(names))
                start = gr.Button("Look", variant="primary")
                report = gr.Textbox(label="Seen", interactive=False, lines=3)
            with gr.Column(scale=2):
                # Without the button that would send it elsewhere.
                shown: dict[str, Any] = {"interactive": False, "buttons": ["download", "fullscreen"]}
                crops = gr.Image(label="Crops, over time", **shown)
                sound = gr.Image(label="Mel spectrogram, low bands below", **shown)
                title = "Where the decoder looks: a row for each unit it writes, time from left to right"
                attention = gr.Image(label=title, visible=bool(names), **shown)
        start.click(site.guarded(look), [video, model], [crops, sound, attention, report], api_name="look_inside")

    def look(path: str | None, name: str | None) -> tuple[Any, Any, Any, str]:
        checked = site.checked(path, what="a video")
        return look_inside(checked, next((model for model in models if model.name == name), None), site.device)

    return Page("Look inside", build)


def look_inside(path: Path, model: Model | None, device: str) -> tuple[Any, Any, Any, str]:
    """Pictures of crops, sound and attention (None where there is nothing to show), and what was read."""
    info = probe(path)
    notes = [f"{info.duration_s:.1f} s"]
    crops = sound = attention = None
    if info.has_video:
        found = mouth_crops(path)
        crops = crop_sheet(found)
        notes.append(f"{len(found)} frames at 25 a second")
    if info.has_audio:
        sound = mel_picture(read_audio(path).samples)
    if model is not None:
        recogniser = _recogniser(model.path, device)
        recording = recogniser.load(path)
        (heard,) = recogniser.recognise([recording])
        notes += [f"read: {heard.text}", *heard.notes]
        if heard.tokens:
            with torch.inference_mode():
                memory = recogniser.encode(recording)[None]
            weights = cross_attention(recogniser.model.decoder, recogniser.model.config.eos, heard.tokens, memory)
            attention = attention_picture(weights, [recogniser.tokenizer.decode([token]) for token in heard.tokens])
    return crops, sound, attention, "\n".join(notes)


@lru_cache(maxsize=2)
def _recogniser(path: Path, device: str) -> Any:
    """Of viseme-avsr, found by name: core knows no task package."""
    return importlib.import_module("viseme.avsr.pipeline").AVSR.from_pretrained(path, device=device)


def mouth_crops(path: Path) -> np.ndarray:
    """Mouth crops (T, 96, 96, 3) RGB of the most prominent face.

    Raises:
        FaceError: no usable face.
    """
    cropper = MouthCropper()
    tracker, total = FaceTracker(points=cropper.select), 0
    for frame in stream_frames(path, fps=FPS):
        tracker.update(frame)
        total += 1
    track = choose_track(tracker.tracks, None)
    crops = list(cropper.crops(stream_frames(path, fps=FPS), track.per_frame(total)))
    if not crops:
        raise FaceError("no frame of the face")
    return np.stack(crops)


def crop_sheet(crops_THW3: np.ndarray) -> np.ndarray:
    """Up to 48 crops, evenly over time, row by row."""
    count = min(len(crops_THW3), COLUMNS * ROWS)
    chosen = crops_THW3[np.linspace(0, len(crops_THW3) - 1, count).round().astype(int)]
    rows = -(-count // COLUMNS)
    sheet = np.full((rows * COLUMNS, *chosen.shape[1:]), 255, np.uint8)
    sheet[:count] = chosen
    return np.concatenate([np.concatenate(list(row), axis=1) for row in np.split(sheet, rows)])


def mel_picture(samples: np.ndarray, height: int = 160) -> np.ndarray:
    """RGB picture of 80 mel bands, low ones below."""
    short = max(0, WAV2LIP_MEL.n_fft - len(samples))
    mel = WAV2LIP_MEL(torch.from_numpy(np.pad(samples, (0, short)))).numpy()[::-1]
    return _coloured(mel, (int(np.clip(mel.shape[1] * 4, 800, 1600)), height))


@torch.inference_mode()
def cross_attention(decoder: TransformerDecoder, sos: int, tokens: tuple[int, ...], memory_1TD: Tensor) -> Tensor:
    """Weights (L, T) with which the last block looks at the memory while it predicts each unit, mean over heads: from
    its own queries and keys, softmax(q k / sqrt K) (Vaswani et al., 2017, equation 1)."""
    attention = list(decoder.blocks())[-1].src_attn
    seen: dict[str, Tensor] = {}
    handles = [
        attention.linear_q.register_forward_hook(lambda module, given, made: seen.update(q=made)),
        attention.linear_k.register_forward_hook(lambda module, given, made: seen.update(k=made)),
    ]
    try:
        decoder.hidden(torch.tensor([[sos, *tokens[:-1]]], device=memory_1TD.device), memory_1TD)
    finally:
        for handle in handles:
            handle.remove()
    query_HLK, key_HTK = (split_heads(seen[name], attention.heads)[0] for name in "qk")
    weights_HLT = (query_HLK @ key_HTK.transpose(1, 2) / query_HLK.shape[-1] ** 0.5).softmax(-1)
    return weights_HLT.mean(0).cpu()


def attention_picture(weights_LT: Tensor, units: list[str], row_px: int = 26) -> np.ndarray:
    """RGB picture: a row for each unit with its name, time from left to right."""
    scaled = weights_LT / weights_LT.amax(1, keepdim=True).clamp(min=1e-9)
    width = int(np.clip(weights_LT.shape[1] * 16, 650, 1450))
    heat = _coloured(scaled.float().numpy(), (width, row_px * len(units)))
    heat = np.pad(heat, ((row_px, 0), (0, 0), (0, 0)), constant_values=255)  # the page writes its title there
    margin = np.full((len(heat), 150, 3), 255, np.uint8)
    for index, unit in enumerate(units):
        plain = unit.encode("ascii", "replace").decode()[:14]  # OpenCV's letters are ASCII
        place = (6, round((index + 1.7) * row_px))
        cv2.putText(margin, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    return np.concatenate([margin, heat], axis=1)


def _coloured(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    grey = (255 * (values - values.min()) / max(float(np.ptp(values)), 1e-9)).astype(np.uint8)
    small = cv2.resize(grey, size, interpolation=cv2.INTER_NEAREST)
    return cv2.cvtColor(cv2.applyColorMap(small, cv2.COLORMAP_MAGMA), cv2.COLOR_BGR2RGB)
