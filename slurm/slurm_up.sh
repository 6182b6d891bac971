#!/usr/bin/env bash
# A real Slurm on this machine alone, on loopback, without systemd: several slurmd stand in for nodes, device files for GPUs.
#   apt-get install -y --no-install-recommends slurm-wlm munge        (and slurmdbd mariadb-server for --accounting)
#   slurm/slurm_up.sh up [--nodes N] [--cpus C] [--memory MiB] [--gpus G] [--preempt requeue|cancel] [--accounting]
#   slurm/slurm_up.sh down
# `up` prints the `export SLURM_CONF=…` that makes sbatch and its kin talk to it. Everything lies under $SLURM_ROOT (a
# folder below the temporary one); nothing in /etc is touched. Ports follow $SLURM_PORT (26917). Works as root or as a user.
set -euo pipefail

root=${SLURM_ROOT:-${TMPDIR:-/tmp}/slurm-here}
port=${SLURM_PORT:-26917}
host=$(hostname -s) user=$(id -un)
command=${1:-}; shift || true
nodes=1 cpus=$(nproc) memory=4000 gpus=0 accounting=no preempt=requeue
while (($#)); do
  case $1 in
    --nodes) nodes=$2; shift ;;
    --cpus) cpus=$2; shift ;;
    --memory) memory=$2; shift ;;
    --gpus) gpus=$2; shift ;;
    --preempt) preempt=$2; shift ;;
    --accounting) accounting=yes ;;
    *) echo "slurm_up.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
export SLURM_CONF=$root/etc/slurm.conf
sql=(mariadb --no-defaults "--socket=$root/run/mariadbd.sock" -uroot)

# Is the daemon of this pid file running? Zombies answer kill -0, and a stale file may name somebody else's process.
alive() {
  local pid name
  [[ -s $1 ]] || return 1
  pid=$(cat "$1" 2>/dev/null) || return 1
  name=$(basename "$1" .pid); name=${name%%.*}
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$name" ]] && readlink -q "/proc/$pid/exe" >/dev/null
}

await() { # SECONDS COMMAND…
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS > end)); then
      echo "slurm_up.sh: gave up waiting for: $*" >&2
      tail -n 5 "$root"/log/*.log >&2
      return 1
    fi
    sleep 0.1
  done
}

end() { # PIDFILE
  alive "$1" || return 0
  local pid; pid=$(cat "$1" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0   # ended meanwhile
  for _ in {1..100}; do alive "$1" || return 0; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
}

down() {
  if alive "$root/run/slurmctld.pid"; then   # jobs first: what a daemon leaves behind, nobody ends
    scancel --user "$user" 2>/dev/null || true
    scancel --full --signal=KILL --user "$user" 2>/dev/null || true
    for _ in {1..50}; do [[ -n $(squeue -h -t running,completing 2>/dev/null) ]] || break; sleep 0.1; done
  fi
  for file in "$root"/run/slurmd.*.pid; do if [[ -e $file ]]; then end "$file"; fi; done
  for name in slurmctld slurmdbd mariadbd munged; do end "$root/run/$name.pid"; done
  strays
}

# A daemon that was restarted while its predecessor ended may have lost its pid file: those of this configuration only.
strays() {
  local file
  for file in /proc/[0-9]*/cmdline; do
    if tr '\0' '\n' <"$file" 2>/dev/null | grep -qxF -- "$SLURM_CONF"; then
      file=${file#/proc/}
      case $(cat "/proc/${file%%/*}/comm" 2>/dev/null) in slurmctld | slurmd) kill -9 "${file%%/*}" ;; esac
    fi
  done 2>/dev/null || true
}

configure() {
  local list=() gres="" i
  umask 022
  mkdir -p "$root"/{etc,run,log,state,spool,database,devices}
  chmod 755 "$root" "$root"/{etc,run,log}
  if [[ ! -s $root/etc/munge.key ]]; then head -c 1024 /dev/urandom >"$root/etc/munge.key"; chmod 400 "$root/etc/munge.key"; fi
  : >"$root/etc/gres.conf"
  if ((gpus)); then
    gres="Gres=gpu:fake:$gpus"
    fake_gpus >"$root/etc/gres.conf"
  fi
  {
    cat <<CONF
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
# without cred_expire a requeued job waits two minutes for its old credential
AuthInfo=socket=$root/run/munge.sock,cred_expire=5
StateSaveLocation=$root/state
SlurmdSpoolDir=$root/spool/%n
SlurmctldPidFile=$root/run/slurmctld.pid
SlurmdPidFile=$root/run/slurmd.%n.pid
SlurmctldLogFile=$root/log/slurmctld.log
SlurmdLogFile=$root/log/slurmd.%n.log
# no cgroups: works in a plain container; memory is watched by polling
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=1
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
# several slurmd on one host, each with the size that this file says
SlurmdParameters=config_overrides
ReturnToService=2
GresTypes=gpu
JobRequeue=1
KillWait=5
OverTimeLimit=0
InactiveLimit=0
MinJobAge=3600
MaxArraySize=1001
PreemptType=preempt/partition_prio
PreemptMode=${preempt^^}
SlurmctldParameters=preempt_send_user_signal
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1,sched_min_interval=0
CONF
    if [[ $accounting == yes ]]; then
      echo "AccountingStorageType=accounting_storage/slurmdbd"
      echo "AccountingStorageHost=127.0.0.1"
      echo "AccountingStoragePort=$((port + 1))"
      echo "AccountingStoragePass=$root/run/munge.sock"
      echo "AccountingStorageTRES=gres/gpu"
    else
      echo "AccountingStorageType=accounting_storage/none"
    fi
    for ((i = 1; i <= nodes; i++)); do
      list+=("n$i")
      echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 10 + i)) CPUs=$cpus RealMemory=$memory $gres State=UNKNOWN"
    done
    list=$(IFS=,; echo "${list[*]}")
    echo "PartitionName=main Nodes=$list Default=YES MaxTime=1440 State=UP PriorityTier=10 PreemptMode=${preempt^^} GraceTime=20"
    echo "PartitionName=urgent Nodes=$list MaxTime=1440 State=UP PriorityTier=20 PreemptMode=OFF"
  } >"$SLURM_CONF"
}

