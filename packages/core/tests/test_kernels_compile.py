"""Every Triton kernel compiles ahead of time for the GPUs that people train on, within a block's shared memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="the extra `kernels` is not installed (Linux only; CI has it)")

SHARED_BYTES = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10}  # CUDA programming guide, table of compute capabilities

PROGRAM = """
import json, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from viseme.core.losses.kernels import contrastive, cosine, ctc, smoothed_ce, spectral

F, D, I, B, N = "*fp32", "*fp64", "*i64", "*u8", "i32"
KERNELS = [
    (ctc.align_kernel, [F, I, I, I, F, F, D, N, N], {"SIZE": 128}, 4),
    (ctc.align_kernel, [F, I, I, I, F, F, D, N, N], {"SIZE": ctc.MOST_STATES}, 8),
    (ctc.softmax_kernel, [F, F, F, N], {"DIFFERENTIATE": True, "SIZE": 4096}, 4),
    (ctc.subtract_kernel, [F, F, F, I, I, I, N, N], {"SIZE": 64, "OTHERS": 32}, 4),
    (smoothed_ce.score_kernel, [F, F, I, F, F, N],
     {"ENTROPY": -0.3, "KEPT": 0.9, "OFF": 1e-4, "DIFFERENTIATE": True, "SIZE": 4096}, 4),
    (contrastive.norm_kernel, [F, F, F, F, N, N],
     {"TEMPERATURE": 0.07, "FRAMES": contrastive.FRAMES, "WIDTH": contrastive.WIDTH}, 4),
    (contrastive.gradient_kernel, [F, F, F, F, F, F, N, N],
     {"TEMPERATURE": 0.07, "FRAMES": contrastive.FRAMES, "WIDTH": contrastive.WIDTH}, 4),
    (spectral.spectral_sums_kernel, [F, F, F, N, N], {"LEAST": 1e-7, "SIZE": spectral.SIZE}, 4),
    (spectral.spectral_sums_backward_kernel, [F, F, F, F, N], {"LEAST": 1e-7, "SIZE": spectral.SIZE}, 4),
    (spectral.absolute_sums_kernel, [F, F, I, F, N, N, N], {"SIZE": spectral.SIZE}, 4),
    (spectral.absolute_sums_backward_kernel, [F, F, I, F, F, N, N], {"SIZE": spectral.SIZE}, 4),
]
for x in ("*fp32", "*bf16"):
    KERNELS += [
        (cosine.forward_kernel, [x, x, B, F, N], {"MASKED": True, "SIZE": 1024}, 4),
        (cosine.backward_kernel, [x, x, B, F, x, x, N], {"MASKED": True, "DX": True, "DY": True, "SIZE": 1024}, 4),
    ]
rows = []
for kernel, types, constants, warps in KERNELS:
    names = [name for name in kernel.arg_names if name not in constants]
    signature = {**dict(zip(names, types, strict=True)), **{name: "constexpr" for name in constants}}
    for chip in (80, 90, 100):
        source = ASTSource(kernel, signature, constants)
        made = triton.compile(source, target=GPUTarget("cuda", chip, 32), options={"num_warps": warps})
        rows.append([kernel.__name__, chip, made.metadata.shared, len(made.asm["cubin"])])
print(json.dumps(rows))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux; CI runs there")
def test_every_kernel_compiles_within_shared_memory() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {chip for _, chip, _, _ in rows} == set(SHARED_BYTES)
    for name, chip, shared, size in rows:
        assert size > 0 and shared <= SHARED_BYTES[chip], (name, chip, shared)
    from viseme.core.losses.kernels import contrastive, cosine, ctc, smoothed_ce, spectral

    modules = (contrastive, cosine, ctc, smoothed_ce, spectral)
    every = {name for module in modules for name in vars(module) if name.endswith("_kernel")}
    assert {name for name, *_ in rows} == every
