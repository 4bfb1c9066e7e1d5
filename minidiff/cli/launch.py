"""What `torchrun` or `accelerate launch` started: the processes of one run, seen from one of them."""

import os

import torch

from minidiff import train
from minidiff.recipes import Recipe


def together(name: str, recipe: Recipe, where: torch.device) -> dict:
    """{"accelerator": accelerate's} for `fit`, on devices like `where`, if a launcher started this process; else {}.

    `torchrun` tells by WORLD_SIZE, `accelerate launch` by ACCELERATE_MIXED_PRECISION too: bf16 and compiling, its
    options, are read by accelerate itself.
    """
    if not {"WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"} & os.environ.keys():
        return {}
    if recipe.fit is not train.fit:
        raise ValueError(f"{name} is trained in one process: start it without a launcher")
    from accelerate import Accelerator  # here: it takes long to import

    return {"accelerator": Accelerator(cpu=where.type == "cpu")}


def first() -> bool:
    """Is this the process that writes files and prints?"""
    return int(os.environ.get("RANK", 0)) == 0