# A GPU's File= must be a character device of its own; without the right to make any, a few of the system's serve.
fake_gpus() {
  local devices=() i
  for ((i = 0; i < gpus; i++)); do
    [[ -c $root/devices/gpu$i ]] || mknod "$root/devices/gpu$i" c 1 3 2>/dev/null || break
    devices+=("$root/devices/gpu$i")
  done
  ((${#devices[@]} == gpus)) || devices=(/dev/null /dev/zero /dev/full /dev/random)
  if ((${#devices[@]} < gpus)); then echo "slurm_up.sh: at most ${#devices[@]} GPUs without the right to mknod" >&2; exit 2; fi
  (IFS=,; echo "Name=gpu Type=fake File=${devices[*]:0:gpus}")
}

start_accounting() {
  if ! alive "$root/run/mariadbd.pid"; then
    [[ -d $root/database/mysql ]] || mariadb-install-db --no-defaults "--user=$user" "--datadir=$root/database" \
      --auth-root-authentication-method=normal --skip-test-db >"$root/log/mariadb_install.log" 2>&1
    setsid mariadbd --no-defaults "--user=$user" "--datadir=$root/database" "--socket=$root/run/mariadbd.sock" \
      "--pid-file=$root/run/mariadbd.pid" --bind-address=127.0.0.1 "--port=$((port + 2))" --innodb-buffer-pool-size=64M \
      --innodb-log-file-size=32M --innodb-lock-wait-timeout=900 --performance-schema=OFF >"$root/log/mariadbd.log" 2>&1 </dev/null &
  fi
  await 60 "${sql[@]}" -e 'select 1'
  "${sql[@]}" -e "create database if not exists slurm_acct_db;
    create user if not exists slurm@'127.0.0.1' identified by 'slurm'; grant all on slurm_acct_db.* to slurm@'127.0.0.1';
    create user if not exists slurm@localhost identified by 'slurm'; grant all on slurm_acct_db.* to slurm@localhost;"
  install -m 600 /dev/null "$root/etc/slurmdbd.conf"   # slurmdbd refuses any other mode
  cat >"$root/etc/slurmdbd.conf" <<CONF
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$((port + 1))
SlurmUser=$user
AuthType=auth/munge
AuthInfo=socket=$root/run/munge.sock
PidFile=$root/run/slurmdbd.pid
LogFile=$root/log/slurmdbd.log
CommunicationParameters=NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 2))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
  alive "$root/run/slurmdbd.pid" || slurmdbd
  await 60 sacctmgr -n show cluster
  sacctmgr -n show cluster | grep -qw here || sacctmgr -i add cluster here >/dev/null
}

up() {
  local wanted="$nodes $cpus $memory $gpus $preempt $accounting $port" i
  if [[ $(cat "$root/etc/options" 2>/dev/null) != "$wanted" ]]; then
    down
    rm -rf "$root/state" "$root/spool" "$root/database"   # together, or sacct mixes old and new job ids
  fi
  # Slurm resolves names only for kinds of address that the machine has; one with loopback alone gets one more
  if command -v ip >/dev/null && ! ip -o -4 addr show scope global | grep -q .; then
    ip addr add 192.0.2.1/32 dev lo 2>/dev/null || true
  fi
  configure
  echo "$wanted" >"$root/etc/options"
  alive "$root/run/munged.pid" || munged --force "--key-file=$root/etc/munge.key" "--socket=$root/run/munge.sock" \
    "--pid-file=$root/run/munged.pid" "--log-file=$root/log/munged.log" "--seed-file=$root/run/munged.seed"
  await 10 munge "--socket=$root/run/munge.sock" -n
  [[ $accounting == no ]] || start_accounting
  alive "$root/run/slurmctld.pid" || slurmctld -f "$SLURM_CONF"
  await 30 scontrol ping
  for ((i = 1; i <= nodes; i++)); do
    mkdir -p "$root/spool/n$i"
    alive "$root/run/slurmd.n$i.pid" || slurmd -f "$SLURM_CONF" -N "n$i"
  done
  await 30 sh -c "[ \$(sinfo -h -N -p main -t idle,mixed,allocated -o %N | wc -l) = $nodes ]"
  echo "export SLURM_CONF=$SLURM_CONF"
}

case $command in
  up) up ;;
  down) down ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
