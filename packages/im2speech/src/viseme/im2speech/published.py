"""Published files as ours: key maps, geometry from shapes, records of what is known of each file.

Files are read without running anything in them. Two of them are pickled objects rather than weights (the k-means model
and the image tokenizer); their classes are replaced by inert holders, out of which the arrays are taken.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from viseme.core.checkpoint import WeightRecord, read_object, register
from viseme.core.checkpoint.reading import Inert
from viseme.core.errors import CheckpointError
from viseme.core.layers.hifigan import merge_weight_norm
from viseme.im2speech.model import TIED, CaptionerConfig
from viseme.im2speech.vitvq import count_layers

__all__ = [
    "RECORDS",
    "PublishedCaptioner",
    "convert_captioner",
    "convert_hubert",
    "convert_vitvq",
    "convert_vocoder",
    "read_kmeans",
    "read_module",
    "read_tokenizer",
    "read_unit_file",
]

HEAD_DIM = 64
_PAPER = "Kim et al., Towards Practical and Efficient Image-to-Speech Captioning, ICASSP 2024 (arXiv 2309.08531)"
_NO_LICENCE = "none stated (the repository carries no licence)"


@dataclass(frozen=True, eq=False)
class PublishedCaptioner:
    """A captioner's geometry and weights under our names."""

    config: CaptionerConfig
    state: dict[str, Tensor]


def _shape(state: Mapping[str, Tensor], key: str) -> torch.Size:
    if key not in state:
        raise CheckpointError("not a published captioner", expected=key, got=", ".join(list(state)[:3]))
    return state[key].shape


def convert_captioner(state: Mapping[str, Tensor], codebook: Tensor | None = None) -> PublishedCaptioner:
    """The published captioner of pixels or of image codes, whichever the keys are.

    Args:
        state: the checkpoint's `state_dict`.
        codebook: (K, Q) of `codebook.ckpt`; the captioner of codes needs it, as its checkpoint does not hold it.

    Raises:
        CheckpointError: unknown or missing keys, or no codebook where one is needed.
    """
    clean = {key: value for key, value in state.items() if not key.endswith("position_ids")}
    vision = "model.git.image_encoder.vision_model."
    vocabulary, dim = _shape(clean, "model.output.weight")
    if TIED in clean and not torch.equal(clean[TIED], clean["model.output.weight"]):
        raise CheckpointError("embedding and head differ", expected="one tied matrix")
    common: dict[str, Any] = {
        "units": vocabulary - 3,
        "numbering": "published",
        "dim": dim,
        "layers": count_layers(clean, "model.git.encoder.layer."),
        "heads": dim // HEAD_DIM,
        "mlp_dim": _shape(clean, "model.git.encoder.layer.0.intermediate.dense.weight")[0],
        "max_tokens": _shape(clean, "model.git.embeddings.position_embeddings.weight")[0],
    }
    if vision + "cls_token" not in clean:
        width, _, patch, _ = _shape(clean, vision + "embeddings.patch_embedding.weight")
        positions = _shape(clean, vision + "embeddings.position_embedding.weight")[0]
        config = CaptionerConfig(
            "pixels",
            image_size=round((positions - 1) ** 0.5) * patch,
            patch_size=patch,
            vision_dim=width,
            vision_layers=count_layers(clean, vision + "encoder.layers."),
            vision_heads=width // HEAD_DIM,
            vision_mlp_dim=_shape(clean, vision + "encoder.layers.0.mlp.fc1.weight")[0],
            **common,
        )
        return PublishedCaptioner(config, clean)
    if codebook is None:
        raise CheckpointError(
            "a captioner of image codes needs its codebook", hint="Give codebook.ckpt of the SeiT release (--codebook)."
        )
    clean = {key: value for key, value in clean.items() if key.startswith("model.")} | tokenizer_state(
        {key: value for key, value in clean.items() if not key.startswith("model.")}
    )
    width = _shape(clean, vision + "cls_token")[2]
    tokenizer_dim, _, patch, _ = _shape(clean, "tokenizer.0.to_patch_embedding.0.weight")
    side = round(_shape(clean, "tokenizer.0.en_pos_embedding")[1] ** 0.5)
    classes = clean[vision + "head.weight"].shape[0] if vision + "head.weight" in clean else 0
    if codebook.ndim != 2 or codebook.shape[1] != clean["tokenizer.1.weight"].shape[0]:
        raise CheckpointError(
            "the codebook does not fit the tokenizer",
            expected=f"(codes, {clean['tokenizer.1.weight'].shape[0]})",
            got=tuple(codebook.shape),
        )
    config = CaptionerConfig(
        "codes",
        image_size=side * patch,
        vision_dim=width,
        vision_layers=count_layers(clean, vision + "blocks."),
        vision_heads=width // HEAD_DIM,
        vision_mlp_dim=_shape(clean, vision + "blocks.0.mlp.fc1.weight")[0],
        codes=codebook.shape[0],
        code_dim=codebook.shape[1],
        code_crop=2 * round((_shape(clean, vision + "pos_embed")[1] - 1) ** 0.5),
        classes=classes,
        tokenizer_dim=tokenizer_dim,
        tokenizer_layers=count_layers(clean, "tokenizer.0.transformer.layers."),
        tokenizer_mlp_dim=_shape(clean, "tokenizer.0.transformer.layers.0.1.fn.net.0.weight")[0],
        tokenizer_patch=patch,
        **common,
    )
    return PublishedCaptioner(config, {**clean, "codebook": codebook.float()})


