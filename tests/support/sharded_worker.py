"""`python -m giellm_utils.training.run` as `accelerate launch` starts it, on the CPU under FSDP2.

accelerate makes FSDP2 of GPU backends only, and on a CPU trains plain DDP without a word. Told that gloo is
such a backend, it and Trainer go their whole way: torch's fully_shard on each layer, optimizer, checkpoints,
the full state dict. Writes kinds-<rank>.json beside the job: the classes of the parameters that were trained.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch.distributed as dist
from accelerate.state import DistributedType, PartialState

from giellm_utils.core.files import write_json
from giellm_utils.training import run
from giellm_utils.training.trainer import TargetTrainer

if __name__ == "__main__":
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    dist.init_process_group("gloo")
    PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)
    train, folder = TargetTrainer.train, Path(sys.argv[2]).parent

    def trained(self, *args, **kwargs):
        """Trainer's own, and then what it trained."""
        found = train(self, *args, **kwargs)
        kinds = sorted({type(parameter).__name__ for parameter in self.model.parameters()})
        whole = sum(parameter.numel() for parameter in self.model.parameters())
        here = sum(parameter.to_local().numel() for parameter in self.model.parameters())
        write_json(folder / f"kinds-{dist.get_rank()}.json", {"kinds": kinds, "whole": whole, "here": here})
        return found

    TargetTrainer.train = trained
    run.main()
