#!/usr/bin/env bash
# Starts, stops and shows the components of the cluster shape on this machine, on loopback, without root and without system services.
#
#   scripts/cluster/cluster.sh start|stop|status [redis] [kafka] [postgres|mariadb] [nginx]      without names: redis, kafka and the database
#
#   CLUSTER_FOLDER   where their data, logs and process ids lie; default target/cluster
#   LEDGER           postgres (default) or mysql: which database is meant without names
#   POSTGRES_PORT, MARIADB_PORT   default 17432 and 17306; the others' settings are in redis.sh, kafka.sh and nginx.sh beside this file
#
# Starting what runs and stopping what does not is no error. Data stay after a stop; remove the folder to begin anew.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=process.sh
source "$here/process.sh"

root=$(cd "$here/../.." && pwd)
folder=${CLUSTER_FOLDER:-$root/target/cluster}

case ${LEDGER:-postgres} in
  postgres) database=postgres ;;
  mysql | mariadb) database=mariadb ;;
  *) die "LEDGER must be postgres or mysql" ;;
esac

component() { # component VERB NAME
  case $2 in
    redis | kafka | nginx) "$here/$2.sh" "$1" "$folder/$2" ;;
    postgres) sql "$1" postgres "${POSTGRES_PORT:-17432}" ;;
    mariadb | mysql) sql "$1" mariadb "${MARIADB_PORT:-17306}" ;;
    *) die "no component is called $2" ;;
  esac
}

sql() { # sql VERB NAME PORT
  [ -x "$here/sql.sh" ] || die "sql.sh is missing beside this script"
  case $1 in
    start) "$here/sql.sh" start "$2" "$folder/$2" "$3" ;;
    stop) [ ! -d "$folder/$2" ] || "$here/sql.sh" stop "$folder/$2" ;;
    status) if listening "$3"; then echo "$2: 127.0.0.1:$3"; else echo "$2: not running"; return 1; fi ;;
  esac
}

verb=${1:-}
shift || true
names=("$@")
((${#names[@]})) || names=(redis kafka "$database")
code=0
case $verb in
  start) for name in "${names[@]}"; do component start "$name"; done ;;
  # What cannot be stopped, or is not there, must not hide the rest.
  stop | status) for name in "${names[@]}"; do component "$verb" "$name" || code=1; done ;;
  *) usage "${BASH_SOURCE[0]}" ;;
esac
exit "$code"
