#!/bin/sh
# Install a real Slurm with its database, Open MPI, sshd and shellcheck for the tests, where that may be done: on
# Debian, as root.
# Elsewhere say why not; the tests then skip with this reason.
set -eu
missing=
for program in slurmctld slurmd slurmdbd mariadbd munged srun mpirun sshd shellcheck; do
  PATH=$PATH:/usr/sbin command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed:$missing; that takes root on Debian; their tests will be skipped" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The packages start no service of their own here: the tests start what they need in a folder of their own.
mkdir -p /usr/sbin
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge \
  slurmdbd mariadb-server-core mariadb-client-core \
  openmpi-bin openssh-server openssh-client shellcheck >/dev/null
