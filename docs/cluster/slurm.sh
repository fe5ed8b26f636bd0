#!/usr/bin/env bash
# A recipe on a Slurm cluster: Ray's head and workers in one allocation, the run on the first node.
#   sbatch slurm.sh recipe.yaml /shared/runs/web
# Submit it again after a time-out: a run goes on where it stopped. The environment, the source and the run must be on a file
# system that every node sees.
#SBATCH --job-name=caption-factory
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

recipe=${1:?name the recipe: sbatch slurm.sh RECIPE RUN}
run=${2:?name the run directory: sbatch slurm.sh RECIPE RUN}
source "${VENV:-$HOME/caption-factory/.venv}/bin/activate"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 20000))
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}'):$port

srun --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --port="$port" --disable-usage-stats --block &
sleep 20 # a worker that comes before the head gives up
if [ "${#nodes[@]}" -gt 1 ]; then
    srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --exclude="$head" \
        ray start --address="$address" --disable-usage-stats --block &
    sleep 20
fi

srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    env RAY_ADDRESS="$address" factory run "$recipe" --out "$run" --quiet
