#!/bin/sh
# Makes the secrets that are not there yet, each to be read by the one user that needs it.
#
#   setup.sh [FOLDER]    /run/secrets if left out
#
# What an operator has put there stays: see SECRETS in deploy/README.md.
set -eu
cd "${1:-/run/secrets}"
umask 077
readonly SERVER=10001 REDIS=999 PROMETHEUS=65534 GRAFANA=472

# missing FILE COMMAND...: what the command prints, unless the file is there
missing() {
  file=$1
  shift
  [ -s "$file" ] || { "$@" >".$file.new" && mv ".$file.new" "$file"; }
}

drawn() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }

# Redis reads its log's transactions by the rights of `default`, so these stay whole, and it lets
# nobody in. `health` may ask whether the server answers, and nothing else; `operator` is for people.
users() {
  echo 'user default off ~* &* +@all'
  echo 'user health on nopass -@all +ping'
  echo "user operator on >$(cat redis_operator) ~* &* +@all"
  echo "user ntm on >$(cat redis_password) ~ntm:* &ntm:* +@all -@admin -@dangerous +info +config|get"
}

missing metrics_key ntm keys create --file keys.json --tenant ops --scope admin --note prometheus
missing redis_password drawn
missing redis_operator drawn
missing grafana_password drawn
missing alert_webhook echo http://127.0.0.1:9/nobody-is-told-yet
users >redis.acl

if [ "$(id -u)" = 0 ]; then
  chmod 711 . # each of them has to come to its own
  chown $SERVER keys.json redis_password
  chown $REDIS redis.acl redis_operator
  chown $PROMETHEUS metrics_key alert_webhook
  chown $GRAFANA grafana_password
fi
chmod 400 keys.json redis_password redis_operator redis.acl metrics_key alert_webhook grafana_password
