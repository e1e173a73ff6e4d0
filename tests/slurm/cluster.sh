#!/bin/bash
# A real Slurm on one machine: slurmctld, munge and one slurmd per virtual node, with counted GPUs behind
# which nothing stands. Needs root, and CAP_SYS_ADMIN for a host name per node.
#
#   tests/slurm/cluster.sh start|stop|status|env                R=folder for everything   BASE=first port
#   tests/slurm/cluster.sh controller-stop|controller-kill|controller-start    a controller that is away while jobs run
#   tests/slurm/cluster.sh node-kill|node-start NODE                           the same for a node's slurmd
#
#   LOW=1  two more partitions on the nodes of `vector`, whose jobs a job in `vector` puts out and Slurm requeues:
#          vector-low at once (GraceTime=0), vector-grace half a minute after a warning (GraceTime=30).
#   DB=1   slurmdbd and MariaDB: sacct, QOS, and a QOS `two` that lets a user have two jobs.
#   DIALECT=1   with DB=1, habits of other sites: arrays of at most three tasks, jobs that are not requeued unless they
#          ask for it, GPUs in `nebula` whose type is a number, and on its node two partitions more: `physics` only for
#          jobs of the account `physics`, `two`, where a user may have two jobs.
#   AGE=s  how long the controller remembers a job that has ended (MinJobAge).
#
# Nothing outside R is touched: no /etc/slurm, no systemd, no default munge.
set -euo pipefail
R=${R:-/tmp/vit_sweep-slurm}; BASE=${BASE:-16800}; LOW=${LOW:-0}; DB=${DB:-0}; AGE=${AGE:-3600}
DIALECT=${DIALECT:-0}; [ "$DIALECT" = 1 ] && CARD=1080 || CARD=rtx3090
NODES="vector01 vector02 vector03 vector04 nebula01"
export SLURM_CONF=$R/etc/slurm.conf
sql() { mariadb --no-defaults -S "$R/run/mysqld.sock" -u root "$@"; }
port() { echo $((BASE + $1)); }
waitfor() { local i t=$1; shift; for ((i = 0; i < t * 10; i++)); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; echo "timed out after $t s: $*" >&2; return 1; }
alive() { local s; s=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) && [ -n "$s" ] && [ "${s%% *}" != Z ]; }   # a zombie is gone

# Processes of this cluster whose environment has a line like $1.
mine() {
  grep -lzx "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ 2>/dev/null | xargs -r grep -lz "$1" 2>/dev/null | cut -d/ -f3
}

configure() {
  mkdir -p "$R"/{etc,state,spool,log,run,dev,tmp}; chmod 755 "$R" "$R"/{etc,run,log}
  [ -s "$R/etc/munge.key" ] || (umask 077; head -c 128 /dev/urandom > "$R/etc/munge.key")
  # The number at the end of a device file's name is the GPU's index; a plain file is refused.
  for i in 0 1 2 3 4 5 6 7; do ln -sfn /dev/null "$R/dev/nvidia$i"; done
  { cat /etc/hosts; for n in $NODES; do echo "127.0.0.1 $n"; done; } > "$R/etc/hosts"
  cat > "$R/etc/gres.conf" <<EOF
AutoDetect=off
NodeName=vector[01-04] Name=gpu Type=t4      File=$R/dev/nvidia[0-7]
NodeName=nebula01      Name=gpu Type=$CARD File=$R/dev/nvidia[0-1]
EOF
  cat > "$R/etc/slurm.conf" <<EOF
ClusterName=lab
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$(port 17)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$R/run/munge.socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$R/state
SlurmdSpoolDir=$R/spool/%n
TmpFS=$R/tmp/%n
SlurmctldPidFile=$R/run/slurmctld.pid
SlurmdPidFile=$R/run/slurmd-%n.pid
SlurmctldLogFile=$R/log/slurmctld.log
SlurmdLogFile=$R/log/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2,bf_max_job_test=1000,default_queue_depth=1000
EnforcePartLimits=ALL
PreemptMode=REQUEUE
PreemptType=preempt/partition_prio
ReturnToService=1
KillWait=5
MinJobAge=$AGE
MaxArraySize=$([ "$DIALECT" = 1 ] && echo 3 || echo 1001)
JobRequeue=$((1 - DIALECT))
SlurmctldTimeout=30
SlurmdTimeout=300
JobCompType=jobcomp/filetxt
JobCompLoc=$R/log/jobcomp.txt
NodeName=vector[01-04] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[$(port 21)-$(port 24)] CPUs=64 RealMemory=256000 Gres=gpu:t4:8 Feature=t4
NodeName=nebula01 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$(port 31) CPUs=16 RealMemory=64000 Gres=gpu:$CARD:2
PartitionName=DEFAULT MaxTime=1-00:00:00 DefaultTime=01:00:00 DefMemPerCPU=1000 State=UP
PartitionName=vector Nodes=vector[01-04] Default=YES PriorityTier=10
PartitionName=nebula Nodes=nebula01
EOF
  if [ "$LOW" = 1 ]; then cat >> "$R/etc/slurm.conf" <<EOF
PartitionName=vector-low Nodes=vector[01-04] PriorityTier=1
PartitionName=vector-grace Nodes=vector[01-04] PriorityTier=1 GraceTime=30
EOF
  fi
  if [ "$DIALECT" = 1 ]; then cat >> "$R/etc/slurm.conf" <<EOF
PartitionName=physics Nodes=nebula01 AllowAccounts=physics
PartitionName=two Nodes=nebula01 QoS=pair
EOF
  fi
  if [ "$DB" != 1 ]; then echo AccountingStorageType=accounting_storage/none >> "$R/etc/slurm.conf"; return; fi
  cat >> "$R/etc/slurm.conf" <<EOF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$(port 19)
AccountingStoragePass=$R/run/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos
EOF
  # slurmdbd refuses a file that others may read.
  (umask 077; cat > "$R/etc/slurmdbd.conf" <<EOF
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$(port 19)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$R/run/munge.socket
PidFile=$R/run/slurmdbd.pid
LogFile=$R/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$(port 6)
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
EOF
)
}

