"""Which device to run on. Nothing else in the house asks torch for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from viseme.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

__all__ = ["resolve_device"]


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The device of that name; `auto` is CUDA where there is one, else MPS, else the CPU.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        ConfigError: no such device, or this machine has none.
    """
    import torch

    if str(name) == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError("no such device", expected="auto, cpu, cuda, cuda:N or mps", got=repr(str(name))) from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(
                f"{device} is not usable here", got=f"{count} CUDA devices", hint="--device auto takes what there is."
            )
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise ConfigError("mps is not usable here", hint="--device auto takes what there is.")
    elif device.type != "cpu":
        raise ConfigError("no such device", expected="auto, cpu, cuda, cuda:N or mps", got=repr(str(name)))
    return device