def tokenizer_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tokenizer's entries under our names, recognised by how their keys end: its published prefix is not
    certain.

    Raises:
        CheckpointError: no encoder, or no projection to codes.
    """
    marks = [key.removesuffix("en_pos_embedding") for key in state if key.endswith("en_pos_embedding")]
    if len(marks) != 1:
        raise CheckpointError("no image tokenizer", expected="one key that ends in en_pos_embedding", got=len(marks))
    (prefix,) = marks
    encoder = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    rest = {key: value for key, value in state.items() if not key.startswith(prefix) or not prefix}
    width = state[prefix + "en_pos_embedding"].shape[2]
    inner = ("en_pos_embedding", "to_patch_embedding.", "transformer.")
    encoder = {key: value for key, value in encoder.items() if key.startswith(inner)}
    heads = [
        key for key, value in rest.items() if key.endswith("weight") and value.ndim == 2 and value.shape[1] == width
    ]
    heads = [key for key in heads if not key.startswith(inner)]
    if len(heads) != 1:
        raise CheckpointError("no projection to codes in the tokenizer", expected=f"one (codes, {width}) matrix")
    name = heads[0].removesuffix("weight")
    found = {f"tokenizer.0.{key}": value for key, value in encoder.items()}
    return {**found, "tokenizer.1.weight": rest[name + "weight"], "tokenizer.1.bias": rest[name + "bias"]}


# ---------------------------------------------------------------------------------------------------------- HuBERT

_HUBERT_KEYS = (
    (r"mask_emb", "masked_spec_embed"),
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.weight", r"feature_extractor.conv_layers.\1.conv.weight"),
    (r"feature_extractor\.conv_layers\.0\.2\.(weight|bias)", r"feature_extractor.conv_layers.0.layer_norm.\1"),
    (r"layer_norm\.(weight|bias)", r"feature_projection.layer_norm.\1"),
    (r"post_extract_proj\.(weight|bias)", r"feature_projection.projection.\1"),
    (r"encoder\.pos_conv\.0\.bias", "encoder.pos_conv_embed.conv.bias"),
    (r"encoder\.pos_conv\.0\.weight_g", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"encoder\.pos_conv\.0\.weight_v", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"encoder\.layer_norm\.(weight|bias)", r"encoder.layer_norm.\1"),
    (r"encoder\.layers\.(\d+)\.self_attn\.([qkv]|out)_proj\.(\w+)", r"encoder.layers.\1.attention.\2_proj.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.(\w+)", r"encoder.layers.\1.layer_norm.\2"),
    (r"encoder\.layers\.(\d+)\.fc1\.(\w+)", r"encoder.layers.\1.feed_forward.intermediate_dense.\2"),
    (r"encoder\.layers\.(\d+)\.fc2\.(\w+)", r"encoder.layers.\1.feed_forward.output_dense.\2"),
    (r"encoder\.layers\.(\d+)\.final_layer_norm\.(\w+)", r"encoder.layers.\1.final_layer_norm.\2"),
)
_HUBERT_DROPPED = re.compile(r"final_proj\..*|label_embs_concat")


def convert_hubert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """fairseq's HuBERT Base weights (`["model"]`) under transformers' names; the pre-training head is dropped.

    Raises:
        CheckpointError: a key of another network.
    """
    renamed = {}
    for key, value in state.items():
        if _HUBERT_DROPPED.fullmatch(key):
            continue
        for pattern, name in _HUBERT_KEYS:
            if match := re.fullmatch(pattern, key):
                renamed[match.expand(name)] = value
                break
        else:
            raise CheckpointError("not a HuBERT Base of fairseq", got=f"the key {key}")
    return renamed


# --------------------------------------------------------------------------------------- vocoder, autoencoder, units


def convert_vocoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published unit vocoder's weights (`["generator"]`), its weight normalisation merged."""
    if "conv_pre.weight_g" not in state and "conv_pre.weight" not in state:
        raise CheckpointError("not a HiFi-GAN generator", expected="conv_pre", got=", ".join(list(state)[:3]))
    return merge_weight_norm(state)


