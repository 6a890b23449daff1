"""Published checkpoints: which network a file holds and of what geometry, from its keys and shapes alone.

Files are dicts with `state_dict` (keys may carry `module.`), bare state dicts, TorchScript archives, or
Lightning's. Six networks are known; see `RECORDS` for the published files.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from viseme.core.checkpoint import WeightRecord, read_object, read_published, register
from viseme.core.errors import CheckpointError
from viseme.core.layers.syncnet import SyncNetV2
from viseme.wav2lip.models import (
    S3FD,
    S3FDVGG,
    DiscriminatorConfig,
    ExpertConfig,
    GeneratorConfig,
    QualityDiscriminator,
    SyncExpert,
    Wav2LipGenerator,
)

__all__ = ["KINDS", "RECORDS", "Published", "build_model", "convert_state", "read_checkpoint"]

_PAPER = "Prajwal et al., A Lip Sync Expert Is All You Need for Speech to Lip Generation In The Wild, ACM MM 2020"
_PROJECT = "https://github.com/Rudrabha/Wav2Lip"
_LICENCE = "personal, research and non-commercial use only (trained on LRS2)"


def _wav2lip(name: str, file: str, claims: dict[str, float] | None = None) -> WeightRecord:
    return WeightRecord(
        name=name,
        system="wav2lip",
        source=_PROJECT,
        licence=_LICENCE,
        commercial_ok=False,
        paper=_PAPER,
        file=file,
        trained_on="LRS2 train, main part, about 29 h",
        claims=claims or {},
    )


RECORDS = (
    _wav2lip("wav2lip", "wav2lip.pth", {"LRS2 LSE-D": 6.386, "LRS2 FID": 4.887}),
    _wav2lip("wav2lip_gan", "wav2lip_gan.pth", {"LRS2 LSE-D": 6.469, "LRS2 FID": 4.446}),
    _wav2lip("wav2lip_sd_nogan", "Wav2Lip-SD-NOGAN.pt"),
    _wav2lip("wav2lip_sd_gan", "Wav2Lip-SD-GAN.pt"),
    _wav2lip("lipsync_expert", "lipsync_expert.pth", {"LRS2 off-sync accuracy %": 91}),
    _wav2lip("visual_quality_disc", "visual_quality_disc.pth"),
    WeightRecord(
        name="s3fd",
        system="wav2lip",
        source="https://github.com/1adrianb/face-alignment",
        licence="not stated for the weights (the code around them: BSD-3-Clause)",
        commercial_ok=False,
        paper="Zhang et al., S3FD: Single Shot Scale-invariant Face Detector, ICCV 2017",
        file="s3fd-619a316812.pth",
        size_bytes=89_843_225,
        sha256="619a316812",
        trained_on="WIDER FACE",
    ),
    WeightRecord(
        name="s3fd_vgg",
        system="wav2lip",
        source="https://github.com/joonson/syncnet_python",
        licence="not stated for the weights (the code around them: MIT)",
        commercial_ok=False,
        paper="Zhang et al., S3FD: Single Shot Scale-invariant Face Detector, ICCV 2017",
        file="sfd_face.pth",
        trained_on="WIDER FACE",
    ),
    WeightRecord(
        name="syncnet_v2",
        system="wav2lip",
        source="https://github.com/joonson/syncnet_python",
        licence="not stated for the weights (the code around them: MIT)",
        commercial_ok=False,
        paper="Chung and Zisserman, Out of time: automated lip sync in the wild, ACCV workshops 2016",
        file="syncnet_v2.model",
        trained_on="BBC programmes",
    ),
)
register(RECORDS)


@dataclass(frozen=True)
class Published:
    """What a checkpoint turned out to be.

    Attributes:
        kind: `generator`, `expert`, `discriminator`, `s3fd`, `s3fd_vgg` or `syncnet_v2`.
        config: geometry, as `build_model` takes it.
        state: complete and checked against it.
    """

    kind: str
    config: dict[str, Any]
    state: dict[str, Tensor]

    def build(self) -> nn.Module:
        """The network with these weights."""
        model = build_model(self.kind, self.config)
        model.load_state_dict(self.state)
        return model


def _outputs(state: Mapping[str, Tensor], *layers: str) -> tuple[int, ...]:
    """Output channels of convolutions."""
    try:
        return tuple(int(state[f"{layer}.conv_block.0.weight"].shape[0]) for layer in layers)
    except KeyError as error:
        raise CheckpointError("a weight is missing", got=error.args[0]) from error


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Modules numbered below `prefix`."""
    return len({match[1] for key in state if (match := re.match(re.escape(prefix) + r"\.(\d+)\.", key))})


_PUBLISHED_STAGES = (0, 1, 4, 8, 11)


def _expert(state: Mapping[str, Tensor]) -> dict[str, Any]:
    layers = _count(state, "face_encoder")
    outputs = _outputs(state, *(f"face_encoder.{i}" for i in range(layers - 3)))  # without the tail of three
    stages = [i for i in range(len(outputs)) if i == 0 or outputs[i] != outputs[i - 1]]
    if set(stages) < set(_PUBLISHED_STAGES) and len(outputs) == 14:  # stages of equal width, told by their number
        stages = list(_PUBLISHED_STAGES)
    config = ExpertConfig(
        frames=state["face_encoder.0.conv_block.0.weight"].shape[1] // 3,
        widths=tuple(outputs[i] for i in stages),
        residuals=tuple(end - start - 1 for start, end in zip(stages[1:], [*stages[2:], len(outputs)])),
        audio_widths=_outputs(state, *(f"audio_encoder.{i}" for i in (0, 3, 6, 9, 12))),
    )
    return config.to_dict()


