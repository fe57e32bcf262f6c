"""Methods that train only a part of the model, or adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, cast

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraModel

from editing.method import Tensors
from editing.ranges import Range
from trainer.lifelong.method import Step, lifelong_method

# The linear layers of attention and feed-forward, in transformers' names for Moonshine and Parakeet.
LINEAR = r".*\.(q_proj|k_proj|v_proj|o_proj|fc1|fc2|linear1|linear2)"


@lifelong_method("update-only-encoder", paper="arXiv 2207.00216")
def update_only_encoder(step: Step) -> Tensors:
    """Fine-tunes only the encoder; stores nothing."""
    return step.finetune(step.theta, step.training, scope="encoder")


@lifelong_method("lora", paper="arXiv 2106.09685")
def lora(
    step: Step,
    *,
    rank: Annotated[int, Range(1, 1024, is_whole=True)] = 16,
    alpha: Annotated[int, Range(1, 4096, is_whole=True)] = 32,
    faster: Annotated[float, Range(0, 1000, excludes_least=True)] = 10.0,
) -> Tensors:
    """Trains PEFT's low-rank adapters at a learning rate `faster` times as high, and merges them; stores nothing."""

    def adapters(model: torch.nn.Module) -> Callable[[], None]:
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=LINEAR)
        tuner = LoraModel(model, {"default": config}, "default")
        return cast(Callable[[], None], tuner.merge_and_unload)

    return step.finetune(
        step.theta, step.training, adapters=adapters, scope="lora", learning_rate=faster * step.learning_rate
    )