start_database() {
  mkdir -p "$R/db"
  mariadb-install-db --no-defaults --user=root --datadir="$R/db" --auth-root-authentication-method=socket \
    --skip-test-db > "$R/log/mariadb-install.log" 2>&1
  setsid mariadbd --no-defaults --user=root --datadir="$R/db" --socket="$R/run/mysqld.sock" \
    --pid-file="$R/run/mariadbd.pid" --bind-address=127.0.0.1 --port="$(port 6)" --innodb-buffer-pool-size=128M \
    --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 --log-error="$R/log/mariadbd.log" \
    </dev/null >/dev/null 2>&1 &
  waitfor 300 sql -e 'select 1'
  sql -e "create database slurm_acct; create user slurm@'127.0.0.1' identified by 'slurm';
    create user slurm@localhost identified by 'slurm'; grant all on slurm_acct.* to slurm@'127.0.0.1';
    grant all on slurm_acct.* to slurm@localhost"
  slurmdbd
  waitfor 300 sacctmgr -n show cluster
  { sacctmgr -i -Q add cluster lab
    sacctmgr -i -Q add qos two,pair; sacctmgr -i -Q modify qos two,pair set maxsubmitjobsperuser=2
    sacctmgr -i -Q modify cluster lab set qos=normal,two,pair
    sacctmgr -i -Q add account physics; sacctmgr -i -Q add user root account=physics; } >/dev/null
}

start_controller() {
  slurmctld -f "$SLURM_CONF"
  waitfor 300 sh -c 'scontrol ping | grep -q UP'
}

start_node() {
  mkdir -p "$R/spool/$1" "$R/tmp/$1"
  # A private host name and /etc/hosts: inside a job, every node's name resolves as on a real cluster.
  unshare --uts --mount sh -ec "hostname $1; mount --bind '$R/etc/hosts' /etc/hosts; exec slurmd -N $1 -f '$SLURM_CONF'"
}

start() {
  if [ -s "$R/run/munged.pid" ] && alive "$(cat "$R/run/munged.pid")"; then echo "already started in $R" >&2; exit 1; fi
  configure
  munged --force --key-file "$R/etc/munge.key" --socket "$R/run/munge.socket" --pid-file "$R/run/munged.pid" \
    --log-file "$R/log/munged.log" --seed-file "$R/run/munged.seed"
  [ "$DB" != 1 ] || start_database
  start_controller
  for n in $NODES; do start_node "$n"; done
  waitfor 300 sh -c '[ -n "$(sinfo -h)" ] && ! sinfo -h -N -o %t | grep -vqE "^(idle|mix|alloc|comp)$"'
}

# Without a chance to save or say anything.
end_hard() { local pid; pid=$(cat "$1"); kill -9 "$pid"; waitfor 300 sh -c "[ ! -e /proc/$pid ] || grep -q ') Z' /proc/$pid/stat"; rm -f "$1"; }

end() {
  local i pid
  [ -s "$1" ] || return 0
  pid=$(cat "$1"); kill "$pid" 2>/dev/null || true
  for ((i = 0; i < 400; i++)); do alive "$pid" || { rm -f "$1"; return 0; }; sleep 0.05; done
  kill -9 "$pid" || true; rm -f "$1"
}

stop() {
  # Jobs outlive slurmd, so they are ended while slurmd and slurmctld still run.
  if timeout 3 scontrol ping 2>/dev/null | grep -q UP; then
    squeue -h -o %A | sort -u | xargs -r scancel || true
    mine '^SLURM_JOB_ID=' | xargs -r kill -9 2>/dev/null || true
    # In vain where a node is DOWN or a controller has lost count.
    waitfor 3 sh -c '[ -z "$(squeue -h)" ]' 2>/dev/null || true
  fi
  for n in $NODES; do end "$R/run/slurmd-$n.pid"; done
  for d in slurmctld slurmdbd mariadbd munged; do end "$R/run/$d.pid"; done
  mine '^SLURM_JOB_ID=' | xargs -r kill -9 2>/dev/null || true
}

case ${1:-} in
  start) start; echo "export SLURM_CONF=$SLURM_CONF" ;;
  stop) stop; rm -rf "$R"/{state,spool,log,run,tmp,db} ;;
  controller-stop) end "$R/run/slurmctld.pid" ;;
  controller-kill) end_hard "$R/run/slurmctld.pid" ;;
  controller-start) start_controller ;;
  node-kill) end_hard "$R/run/slurmd-$2.pid" ;;
  node-start) start_node "$2" ;;
  status) scontrol ping; sinfo -N -l ;;
  env) echo "export SLURM_CONF=$SLURM_CONF" ;;
  *) sed -n '2,18p' "$0"; exit 2 ;;
esac
