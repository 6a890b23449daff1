"""Recognisers for other runtimes: ONNX and `torch.export`, any number of frames, decoder steps with a cache.

    encoder_<modality>: video (1,T,1,H,W) and/or audio (1,S,1)       -> memory (1,T,D), logp (1,T,V)
    decoder_memory:     memory (1,T,D)                               -> cross (N,2,1,H,T,K)
    decoder_step:       tokens (R,), past (N,2,R,H,L,K), cross       -> logp (R,V), present (N,2,R,H,L+1,K)

One clip at a time, R hypotheses of it. L tokens so far, N decoder layers, H heads, K channels of a head, V units.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viseme.avsr.model import AVSRModel, Modality
from viseme.avsr.pipeline import AVSR
from viseme.core.checkpoint import save_model_dir
from viseme.core.errors import ConfigError, DependencyError
from viseme.core.layers.attention import MultiHeadAttention, merge_heads, split_heads
from viseme.core.layers.positions import sinusoids
from viseme.core.layers.transformer import TransformerDecoder

__all__ = ["DecoderMemory", "DecoderStep", "Encoder", "Format", "export"]

Format = Literal["onnx", "torch"]
PACKAGE = "avsr-export"
SUFFIX = {"onnx": "onnx", "torch": "pt2"}


class Encoder(nn.Module):
    """Front-ends, encoders, fusion and CTC head of one clip."""

    def __init__(self, model: AVSRModel, modality: Modality) -> None:
        super().__init__()
        self.model, self.modality = model, modality

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        names = ("video", "audio") if self.modality == "audiovisual" else (self.modality,)
        memory = self.model.encode(**dict(zip(names, inputs, strict=True))).memory
        return memory, self.model.ctc(memory)


class DecoderMemory(nn.Module):
    """Keys and values of the cross-attention, made once for a clip."""

    def __init__(self, decoder: TransformerDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, memory_1TD: Tensor) -> Tensor:
        """(1, T, D) -> (N, 2, 1, H, T, K)."""
        if self.decoder.proj_decoder is not None:
            memory_1TD = self.decoder.proj_decoder(memory_1TD)
        pairs = [block.src_attn.keys_values(memory_1TD, memory_1TD) for block in self.decoder.blocks()]
        return torch.stack([torch.stack(pair) for pair in pairs])


class DecoderStep(nn.Module):
    """The newest token of every hypothesis, given what is kept of the ones before."""

    def __init__(self, decoder: TransformerDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens_R: Tensor, past: Tensor, cross: Tensor) -> tuple[Tensor, Tensor]:
        """(R,), (N, 2, R, H, L, K), (N, 2, 1, H, T, K) -> (R, V), (N, 2, R, H, L+1, K)."""
        decoder = self.decoder
        embedding, positions = decoder.embed
        # The position is the length of what is kept. Not from a table: no length is too long.
        position_1 = torch.full((1,), 0, dtype=torch.float32) + past.shape[4]
        x_R1D = positions.scaled(embedding(tokens_R[:, None])) + sinusoids(position_1, decoder.dim)
        rows, present = past.shape[2], []
        for layer, block in enumerate(decoder.blocks()):
            h_R1D = block.norm1(x_R1D)
            key, value = block.self_attn.keys_values(h_R1D, h_R1D)
            keys = torch.cat((past[layer, 0], key), dim=2)
            values = torch.cat((past[layer, 1], value), dim=2)
            present.append(torch.stack((keys, values)))
            x_R1D = x_R1D + _attend(block.self_attn, h_R1D, keys, values)
            there = cross[layer].expand(-1, rows, -1, -1, -1)
            x_R1D = x_R1D + _attend(block.src_attn, block.norm2(x_R1D), there[0], there[1])
            x_R1D = x_R1D + block.feed_forward(block.norm3(x_R1D))
        logits_RV = decoder.output_layer(decoder.after_norm(x_R1D[:, 0]))
        return logits_RV.log_softmax(-1), torch.stack(present)


def _attend(attention: MultiHeadAttention, query_R1D: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    query = split_heads(attention.linear_q(query_R1D), attention.heads)
    out: Tensor = attention.linear_out(merge_heads(F.scaled_dot_product_attention(query, keys, values)))
    return out


def export(recogniser: AVSR, directory: str | Path, *, format: Format = "onnx", int8: bool = False) -> Path:
    """Write a recogniser as a directory that `AVSR.from_pretrained` reads too (ONNX, through onnxruntime).

    Args:
        recogniser: what to export; its language model, if any, is not.
        directory: to write; units, decode settings and card come along.
        format: `onnx`, or `torch` (`torch.export` archives, `.pt2`).
        int8: linear layers with 8-bit weights, activations quantised as they come (ONNX only).

    Raises:
        ConfigError: int8 with another format.
        DependencyError: onnx or onnxscript is not installed.
    """
    if int8 and format != "onnx":
        raise ConfigError("int8 is for ONNX", got=f"--format {format}")
    recogniser.model.to("cpu").eval()
    config = {
        "package": PACKAGE,
        "format": format,
        "int8": int8,
        "model": recogniser.model.config.to_dict(),
        "input": asdict(recogniser.inputs),
        "search": {**asdict(recogniser.search), "lm_weight": 0.0},
        "domain": recogniser.domain,
    }
    graphs = list(_graphs(recogniser))

    def write(folder: Path) -> None:
        for name, module, inputs, dynamic, names in graphs:
            path = folder / f"{name}.{SUFFIX[format]}"
            with torch.no_grad(), _quiet():
                if format == "onnx":
                    _onnx(module, inputs, dynamic, names, path, int8=int8)
                else:
                    torch.export.save(torch.export.export(module, inputs, dynamic_shapes=dynamic), path)

    card = f"# Exported recogniser\n\nFormat: {format}{', int8' if int8 else ''}.\n"
    if recogniser.record:
        card += f"Weights: {recogniser.record}; their licence goes with them.\n"
    return save_model_dir(
        directory, config, {}, writers=[lambda folder: recogniser.tokenizer.save(folder), write], card=card
    )


Graph = tuple[str, nn.Module, tuple[Tensor, ...], Any, tuple[list[str], list[str]]]


def _graphs(recogniser: AVSR) -> Iterator[Graph]:
    """Name, module, example inputs, dynamic axes, and the names of inputs and outputs of every graph."""
    model, inputs = recogniser.model, recogniser.inputs
    frames = torch.export.Dim("frames", min=2, max=100_000)
    examples = {
        "video": torch.randn(1, 12, 1, inputs.crop_size, inputs.crop_size),
        "audio": torch.randn(1, 12 * 640, 1),
    }
    axes = {"video": {1: frames}, "audio": {1: 640 * frames}}
    for modality in recogniser.modalities:
        given = ["video", "audio"] if modality == "audiovisual" else [modality]
        yield (
            f"encoder_{modality}",
            Encoder(model, modality),
            tuple(examples[name] for name in given),
            (tuple(axes[name] for name in given),),
            (given, ["memory", "logp"]),
        )
    config = model.config
    heads, channels = config.decoder_heads, config.decoder_dim // config.decoder_heads
    memory = torch.randn(1, 12, config.dim)
    yield "decoder_memory", DecoderMemory(model.decoder), (memory,), ({1: frames},), (["memory"], ["cross"])
    rows = torch.export.Dim("rows", min=1, max=100_000)
    tokens = torch.export.Dim("tokens", min=0, max=100_000)
    past = torch.randn(config.decoder_blocks, 2, 3, heads, 5, channels)
    cross = torch.randn(config.decoder_blocks, 2, 1, heads, 12, channels)
    yield (
        "decoder_step",
        DecoderStep(model.decoder),
        (torch.zeros(3, dtype=torch.long), past, cross),
        ({0: rows}, {2: rows, 4: tokens}, {4: frames}),
        (["tokens", "past", "cross"], ["logp", "present"]),
    )


def _onnx(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    dynamic: Any,
    names: tuple[list[str], list[str]],
    path: Path,
    *,
    int8: bool,
) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "exporting to ONNX needs onnx and onnxscript", hint="pip install 'viseme-core[export]'"
        ) from error
    program = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        dynamic_shapes=dynamic,
        input_names=names[0],
        output_names=names[1],
        optimize=True,
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)
    if int8:
        _quantise(path)


def _quantise(path: Path) -> None:
    """Linear layers to 8 bits, in place.

    Not the convolutions: with activations quantised as they come they are slow on CPUs, and the front-ends' few weights
    are not where the size is.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(path)
    del graph.graph.value_info[:]  # the exporter's notes on shapes inside contradict what quantisation inserts
    onnx.save(graph, path)
    quantize_dynamic(path, path, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter prints about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "root")]
    kept = [(logger, logger.level) for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger, _ in kept:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in kept:
                logger.setLevel(level)
