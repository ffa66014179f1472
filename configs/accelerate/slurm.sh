#!/usr/bin/env bash
# A run on several machines of a Slurm cluster (full fine-tuning; a step holds a sequence a GPU at least):
#   sbatch configs/accelerate/slurm.sh --profile giellm-7b --set training.global_batch=16
# What follows the file's name goes to `giellm run`, which starts its trainings on all machines of the job
# (srun, configs/accelerate/multi-node.yaml); the other stages run on the first. The repository, the cache
# and the runs must lie on a disk that all machines see. Not run: no cluster was at hand.
#SBATCH --job-name=giellm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
export PATH="$PWD/.venv/bin:$PATH"
MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
export MASTER_ADDR MASTER_PORT="$((20000 + SLURM_JOB_ID % 20000))"
exec giellm run "$@" --set training.machine=multi-node
