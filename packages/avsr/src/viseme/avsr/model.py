"""Auto-AVSR's networks: video, audio or both in, CTC posteriors and an attention decoder over sub-word units out.

    video (B,T,1,H,W) -> 3-D ResNet-18 -> linear -> conformer ----.
                                                                  +-> fusion MLP -> CTC head, transformer decoder
    audio (B,S,1) ----> 1-D ResNet-18 -> linear -> conformer -----'   (no fusion where there is one modality)

Ma et al., "Auto-AVSR: Audio-Visual Speech Recognition with Automatic Labels" (ICASSP 2023), and the conformer
recogniser before it (arXiv 2102.06657). A unimodal model's state-dict keys are the published ones, current layout;
an audio-visual model holds the same under `video.` and `audio.`.

B clips, T frames at 25 Hz, S samples at 16 kHz, H, W pixels, D channels, L tokens, V units.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from viseme.core.errors import ConfigError
from viseme.core.layers.conformer import AttentionKind, ConformerEncoder
from viseme.core.layers.ctc import CTCHead
from viseme.core.layers.frontends import SAMPLES_PER_FRAME, AudioFrontend, VisualFrontend
from viseme.core.layers.linear import Linear
from viseme.core.layers.masks import padding_mask
from viseme.core.layers.resnet import WIDTHS, Activation, ResNetTrunk
from viseme.core.layers.streaming import CumulativeNorm
from viseme.core.layers.transformer import TransformerDecoder

__all__ = ["AVSRConfig", "AVSRModel", "Encoded", "Modality"]

Modality = Literal["video", "audio", "audiovisual"]
FusionNorm = Literal["batchnorm", "layernorm"]


@dataclass(frozen=True)
class AVSRConfig:
    """All that shapes a recogniser; the defaults are the published 250 M (video), 243 M (audio) and 444 M (both).

    Attributes:
        modality: `video`, `audio` or `audiovisual`.
        vocabulary: V; blank is 0, and the last unit is both sos and eos.
        dim, heads, units, blocks, kernel: of each conformer encoder.
        attention: `relative`; `legacy_relative` in the 2022 model zoo; `absolute` is plain attention.
        decoder_dim, decoder_heads, decoder_units, decoder_blocks: of the transformer decoder.
        dropout: on every branch, embedding and feed-forward.
        attention_dropout: on the encoder's attention weights (the decoder's have `dropout`).
        frontend_widths: channels of the four ResNet stages.
        audio_widths: the same of the audio front-end, where it differs; None: as `frontend_widths`.
        activation: of the ResNet: `swish`, `relu` or `prelu`.
        stem_activation: of the 3-D stem (v1 models: `swish` whatever the trunk has).
        fusion_hidden, fusion_norm: of the MLP that joins the two encoders.
        optional_modalities: an audio-visual model that also reads from one modality alone, with a learned vector in the
            other's place. It should have `fusion_norm` `layernorm`: the running statistics of a batch norm would mix
            clips with and without a modality.
        chunk: frames of a chunk, for a model that reads while it watches (`viseme.avsr.live`): a frame sees its own
            chunk and the `left_chunks` before it, and sound is normalised by what was heard so far. 0: whole clips.
    """

    modality: Modality
    vocabulary: int = 5049
    dim: int = 768
    heads: int = 12
    units: int = 3072
    blocks: int = 12
    kernel: int = 31
    attention: AttentionKind = "relative"
    decoder_dim: int = 768
    decoder_heads: int = 12
    decoder_units: int = 3072
    decoder_blocks: int = 6
    dropout: float = 0.1
    attention_dropout: float = 0.0
    frontend_widths: tuple[int, ...] = WIDTHS
    audio_widths: tuple[int, ...] | None = None
    activation: Activation = "swish"
    stem_activation: Activation = "swish"
    fusion_hidden: int = 8192
    fusion_norm: FusionNorm = "batchnorm"
    optional_modalities: bool = False
    chunk: int = 0
    left_chunks: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "frontend_widths", tuple(self.frontend_widths))  # a list, read from a file
        if self.audio_widths is not None:
            object.__setattr__(self, "audio_widths", tuple(self.audio_widths))
        for name, choices in {
            "modality": get_args(Modality),
            "attention": get_args(AttentionKind),
            "activation": get_args(Activation),
            "stem_activation": get_args(Activation),
            "fusion_norm": get_args(FusionNorm),
        }.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"unknown {name}", expected=" or ".join(choices), got=repr(getattr(self, name)))
        for widths in (self.frontend_widths, self.audio_widths or WIDTHS):
            if len(widths) != len(WIDTHS):
                raise ConfigError("the widths of a front-end must name four stages", got=widths)
        if self.dim % self.heads or self.decoder_dim % self.decoder_heads:
            raise ConfigError(
                "heads must divide the width",
                got=f"{self.dim} / {self.heads}, decoder {self.decoder_dim} / {self.decoder_heads}",
            )
        if self.optional_modalities and (self.modality != "audiovisual" or self.fusion_norm != "layernorm"):
            raise ConfigError(
                "optional_modalities is for audio-visual models whose fusion has a layer norm",
                got=f"modality {self.modality}, fusion_norm {self.fusion_norm}",
            )
        if self.chunk < 0 or self.left_chunks < 0 or (self.chunk and self.attention != "relative"):
            raise ConfigError(
                "chunk and left_chunks must not be negative, and chunks need relative attention",
                got=f"chunk {self.chunk}, left_chunks {self.left_chunks}, attention {self.attention}",
            )

    @property
    def blank(self) -> int:
        return 0

    @property
    def eos(self) -> int:
        """Also the start symbol."""
        return self.vocabulary - 1

    @classmethod
    def preset(cls, name: str, modality: Modality, **changes: Any) -> AVSRConfig:
        """A named geometry with single fields changed.

        `base`: published; `char`: the 2022 model zoo's character models; `small`: trains on a CPU within minutes;
        `tiny`: for tests.
        """
        if name not in PRESETS:
            raise ConfigError("unknown geometry", expected=" or ".join(PRESETS), got=repr(name))
        return cls.from_dict({"modality": modality, **PRESETS[name], **changes})

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> AVSRConfig:
        """The inverse of `to_dict`.

        Raises:
            ConfigError: unknown or missing fields, or values that make no sense.
        """
        if unknown := fields.keys() - {field.name for field in dataclasses.fields(cls)}:
            raise ConfigError("unknown fields in a model's configuration", got=", ".join(sorted(unknown)))
        if "modality" not in fields:
            raise ConfigError("a model's configuration must name its modality")
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a configuration file."""
        plain = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