def _generator(state: Mapping[str, Tensor]) -> dict[str, Any]:
    stages = _count(state, "face_encoder_blocks") - 1
    blocks = _count(state, "face_decoder_blocks")
    # Transposed convolutions keep their output channels second.
    decoder = [_outputs(state, "face_decoder_blocks.0.0")[0]]
    decoder += [int(state[f"face_decoder_blocks.{i}.0.conv_block.0.weight"].shape[1]) for i in range(1, blocks)]
    config = GeneratorConfig(
        face_widths=_outputs(state, *(f"face_encoder_blocks.{i}.0" for i in range(stages))),
        face_residuals=tuple(_count(state, f"face_encoder_blocks.{i}") - 1 for i in range(stages)),
        decoder_widths=tuple(decoder),
        decoder_residuals=tuple(_count(state, f"face_decoder_blocks.{i}") - 1 for i in range(blocks)),
        audio_widths=_outputs(state, *(f"audio_encoder.{i}" for i in (0, 3, 6, 9, 11))),
        output_width=_outputs(state, "output_block.0")[0],
    )
    return config.to_dict()


def _discriminator(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return DiscriminatorConfig(
        _outputs(state, *(f"face_encoder_blocks.{i}.0" for i in range(_count(state, "face_encoder_blocks") - 2)))
    ).to_dict()


def _nothing(state: Mapping[str, Tensor]) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class _Kind:
    sign: str  # a key that only this network has
    geometry: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    build: Callable[[dict[str, Any]], nn.Module]


KINDS: dict[str, _Kind] = {
    "generator": _Kind(
        "face_decoder_blocks.0.0.conv_block.0.weight", _generator, lambda c: Wav2LipGenerator(GeneratorConfig(**c))
    ),
    "expert": _Kind("face_encoder.0.conv_block.0.weight", _expert, lambda c: SyncExpert(ExpertConfig(**c))),
    "discriminator": _Kind(
        "binary_pred.0.weight", _discriminator, lambda c: QualityDiscriminator(DiscriminatorConfig(**c))
    ),
    "s3fd": _Kind("conv3_3_norm_mbox_conf.weight", _nothing, lambda c: S3FD()),
    "s3fd_vgg": _Kind("L2Norm3_3.weight", _nothing, lambda c: S3FDVGG()),
    "syncnet_v2": _Kind("netfclip.0.weight", _nothing, lambda c: SyncNetV2()),
}


def build_model(kind: str, config: dict[str, Any]) -> nn.Module:
    """An untrained network of that kind and geometry.

    Raises:
        CheckpointError: no such kind, or a configuration of another version.
    """
    if kind not in KINDS:
        raise CheckpointError("no such network", expected=" or ".join(KINDS), got=kind)
    try:
        return KINDS[kind].build(config)
    except TypeError as error:
        raise CheckpointError("the configuration does not fit this version", got=error) from error


def convert_state(state: Mapping[str, Tensor]) -> Published:
    """What a state dict is.

    Args:
        state: keys may contain `module.`, which is removed wherever it is, as published loaders do.

    Raises:
        CheckpointError: none of Wav2Lip's networks, or one with weights missing, unknown or of another shape (named).
    """
    bare = {key.replace("module.", ""): value for key, value in state.items()}
    kind = next((name for name, known in KINDS.items() if known.sign in bare), None)
    if kind is None:
        raise CheckpointError(
            "these weights are none of Wav2Lip's networks",
            expected=" or ".join(KINDS),
            got="keys " + ", ".join(sorted(bare)[:4]),
        )
    config = KINDS[kind].geometry(bare)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in build_model(kind, config).state_dict().items()}
    # Files from before PyTorch 0.4.1 do not count batches; the count is not used.
    for key in set(shapes) - set(bare):
        if key.endswith("num_batches_tracked"):
            bare[key] = torch.zeros((), dtype=torch.long)
    odd = sorted(set(shapes) ^ set(bare)) or sorted(key for key in shapes if shapes[key] != bare[key].shape)
    if odd:
        raise CheckpointError(
            f"{len(odd)} weights of the {kind} are missing, unknown or of another shape", got=", ".join(odd[:5])
        )
    return Published(kind, config, bare)


def read_checkpoint(path: str | Path) -> Published:
    """What a published file is; it is read without running anything in it, TorchScript archives included.

    Raises:
        CheckpointError: not a checkpoint (a web page, cut short, ...), or of another network; the file is named.
    """
    path = Path(path)
    try:
        if _is_torchscript(path):
            return convert_state(read_published(path, torchscript=True))
        content = read_object(path)
        wrapped = isinstance(content, Mapping) and "state_dict" in content
        return convert_state(read_published(path, unwrap="state_dict" if wrapped else ()))
    except CheckpointError as error:
        if error.path is not None:
            raise
        raise CheckpointError(error.what, path=path, expected=error.expected, got=error.got, hint=error.hint) from error


def _is_torchscript(path: Path) -> bool:
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(re.search(r"(^|/)constants\.pkl$", name) for name in archive.namelist())
