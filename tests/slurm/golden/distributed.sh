#!/bin/bash

# Parameters
#SBATCH --account=vision
#SBATCH --array=0-2%3
#SBATCH --constraint='a40|a100'
#SBATCH --cpus-per-task=12
#SBATCH --dependency=aftercorr:7
#SBATCH --error=/shared/where/%A_%a_0_log.err
#SBATCH --gpus-per-node=8
#SBATCH --job-name=h20260101-000000-000000-abcd-0
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mail-user='a b@example.org'
#SBATCH --mem=4000M
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --open-mode=append
#SBATCH --output=/shared/where/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=64
#SBATCH --wckey=submitit

# setup
source "$HOME/env"
export ODD='it'"'"'s $HOME `x`
'
cd '/shared/it'"'"'s $code' || exit 1
export PYTHONPATH='/shared/it'"'"'s $code'

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /shared/where/%A_%a_%t_log.out --error /shared/where/%A_%a_%t_log.err --kill-on-bad-exit=1 --cpus-per-task 12 /opt/python -u -m submitit.core._submit /shared/where
