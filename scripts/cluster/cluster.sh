#!/usr/bin/env bash
# Starts, stops and shows the cluster shape on this machine, on loopback, without root and without system services.
#
#   scripts/cluster/cluster.sh start|stop|status [redis] [kafka] [postgres|mariadb] [bunho] [nginx]
#   scripts/cluster/cluster.sh remove
#
# Without names: redis, kafka and the database, which is what nodes stand on. `all` is everything: these, two nodes behind nginx, whose address
# is printed at the end (`make cluster` and `make cluster-stop`).
#
#   CLUSTER_FOLDER   where data, logs and process ids lie; default target/cluster
#   LEDGER           postgres (default) or mysql: which database is meant without names; remembered by `start all`
#   POSTGRES_PORT, MARIADB_PORT   default 17432 and 17306
#   NGINX_PORT       where clients come in; default 8080
# The others' settings are told at the head of redis.sh, kafka.sh, bunho.sh and nginx.sh beside this file.
#
# Starting what runs and stopping what does not is no error. Data stay after a stop; `remove` removes them when nothing runs any more.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=process.sh
source "$here/process.sh"

root=$(cd "$here/../.." && pwd)
folder=${CLUSTER_FOLDER:-$root/target/cluster}
everything=(redis kafka postgres mariadb bunho nginx)

# The database that is meant: what is asked for, else what this cluster was made with, else PostgreSQL. `bunho.sh` reads it, too.
choose_ledger() {
  local made=
  [ ! -f "$folder/ledger" ] || made=$(<"$folder/ledger")
  LEDGER=${LEDGER:-${made:-postgres}}
  case $LEDGER in
    postgres) database=postgres ;;
    mysql | mariadb) LEDGER=mysql database=mariadb ;;
    *) die "LEDGER must be postgres or mysql" ;;
  esac
  export LEDGER
}

component() { # component VERB NAME
  # Looking at what was never made must not make it.
  if [ "$1" != start ] && [ ! -d "$folder/$2" ]; then [ "$1" = stop ] || { echo "$2: not running"; return 1; }; return 0; fi
  case $2 in
    redis | kafka | bunho) "$here/$2.sh" "$1" "$folder/$2" ;;
    nginx) NODES=$(nodes) "$here/nginx.sh" "$1" "$folder/nginx" ;;
    postgres) sql "$1" postgres "${POSTGRES_PORT:-}" 17432 ;;
    mariadb) sql "$1" mariadb "${MARIADB_PORT:-}" 17306 ;;
    *) die "no component is called $2" ;;
  esac
}

sql() { # sql VERB NAME WANTED DEFAULT
  if [ "$1" = start ]; then
    mkdir -p "$folder/$2"
    remembered_port "$folder/$2" "$3" "$4"
    "$here/sql.sh" start "$2" "$folder/$2" "$port"
  else
    "$here/sql.sh" "$1" "$folder/$2"
  fi
}

# The addresses of the nodes that were started in this folder.
nodes() {
  local n first count
  [ -f "$folder/bunho/count" ] || { echo "${NODES:-}"; return; }
  first=$(<"$folder/bunho/base-port") count=$(<"$folder/bunho/count")
  for ((n = 0; n < count; n++)); do printf '127.0.0.1:%s ' "$((first + n))"; done
}

# Redis, the topic and the nodes' secrets belong to one database: with another one under them nothing would fit together.
start_all() {
  local made=
  mkdir -p "$folder"
  [ ! -f "$folder/ledger" ] || made=$(<"$folder/ledger")
  [ "${made:-$LEDGER}" = "$LEDGER" ] ||
    die "$folder was made with LEDGER=$made: go on with that, begin anew (cluster.sh stop all, cluster.sh remove), or name another CLUSTER_FOLDER"
  echo "$LEDGER" >"$folder/ledger"
  for name in redis kafka "$database" bunho nginx; do component start "$name"; done
  announce
}

announce() {
  local key="\$BUNHO_ADMIN_KEY, as you set it"
  [ -n "${BUNHO_ADMIN_KEY:-}" ] || key="in $folder/bunho/admin.key (bunho zone list --data $folder/bunho finds it there)"
  cat <<END

serving http://127.0.0.1:$(<"$folder/nginx/base-port")
admin key $key
logs and data in $folder; 'make cluster-stop' stops it all and leaves the data
END
}

# Whether any process of a component lives.
lives() {
  local file
  case $1 in
    postgres | mariadb) component status "$1" >/dev/null ;;
    *) for file in "$folder/$1"/*.pid; do ! alive "$file" >/dev/null || return 0; done; return 1 ;;
  esac
}

remove() {
  local name
  for name in "${everything[@]}"; do
    ! lives "$name" || die "$name runs: scripts/cluster/cluster.sh stop all"
  done
  for name in "${everything[@]}"; do
    [ -d "$folder/$name" ] || continue
    # A database's data may lie elsewhere, and Kafka's jars are no data.
    case $name in
      postgres | mariadb) rm -rf "$(readlink -f "$folder/$name/data")" "${folder:?}/$name" ;;
      kafka) find "$folder/kafka" -mindepth 1 -maxdepth 1 ! -name 'libs*' -exec rm -rf {} + ;;
      *) rm -rf "${folder:?}/$name" ;;
    esac
  done
  rm -f "$folder/ledger"
}

verb=${1:-}
shift || true
names=("$@")
choose_ledger
((${#names[@]})) || names=(redis kafka "$database")
code=0
case $verb in
  start)
    if [ "${names[*]}" = all ]; then start_all; else for name in "${names[@]}"; do component start "$name"; done; fi ;;
  stop | status)
    if [ "${names[*]}" = all ]; then
      # Clients first, and what others stand on last.
      names=(nginx bunho kafka redis postgres mariadb)
      [ "$verb" = stop ] || names=(redis kafka "$database" bunho nginx)
    fi
    # What cannot be stopped, or is not there, must not hide the rest.
    for name in "${names[@]}"; do component "$verb" "$name" || code=1; done
    [ "$verb" != stop ] || echo "data stay in $folder; scripts/cluster/cluster.sh remove removes them" ;;
  remove) remove ;;
  *) usage "${BASH_SOURCE[0]}" ;;
esac
exit "$code"
