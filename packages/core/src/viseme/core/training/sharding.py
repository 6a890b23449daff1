"""One model shared out over processes: each holds a part of all weights, gradients and optimiser states, and a block's
weights are put together only while it computes (Rajbhandari et al. 2020; PyTorch's `fully_shard`)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

__all__ = ["shard", "whole_state"]


def shard(model: nn.Module, mesh: DeviceMesh | None) -> None:
    """Share a model out over the processes of a Lightning run: what `configure_model` calls. Once is enough.

    From its call until the end of the backward pass, all of the model but its blocks is whole in every process: so
    losses may use the weights of its heads, and a validation step its other methods, once it has been called.

    Args:
        model: shared out by the blocks of its `nn.ModuleList`s, and the rest in one piece.
        mesh: the run's `device_mesh`; None (every other strategy): nothing happens.
    """
    if mesh is None or isinstance(model, FSDPModule):
        return
    processes = mesh["data_parallel"]
    for layers in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
        for block in layers:
            fully_shard(block, mesh=processes)
    fully_shard(model, mesh=processes, reshard_after_forward=False)


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a model that may be shared out, on the CPU; every process has to ask, the first one gets it."""
    if not any(isinstance(module, FSDPModule) for module in model.modules()):
        return model.state_dict()
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}
