#!/usr/bin/env bash
# Images that stand in for those of a registry, where none can be reached: the same paths, users and
# commands, made of Debian's packages. Not the published images, and no Grafana.
#
#   stand_ins.sh FOLDER    into the engine of $DOCKER_HOST; FOLDER keeps the base for the next time
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
base=$(sed -n 's/^ARG BASE=//p' "$here/../../Dockerfile")
authorities=/etc/ssl/certs/ca-certificates.crt

if [[ ! -f $folder/base.tar ]]; then
  mkdir -p "$folder"
  # Without what the slim images leave out too.
  mmdebstrap --quiet --format=tar --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="upload $authorities $authorities" \
    --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED' \
    bookworm "$folder/base.new"
  mv "$folder/base.new" "$folder/base.tar"
fi

# pip is told of this machine's authorities and index, so that the Dockerfile need not be.
changes=(--change "ENV PIP_CERT=$authorities" --change 'CMD ["python3"]')
index=$(python3 -m pip config get global.index-url 2>/dev/null || true)
[[ -z $index ]] || changes+=(--change "ENV PIP_INDEX_URL=$index")
docker import "${changes[@]}" "$folder/base.tar" "$base" >/dev/null

for target in redis haproxy prometheus alertmanager; do
  DOCKER_BUILDKIT=1 docker build --quiet --network host --build-arg "BASE=$base" \
    --target "$target" --tag "ntm-stand-in:$target" "$here/stand_ins" >/dev/null
done
