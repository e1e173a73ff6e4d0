#!/bin/sh
# Install what the tests meet for real, where that may be done: on Debian, as root. A Slurm with its database, Open MPI,
# sshd, shellcheck; zsh and fish for the tab key (1.9 MB to fetch); a headless Chromium for the report. Elsewhere say why
# not; the tests then skip with this reason.
# With VIT_SWEEP_LONG_TESTS=1 a LaTeX as well (15 MB to fetch, 151 MB on disk, 46 s), for what tables of hostile names do to it,
# and the headers of libaio, with which DeepSpeed compiles what swaps to NVMe.
set -eu
missing=
latex=
if [ "${VIT_SWEEP_LONG_TESTS:-}" = 1 ]; then
  latex=pdflatex
  if [ ! -e /usr/include/libaio.h ]; then missing=" libaio.h"; fi
fi
for program in slurmctld slurmd slurmdbd mariadbd munged srun mpirun sshd shellcheck zsh fish chromium chromedriver $latex; do
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
# The browser needs a font of its own, or a bare machine draws boxes.
apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge \
  slurmdbd mariadb-server-core mariadb-client-core \
  openmpi-bin openssh-server openssh-client shellcheck zsh fish \
  chromium chromium-driver fonts-dejavu-core ${latex:+texlive-latex-base texlive-latex-recommended libaio-dev} >/dev/null
