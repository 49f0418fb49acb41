#!/usr/bin/env bash
# A Docker engine of the tests' own on Debian, with compose, where none runs: no firewall rules, no
# bridge of its own, a socket in FOLDER. Needs root.
#
#   engine.sh start FOLDER    then DOCKER_HOST=unix://FOLDER/docker.sock DOCKER_CONFIG=FOLDER/config
#   engine.sh stop FOLDER
set -euo pipefail
action=$1
folder=$2
plugins=$folder/config/cli-plugins
mirror=http://deb.debian.org/debian

stop() {
  [[ -f $folder/pid ]] || return 0
  local pid
  pid=$(<"$folder/pid")
  kill "$pid" 2>/dev/null || true
  for ((i = 0; i < 300; i++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  ! kill -KILL "$pid" 2>/dev/null || sleep 1
  umount "$folder/exec/netns/default" 2>/dev/null || true # which it leaves mounted
}

# Compose v2 and buildx: Debian 12's own are older. They need libc alone.
plugin() {
  local name=docker-$1 path
  [[ ! -x $plugins/$name ]] || return 0
  path=$(curl --silent --fail "$mirror/dists/trixie/main/binary-amd64/Packages.xz" | xz -dc |
    awk -v name="$name" '$1 == "Package:" {ours = $2 == name} ours && $1 == "Filename:" {print $2}')
  curl --silent --fail --output "$folder/$name.deb" "$mirror/$path"
  dpkg-deb -x "$folder/$name.deb" "$folder/$name"
  find "$folder/$name" -path "*cli-plugins/$name" -exec mv {} "$plugins/" \;
}

start() {
  mkdir -p "$plugins"
  if ! command -v dockerd mmdebstrap >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
      docker.io mmdebstrap xz-utils >/dev/null
  fi
  plugin compose
  plugin buildx
  setsid dockerd --iptables=false --ip6tables=false --ip-forward=false --bridge=none \
    --data-root "$folder/root" --exec-root "$folder/exec" --pidfile "$folder/pid" \
    -H "unix://$folder/docker.sock" >"$folder/log" 2>&1 &
  for ((i = 0; i < 300; i++)); do
    ! DOCKER_HOST=unix://$folder/docker.sock docker info >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  tail "$folder/log" >&2
  return 1
}

"$action"
