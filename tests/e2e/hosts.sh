#!/bin/sh
# hosts.sh start|stop FOLDER: two "hosts" on this machine, each an sshd with a host name of its own, reached by
# `ssh -F FOLDER/ssh_config hosta|hostb`. Keys, ports and process ids lie in FOLDER. Takes root: a host name is a
# private one (unshare). No password, no agent, nothing outside FOLDER is changed.
set -eu
folder=$2
case $1 in
  start)
    mkdir -p "$folder" /run/sshd
    ssh-keygen -q -t ed25519 -N '' -f "$folder/host_key"
    ssh-keygen -q -t ed25519 -N '' -f "$folder/user_key"
    cp "$folder/user_key.pub" "$folder/authorized_keys"
    { cat /etc/hosts; echo "127.0.0.1 hosta hostb"; } > "$folder/hosts"
    port=$3
    for host in hosta hostb; do
      printf 'Host %s\n HostName 127.0.0.1\n Port %s\n' "$host" "$port" >> "$folder/ssh_config"
      unshare --uts --mount sh -ec "hostname $host; mount --bind '$folder/hosts' /etc/hosts
        exec /usr/sbin/sshd -f /dev/null -o ListenAddress=127.0.0.1 -p $port -h '$folder/host_key' -E '$folder/$host.log' \
          -o PidFile='$folder/$host.pid' -o AuthorizedKeysFile='$folder/authorized_keys' -o StrictModes=no \
          -o PasswordAuthentication=no -o PermitRootLogin=yes -o UsePAM=no"
      port=$((port + 1))
    done
    printf 'Host *\n User root\n IdentityFile %s\n IdentitiesOnly yes\n UserKnownHostsFile /dev/null\n' \
      "$folder/user_key" >> "$folder/ssh_config"
    printf ' StrictHostKeyChecking no\n LogLevel ERROR\n BatchMode yes\n' >> "$folder/ssh_config"
    for host in hosta hostb; do
      for _ in $(seq 300); do
        if [ "$(ssh -F "$folder/ssh_config" "$host" hostname)" = "$host" ]; then continue 2; fi
        sleep 0.2
      done
      echo "sshd of $host did not answer" >&2
      exit 1
    done ;;
  stop)
    for pid in "$folder"/*.pid; do
      if [ -s "$pid" ]; then kill "$(cat "$pid")" || true; fi
    done ;;
esac
