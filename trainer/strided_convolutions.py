"""Fine-tuning in bfloat16 on a CPU: convolutions read only frames that they use.

The gradient of a convolution's weights in bfloat16 (torch 2.11 on a CPU with AMX) may read memory behind the input
where the stride leaves frames at its end unused: with a small Moonshine Streaming, it was NaN in most updates.
"""

from __future__ import annotations

import torch


def cut_unused_frames(network: torch.nn.Module) -> None:
    """Cuts the input of every convolution with a stride to the frames that it uses; outputs stay the same."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv1d) and module.stride[0] > 1:
            module.register_forward_pre_hook(_used_frames)


def _used_frames(convolution: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The inputs of a convolution, (batch, channels, frames) first, without the frames that it does not use."""
    assert isinstance(convolution, torch.nn.Conv1d)
    hidden, *others = inputs
    left_pad = getattr(convolution, "left_pad", 0)  # of transformers' causal convolutions
    pad = int(convolution.padding[0])
    span = convolution.dilation[0] * (convolution.kernel_size[0] - 1) + 1
    unused = (hidden.shape[2] + left_pad + 2 * pad - span) % convolution.stride[0]
    return hidden[:, :, : hidden.shape[2] - max(0, unused - pad)], *others