PRESETS: dict[str, dict[str, Any]] = {
    "base": {},
    "char": {
        "dim": 256,
        "heads": 4,
        "units": 2048,
        "attention": "legacy_relative",
        "decoder_dim": 256,
        "decoder_heads": 4,
        "decoder_units": 2048,
    },
    "small": {
        "dim": 144,
        "heads": 4,
        "units": 576,
        "blocks": 4,
        "kernel": 15,
        "decoder_dim": 144,
        "decoder_heads": 4,
        "decoder_units": 576,
        "decoder_blocks": 2,
        "frontend_widths": (16, 32, 64, 128),
        "fusion_hidden": 576,
        "fusion_norm": "layernorm",
    },
    "tiny": {
        "dim": 32,
        "heads": 2,
        "units": 64,
        "blocks": 2,
        "kernel": 7,
        "decoder_dim": 32,
        "decoder_heads": 2,
        "decoder_units": 64,
        "decoder_blocks": 1,
        "frontend_widths": (4, 8, 8, 16),
        "fusion_hidden": 64,
        "fusion_norm": "layernorm",
    },
}


class Encoded(NamedTuple):
    """What the decoder and the CTC head read.

    Attributes:
        memory: (B, T, D) features.
        lengths: (B,) frames of each clip.
        mask: (B, 1, T) bool, True on a clip's own frames; None where no lengths were given.
    """

    memory: Tensor
    lengths: Tensor
    mask: Tensor | None