def convert_vitvq(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published autoencoder's weights without the networks of its training losses."""
    return {key: value for key, value in state.items() if not key.startswith("loss.")}


def read_unit_file(path: str | Path) -> list[int]:
    """A published `.unit` file: `torch.save` of an integer array, or numbers between blanks.

    Raises:
        CheckpointError: neither; nothing in the file is run.
    """
    path = Path(path)
    try:
        text = path.read_bytes()[:1_000_000]
    except OSError as error:
        raise CheckpointError("not a readable file of units", path=path, got=str(error)) from error
    if re.fullmatch(rb"[\s\d-]*", text):
        return [int(word) for word in text.split()]
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    arrays = [(multiarray._reconstruct, f"numpy.{name}.multiarray._reconstruct") for name in ("core", "_core")]
    kinds = [np.dtype, np.ndarray, *(type(np.dtype(kind)) for kind in ("i8", "i4", "i2", "u2"))]
    with torch.serialization.safe_globals([*arrays, *kinds]):
        found = read_object(path)
    values = np.asarray(found)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise CheckpointError("not a list of units", path=path, got=f"{values.dtype} of shape {values.shape}")
    return [int(value) for value in values]


def read_tokenizer(path: str | Path) -> dict[str, Tensor]:
    """The image tokenizer's weights (`tokenizer.0.*`, `tokenizer.1.*`) out of the pickled module that is published.

    Raises:
        CheckpointError: damaged, or no tokenizer in it; nothing in the file is run.
    """
    found = dict(_tensors(read_module(path), ""))
    return tokenizer_state(found)


def read_module(path: str | Path) -> Any:
    """A pickled module, every class that it names replaced by an inert holder of its data.

    Raises:
        CheckpointError: no such file, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError("no such file", path=path)
    try:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError("not a readable checkpoint", path=path, got=" ".join(str(error).split())[:200]) from error
    return read_object(path, inert=unknown)


def _tensors(node: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor below a holder of a pickled module, under the name that a state dict would give it."""
    if isinstance(node, Tensor):
        yield path.removesuffix("."), node
    elif isinstance(node, Inert):
        own = vars(node)  # an object that was made without a call has neither arguments nor, perhaps, a state
        held = own.get("state") if isinstance(own.get("state"), Mapping) else {}
        for group in ("_parameters", "_buffers", "_modules"):
            yield from _tensors(held.get(group) or {}, path)
        for number, value in enumerate(own.get("args", ())):
            yield from _tensors(value, f"{path}{number}.")
    elif isinstance(node, Mapping):
        for name, value in node.items():
            yield from _tensors(value, f"{path}{name}.")
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from _tensors(value, f"{path}{number}.")


class _Wrapper(Inert):
    """joblib's note that the bytes of an array follow in the stream."""


class _ArraysOnly(pickle._Unpickler):  # type: ignore[name-defined]
    """Reads a joblib pickle: arrays as arrays, every other object as an inert holder of its data."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.stream = stream

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "dtype"), ("numpy", "ndarray")):
            return getattr(np, name)
        if name == "NumpyArrayWrapper":
            return _Wrapper
        return type(name, (Inert,), {})

    def load_build(self) -> None:
        super().load_build()  # type: ignore[misc]
        if isinstance(self.stack[-1], _Wrapper):
            self.stack[-1] = self._array(self.stack[-1])

    dispatch[pickle.BUILD[0]] = load_build

    def _array(self, wrapper: _Wrapper) -> np.ndarray:
        kind = np.dtype(wrapper.dtype)
        if kind.hasobject:
            raise CheckpointError("refused: the file holds an array of objects")
        if (wrapper.state or {}).get("numpy_array_alignment_bytes") is not None:  # type: ignore[attr-defined]
            self.stream.read(self.stream.read(1)[0])
        count = int(np.prod(wrapper.shape, dtype=np.int64))
        values = np.frombuffer(self.stream.read(count * kind.itemsize), kind).copy()
        if wrapper.order == "F":
            return values.reshape(wrapper.shape[::-1]).T
        return values.reshape(wrapper.shape)


def read_kmeans(path: str | Path) -> np.ndarray:
    """The centres (K, D) of a published k-means model: joblib's pickle of scikit-learn's, or a plain array (`.npy`).

    Raises:
        CheckpointError: no such file, damaged, or no centres in it; nothing in the file is run.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError("no such file", path=path)
    try:
        with path.open("rb") as stream:
            if stream.peek(6)[:6] == b"\x93NUMPY":
                centres = np.load(stream, allow_pickle=False)
            else:
                centres = _ArraysOnly(stream).load().cluster_centers_
    except CheckpointError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way at all
        raise CheckpointError("not a k-means model", path=path, got=" ".join(str(error).split())[:200]) from error
    if not isinstance(centres, np.ndarray) or centres.ndim != 2:
        raise CheckpointError("a k-means model without centres", path=path)
    return centres.astype(np.float32)


# --------------------------------------------------------------------------------------------------------- records

RECORDS = (
    WeightRecord(
        "im_sp",
        "im2speech",
        "https://drive.google.com/file/d/10D5mWP0fCTZsb0yvxz0G-SevjwH0QkTh",
        _NO_LICENCE,
        False,
        _PAPER,
        file="Im_to_Speech_Pretrained.ckpt",
        trained_on="SpokenCOCO and Flickr8k Audio, from microsoft/git-large-coco",
        claims={"BLEU-4 COCO": 25.9, "BLEU-4 Flickr8k": 20.6},
    ),
    WeightRecord(
        "im_unit",
        "im2speech",
        "https://drive.google.com/file/d/107OPU-W66jCWux430AL4hCVGmmULYYpY",
        _NO_LICENCE,
        False,
        _PAPER,
        file="Im_unit_to_Speech_Pretrained.ckpt",
        trained_on="SpokenCOCO and Flickr8k Audio",
        claims={"BLEU-4 COCO": 20.1, "BLEU-4 Flickr8k": 16.7},
    ),
    WeightRecord(
        "unit_hifigan_200",
        "im2speech",
        "https://drive.google.com/file/d/15MVGWCfvt_ZjQwBR4sizQKFMb5NPQ3Qy",
        _NO_LICENCE,
        False,
        "Polyak et al., Speech Resynthesis from Discrete Disentangled Representations, Interspeech 2021",
        file="g_00950000",
    ),
    WeightRecord(
        "hubert_base_ls960",
        "im2speech",
        "https://dl.fbaipublicfiles.com/hubert/hubert_base_ls960.pt",
        "MIT (fairseq)",
        True,
        "Hsu et al., HuBERT, IEEE/ACM TASLP 2021",
        file="hubert_base_ls960.pt",
        trained_on="LibriSpeech, 960 h",
    ),
    WeightRecord(
        "hubert_km200",
        "im2speech",
        "https://dl.fbaipublicfiles.com/textless_nlp/gslm/hubert/km200/km.bin",
        "MIT (fairseq)",
        True,
        "Lakhotia et al., On Generative Spoken Language Modeling from Raw Audio, TACL 2021",
        file="km.bin",
    ),
    WeightRecord(
        "seit_tokenizer",
        "im2speech",
        "https://github.com/naver-ai/seit",
        "Apache-2.0 (the SeiT++ part CC BY-NC 4.0)",
        False,
        "Park et al., SeiT: Storage-Efficient Vision Training with Tokens, ICCV 2023",
        file="tokenizer.ckpt, codebook.ckpt",
    ),
    WeightRecord(
        "vitvqgan_base",
        "im2speech",
        "https://huggingface.co/thuanz123/vitvqgan-imagenet-base",
        "MIT (enhancing-transformers)",
        True,
        "Yu et al., Vector-quantized Image Modeling with Improved VQGAN, ICLR 2022",
        trained_on="ImageNet",
    ),
    WeightRecord(
        "vitvqgan_small",
        "im2speech",
        "https://huggingface.co/thuanz123/vitvqgan-imagenet-small",
        "MIT (enhancing-transformers)",
        True,
        "Yu et al., Vector-quantized Image Modeling with Improved VQGAN, ICLR 2022",
        trained_on="ImageNet",
    ),
)
register(RECORDS)
