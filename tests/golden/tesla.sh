outputs/golden/jobs/n1-g1-eab97a45/hostfile
ecetesla1 slots=1  # GeForce RTX 3070

================================================================================
outputs/golden/jobs/n1-g1-eab97a45/job.sh
#!/bin/bash
# vit_sweep study: golden
# 1 host x 1 rank: ecetesla1
# bash job.sh INDEX runs one of:
#   0: n1-g1-mb16-ga1-8790e7ae attempt 1
set -eu
export DS_ACCELERATOR=cuda
export NCCL_IB_DISABLE=1
export NCCL_NET_GDR_LEVEL=0
export NCCL_SOCKET_IFNAME='^docker,lo'
export OMP_NUM_THREADS=1
export PYTHONPATH=FOLDER/outputs/golden/.code/CODE
export PYTHONSAFEPATH=1
export VIT_SWEEP_NODES=1 VIT_SWEEP_TASK_INDEX=$1
export VIT_SWEEP_JOB_ID=${VIT_SWEEP_JOB_ID:-hostfile-$$-$1} VIT_SWEEP_RESTART=${VIT_SWEEP_RESTART:-0}
exec mpirun ${VIT_SWEEP_JOB_ENDS:+-x VIT_SWEEP_JOB_ENDS} --hostfile FOLDER/outputs/golden/jobs/n1-g1-eab97a45/hostfile -np 1 --map-by ppr:1:node --bind-to none --mca plm rsh --mca plm_rsh_agent ssh --mca odls_base_sigkill_timeout 10 -x DS_ACCELERATOR -x NCCL_IB_DISABLE -x NCCL_NET_GDR_LEVEL -x NCCL_SOCKET_IFNAME -x OMP_NUM_THREADS -x PYTHONPATH -x PYTHONSAFEPATH -x VIT_SWEEP_JOB_ID -x VIT_SWEEP_NODES -x VIT_SWEEP_RESTART -x VIT_SWEEP_TASK_INDEX bash FOLDER/outputs/golden/jobs/n1-g1-eab97a45/rank.sh

================================================================================
outputs/golden/jobs/n1-g1-eab97a45/rank.sh
#!/bin/bash
# One rank of this batch; mpirun starts it on the hosts (see job.sh).
# mpirun signals the whole group: this shell must outlive the rank, or mpirun takes the rank for ended.
trap : TERM USR2
PYTHON -m vit_sweep.job.task FOLDER/outputs/golden/jobs/n1-g1-eab97a45
code=$?
[ "$code" = 0 ] || { mkdir -p FOLDER/outputs/golden/jobs/n1-g1-eab97a45/ended; echo "$code" > FOLDER/outputs/golden/jobs/n1-g1-eab97a45/ended/"$VIT_SWEEP_TASK_INDEX-$OMPI_COMM_WORLD_RANK"; }
exit "$code"

================================================================================
outputs/golden/jobs/n3-g3-d17b4580/hostfile
ecetesla1 slots=1  # GeForce RTX 3070
ecetesla2 slots=1  # GeForce RTX 3070
ecetesla4 slots=1  # GeForce RTX 3070

================================================================================
outputs/golden/jobs/n3-g3-d17b4580/job.sh
#!/bin/bash
# vit_sweep study: golden
# 3 hosts x 1 rank: ecetesla1 ecetesla2 ecetesla4
# bash job.sh INDEX runs one of:
#   0: n3-g3-mb16-ga1-a789815e attempt 1
set -eu
export DS_ACCELERATOR=cuda
export NCCL_IB_DISABLE=1
export NCCL_NET_GDR_LEVEL=0
export NCCL_SOCKET_IFNAME='^docker,lo'
export OMP_NUM_THREADS=1
export PYTHONPATH=FOLDER/outputs/golden/.code/CODE
export PYTHONSAFEPATH=1
export VIT_SWEEP_NODES=3 VIT_SWEEP_TASK_INDEX=$1
export VIT_SWEEP_JOB_ID=${VIT_SWEEP_JOB_ID:-hostfile-$$-$1} VIT_SWEEP_RESTART=${VIT_SWEEP_RESTART:-0}
exec mpirun ${VIT_SWEEP_JOB_ENDS:+-x VIT_SWEEP_JOB_ENDS} --hostfile FOLDER/outputs/golden/jobs/n3-g3-d17b4580/hostfile -np 3 --map-by ppr:1:node --bind-to none --mca plm rsh --mca plm_rsh_agent ssh --mca odls_base_sigkill_timeout 10 -x DS_ACCELERATOR -x NCCL_IB_DISABLE -x NCCL_NET_GDR_LEVEL -x NCCL_SOCKET_IFNAME -x OMP_NUM_THREADS -x PYTHONPATH -x PYTHONSAFEPATH -x VIT_SWEEP_JOB_ID -x VIT_SWEEP_NODES -x VIT_SWEEP_RESTART -x VIT_SWEEP_TASK_INDEX bash FOLDER/outputs/golden/jobs/n3-g3-d17b4580/rank.sh

================================================================================
outputs/golden/jobs/n3-g3-d17b4580/rank.sh
#!/bin/bash
# One rank of this batch; mpirun starts it on the hosts (see job.sh).
# mpirun signals the whole group: this shell must outlive the rank, or mpirun takes the rank for ended.
trap : TERM USR2
PYTHON -m vit_sweep.job.task FOLDER/outputs/golden/jobs/n3-g3-d17b4580
code=$?
[ "$code" = 0 ] || { mkdir -p FOLDER/outputs/golden/jobs/n3-g3-d17b4580/ended; echo "$code" > FOLDER/outputs/golden/jobs/n3-g3-d17b4580/ended/"$VIT_SWEEP_TASK_INDEX-$OMPI_COMM_WORLD_RANK"; }
exit "$code"

================================================================================