class Branch(nn.Module):
    """Front-end, projection and conformer of one modality."""

    def __init__(self, config: AVSRConfig, modality: Literal["video", "audio"]) -> None:
        super().__init__()
        self.frontend: VisualFrontend | AudioFrontend
        if modality == "video":
            self.frontend = VisualFrontend(config.activation, config.stem_activation, config.frontend_widths)
        else:
            self.frontend = AudioFrontend(config.activation, config.audio_widths or config.frontend_widths)
        self.cumulative = CumulativeNorm() if config.chunk and modality == "audio" else None
        self.proj_encoder = Linear(self.frontend.features, config.dim)
        self.encoder = ConformerEncoder(
            config.dim,
            config.heads,
            config.units,
            config.blocks,
            config.kernel,
            config.dropout,
            config.attention_dropout,
            config.attention,
            config.chunk,
            config.left_chunks,
        )


class Fusion(nn.Module):
    """The MLP over both encoders' outputs, video first (paper, section 2.2).

    Args:
        dim: D of each encoder and of the result.
        hidden: width between.
        norm: `batchnorm` over clips and frames (published), or `layernorm`.
    """

    def __init__(self, dim: int, hidden: int, norm: FusionNorm) -> None:
        super().__init__()
        self.fc1 = Linear(2 * dim, hidden)
        if norm == "batchnorm":
            self.bn1 = nn.BatchNorm1d(hidden)
        else:
            self.norm1 = nn.LayerNorm(hidden)
        self.fc2 = Linear(hidden, dim)

    def forward(self, video_BTD: Tensor, audio_BTD: Tensor) -> Tensor:
        """Two (B, T, D) -> (B, T, D)."""
        hidden: Tensor = self.fc1(torch.cat((video_BTD, audio_BTD), dim=-1))
        hidden = self.bn1(hidden.transpose(1, 2)).transpose(1, 2) if hasattr(self, "bn1") else self.norm1(hidden)
        fused: Tensor = self.fc2(hidden.relu())
        return fused


