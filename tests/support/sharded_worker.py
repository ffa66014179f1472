"""`python -m giellm_utils.training.run` as `accelerate launch` starts it, on the CPU under FSDP2 or ZeRO-3.

accelerate shares a model out over GPU backends only, and on a CPU trains plain DDP without a word. Told that
gloo is such a backend, it and Trainer go their whole way: torch's fully_shard on each layer or DeepSpeed's
engine, optimizer, checkpoints, the full state dict. Writes kinds-<rank>.json beside the job: the engine, the
classes of the parameters that were trained, and how many numbers this process holds of them.
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
        parameters = list(self.model.parameters())
        # DeepSpeed leaves a Parameter, empty outside of its layer's turn, with its own part at ds_tensor.
        zero = all(hasattr(parameter, "ds_tensor") for parameter in parameters)
        kinds = {"ZeRO"} if zero else {type(parameter).__name__ for parameter in parameters}
        write_json(folder / f"kinds-{dist.get_rank()}.json", {
            "engine": type(self.model_wrapped).__name__, "kinds": sorted(kinds),
            "whole": sum(p.ds_numel if zero else p.numel() for p in parameters),
            "here": sum(p.ds_tensor.numel() if zero else p.to_local().numel() for p in parameters)})
        return found

    TargetTrainer.train = trained
    run.main()