def _encode_branch(branch: Branch | AVSRModel, x: Tensor, frames_B: Tensor | None) -> Encoded:
    if branch.cumulative is not None:
        x, _ = branch.cumulative(x[:, : x.shape[1] // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME])
    features = branch.frontend(x)
    batch, frames = features.shape[:2]
    mask = None
    if frames_B is None:
        frames_B = torch.full((batch,), frames, device=x.device)
    else:
        mask = padding_mask(frames_B, frames)
    return Encoded(branch.encoder(branch.proj_encoder(features), mask), frames_B, mask)


class AVSRModel(nn.Module):
    """A recogniser of one configuration; see the picture at the top of this module.

    Attributes:
        config: its configuration.
        decoder: full scorer of the beam search, and teacher-forced decoder of training.
        ctc: the CTC head.
    """

    def __init__(self, config: AVSRConfig) -> None:
        super().__init__()
        self.config = config
        if config.modality == "audiovisual":
            self.video = Branch(config, "video")
            self.audio = Branch(config, "audio")
            self.fusion = Fusion(config.dim, config.fusion_hidden, config.fusion_norm)
            if config.optional_modalities:
                self.absent_video = nn.Parameter(torch.zeros(config.dim))
                self.absent_audio = nn.Parameter(torch.zeros(config.dim))
        else:
            branch = Branch(config, config.modality)
            self.frontend, self.proj_encoder, self.encoder = branch.frontend, branch.proj_encoder, branch.encoder
            self.cumulative = branch.cumulative
        self.decoder = TransformerDecoder(
            config.vocabulary,
            config.decoder_dim,
            config.decoder_heads,
            config.decoder_units,
            config.decoder_blocks,
            config.dropout,
            memory_dim=config.dim,
        )
        self.ctc = CTCHead(config.dim, config.vocabulary, config.dropout)

    def set_speed(
        self, *, compile: bool = False, channels_last: bool | None = None, activation_checkpointing: bool = False
    ) -> None:
        """How training is computed; what is learnt stays the same.

        Args:
            compile: the training pass goes through `torch.compile`, with any number of frames.
            channels_last: memory layout of the visual trunk; None: the faster one for device and mode.
            activation_checkpointing: activations are computed again in the backward pass: less memory, more time.
        """
        for module in self.modules():
            if isinstance(module, (ConformerEncoder, ResNetTrunk, TransformerDecoder)):
                module.recompute = activation_checkpointing
            elif isinstance(module, VisualFrontend):
                module.channels_last = channels_last
        if compile:
            self.compile()

    def encode(
        self,
        video: Tensor | None = None,
        audio: Tensor | None = None,
        *,
        video_lengths_B: Tensor | None = None,
        audio_lengths_B: Tensor | None = None,
        use_video_B: Tensor | None = None,
        use_audio_B: Tensor | None = None,
    ) -> Encoded:
        """Read clips, padded to one length with zeros.

        A clip inside a padded batch gets other values than alone: convolutions and batch norms see the padding, as in
        the published models. For answers that do not depend on company, read one clip at a time without lengths.

        Args:
            video: (B, T, 1, H, W) normalised grey mouth crops at 25 fps.
            audio: (B, S, 1) normalised samples at 16 kHz; what is over a multiple of 640 is cut off.
            video_lengths_B: (B,) frames of each clip; None: no padding.
            audio_lengths_B: (B,) samples of each clip; None: no padding.
            use_video_B, use_audio_B: (B,) bool, False where a clip is to be read as if that modality were missing
                (modality dropout); None: all are used. Only with `optional_modalities`.

        Returns:
            `Encoded`; with both modalities, lengths and mask are the video's.

        Raises:
            ConfigError: a modality that the model has no branch for, or one missing that it cannot do without.
            ValueError: video and audio of different numbers of frames.
        """
        self._check_modalities(video is not None, audio is not None)
        if (use_video_B is not None or use_audio_B is not None) and not self.config.optional_modalities:
            raise ConfigError("this model cannot leave a modality out: it has no optional_modalities")
        audio_frames_B = None if audio_lengths_B is None else audio_lengths_B // SAMPLES_PER_FRAME
        if self.config.modality != "audiovisual":
            if video is not None:
                return _encode_branch(self, video, video_lengths_B)
            assert audio is not None
            return _encode_branch(self, audio, audio_frames_B)

        seen = None if video is None else _encode_branch(self.video, video, video_lengths_B)
        heard = None if audio is None else _encode_branch(self.audio, audio, audio_frames_B)
        leader = seen or heard
        assert leader is not None
        if seen and heard and seen.memory.shape[1] != heard.memory.shape[1]:
            raise ValueError(
                f"{seen.memory.shape[1]} video frames but {heard.memory.shape[1]} frames of audio "
                f"({SAMPLES_PER_FRAME} samples each): cut or pad one of them"
            )
        video_BTD = self._or_absent("video", seen, use_video_B, leader)
        audio_BTD = self._or_absent("audio", heard, use_audio_B, leader)
        return leader._replace(memory=self.fusion(video_BTD, audio_BTD))

    def _check_modalities(self, video: bool, audio: bool) -> None:
        given = {name for name, there in (("video", video), ("audio", audio)) if there}
        known = {"video", "audio"} if self.config.modality == "audiovisual" else {self.config.modality}
        if given - known or not given or (given != known and not self.config.optional_modalities):
            either = "and/or" if self.config.optional_modalities else "and"
            raise ConfigError(
                "input does not fit the model",
                expected=f" {either} ".join(sorted(known)),
                got=" and ".join(sorted(given)) or "nothing",
                hint="A model with optional_modalities reads from either alone." if given and known - given else None,
            )

    def _or_absent(
        self, modality: Literal["video", "audio"], encoded: Encoded | None, use_B: Tensor | None, leader: Encoded
    ) -> Tensor:
        """A branch's output, with the learned vector where the modality is missing or left out."""
        if encoded is not None and use_B is None:
            return encoded.memory
        absent_D = self.absent_video if modality == "video" else self.absent_audio
        absent_BTD = absent_D.to(leader.memory.dtype).expand_as(leader.memory)
        if encoded is None:
            return absent_BTD
        assert use_B is not None
        return torch.where(use_B[:, None, None], encoded.memory, absent_BTD)

    def encode_every_way(
        self,
        video: Tensor,
        audio: Tensor,
        *,
        video_lengths_B: Tensor | None = None,
        audio_lengths_B: Tensor | None = None,
    ) -> Encoded:
        """Read clips from video alone, from audio alone, and from both, computing each branch once.

        Args: as `encode`, for a model with `optional_modalities`.

        Returns:
            `Encoded` of 3B clips: all from video, then all from audio, then all from both.

        Raises:
            ConfigError: the model cannot leave a modality out.
        """
        if not self.config.optional_modalities:
            raise ConfigError("this model cannot leave a modality out: it has no optional_modalities")
        seen = _encode_branch(self.video, video, video_lengths_B)
        audio_frames_B = None if audio_lengths_B is None else audio_lengths_B // SAMPLES_PER_FRAME
        heard = _encode_branch(self.audio, audio, audio_frames_B)
        no_video = self.absent_video.to(seen.memory.dtype).expand_as(seen.memory)
        no_audio = self.absent_audio.to(seen.memory.dtype).expand_as(seen.memory)
        memory = self.fusion(
            torch.cat((seen.memory, no_video, seen.memory)), torch.cat((no_audio, heard.memory, heard.memory))
        )
        mask = None if seen.mask is None else seen.mask.repeat(3, 1, 1)
        return Encoded(memory, seen.lengths.repeat(3), mask)

    def encode_with_ctc(self, video: Tensor | None = None, audio: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encoder output (B, T, D) and CTC log-posteriors (B, T, V); arguments as `encode`, no padding."""
        memory_BTD = self.encode(video, audio).memory
        return memory_BTD, self.ctc(memory_BTD)

    def frontend_features(self, video: Tensor | None = None, audio: Tensor | None = None) -> dict[str, Tensor]:
        """What the ResNets see and hear, (B, T, F) by modality; arguments as `encode`, no padding."""
        self._check_modalities(video is not None, audio is not None)
        both = self.config.modality == "audiovisual"
        found: dict[str, Tensor] = {}
        if video is not None:
            found["video"] = (self.video if both else self).frontend(video)
        if audio is not None:
            found["audio"] = (self.audio if both else self).frontend(audio)
        return found

    def forward(self, tokens_BL: Tensor, *, every_way: bool = False, **inputs: Tensor | None) -> tuple[Encoded, Tensor]:
        """Encode, and decode teacher-forced: what training needs, in one call (so that DDP and `compile` see it).

        Args:
            tokens_BL: (B, L) sos and labels, padded with eos.
            every_way: `encode_every_way` instead of `encode`: B becomes 3B below.
            inputs: as `encode`.

        Returns:
            What was encoded, and the decoder's output before `decoder.output_layer` (B, L, D). Losses apply that
            layer and `ctc.ctc_lo` themselves, fused.
        """
        if every_way:
            encoded = self.encode_every_way(**inputs)  # type: ignore[arg-type]
            tokens_BL = tokens_BL.repeat(3, 1)
        else:
            encoded = self.encode(**inputs)
        return encoded, self.decoder.hidden(tokens_BL, encoded.memory, encoded.mask)
