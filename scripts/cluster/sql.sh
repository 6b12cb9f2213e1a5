#!/usr/bin/env bash
# A PostgreSQL or MariaDB of one's own, for tests and `make cluster`: loopback only, its data and socket in a folder, stopped by the
# process id that it wrote there.
#
#   sql.sh start postgres|mariadb DIR PORT    makes DIR where there is none, starts, waits until it answers, prints its URL
#   sql.sh stop DIR                           ends exactly that process
#   sql.sh status DIR                         says whether it runs
#
#   BUNHO_SQL_OPTIONS    more options for the server, for tests
#
# Starting what runs and stopping what does not is no error.
# Neither server runs as root: root starts them as the users `postgres` and `mysql`, anybody else as themselves. DIR is where a test puts it
# (below target/cluster); where its path is not open to those users the data lie in a folder of /tmp that DIR/data points to.
set -euo pipefail
# Debian keeps servers where not everybody's path looks.
PATH=$PATH:/usr/sbin:/sbin
# They are words.
read -r -a options <<<"${BUNHO_SQL_OPTIONS:-}"

fail() { echo "sql.sh: $*" >&2; exit 1; }

# A command as the user that owns a server's data.
as() {
  local user=$1; shift
  if [ "$(id -u)" = 0 ]; then setpriv --reuid "$user" --regid "$user" --init-groups -- "$@"; else "$@"; fi
}

# The same in the background, out of reach of Ctrl-C in a terminal. setsid and setpriv replace themselves, so the id of the job is the server's.
detached() {
  local user=$1; shift
  if [ "$(id -u)" = 0 ]; then exec setsid setpriv --reuid "$user" --regid "$user" --init-groups -- "$@"; else exec setsid "$@"; fi
}

# Whether the process that DIR/pid names is still the one that wrote it. A zombie has ended.
runs() {
  local pid; pid=$(cat "$1/pid" 2>/dev/null) || return 1
  [ -r "/proc/$pid/stat" ] && [ "$(cat "$1/started" 2>/dev/null)" = "$(started "$pid")" ] && [ "$(sed 's/.*) //' "/proc/$pid/stat" | cut -c1)" != Z ]
}
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# The folder that the server owns, empty when new.
own() {
  local user=$1 dir=$2
  mkdir -p "$dir"
  [ -e "$dir/data" ] && return
  if [ "$(id -u)" = 0 ]; then
    local probe="$dir/.probe"; mkdir -p "$probe"; chown "$user" "$probe"
    if as "$user" test -w "$probe"; then mkdir "$dir/data"; else ln -s "$(mktemp -d --tmpdir=/tmp --suffix=.bunho-sql)" "$dir/data"; fi
    rmdir "$probe"
    chown "$user:" "$dir/data/."
  else
    mkdir "$dir/data"
  fi
}

# A PostgreSQL whose main process was killed is not gone before its other processes are; they work in the folder of its data. And its lock files are
# believed for as long as that process is listed, even where nobody clears away what has ended.
after_a_kill() {
  local db=$1 pid
  [ -e "$db/postmaster.pid" ] || return 0
  for _ in $(seq 300); do works_in "$db" || break; sleep 0.1; done
  ! works_in "$db" || fail "processes of an earlier start still work in $db"
  pid=$(head -1 "$db/postmaster.pid")
  [ ! -r "/proc/$pid/stat" ] || [ "$(sed 's/.*) //' "/proc/$pid/stat" | cut -c1)" != Z ] || rm -f "$db/postmaster.pid" "$db"/../.s.PGSQL.*
}
works_in() { local cwd; for cwd in /proc/[0-9]*/cwd; do [ "$(readlink "$cwd" 2>/dev/null)" != "$1" ] || return 0; done; return 1; }

start_postgres() {
  local dir=$1 port=$2 bin data
  bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -1)
  [ -x "$bin/postgres" ] || bin=$(dirname "$(command -v postgres)") || fail "postgres is missing; scripts/setup.sh installs it"
  own postgres "$dir"
  data=$(readlink -f "$dir/data")
  if [ ! -e "$data/db/PG_VERSION" ]; then
    as postgres "$bin/initdb" -D "$data/db" -U bunho --auth=trust -E UTF8 --locale=C.UTF-8 --no-sync >"$dir/init.log" 2>&1 || { cat "$dir/init.log" >&2; fail "initdb failed"; }
  fi
  if ! runs "$dir"; then
    after_a_kill "$data/db"
    detached postgres "$bin/postgres" -D "$data/db" -c listen_addresses=127.0.0.1 -p "$port" -k "$data" -c max_connections=200 \
      "${options[@]}" >>"$dir/log" 2>&1 </dev/null 9>&- &
    note "$dir" $! "$port"
  fi
  wait_for "$dir" as postgres "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"
  as postgres "$bin/psql" -qAt -h "$data" -p "$port" -U bunho postgres -c "SELECT 1 FROM pg_database WHERE datname = 'bunho'" | grep -q 1 ||
    as postgres "$bin/createdb" -h "$data" -p "$port" -U bunho bunho
  echo "postgres://bunho@127.0.0.1:$port/bunho"
}

start_mariadb() {
  local dir=$1 port=$2 data
  command -v mariadbd >/dev/null || fail "mariadbd is missing; scripts/setup.sh installs it"
  own mysql "$dir"
  data=$(readlink -f "$dir/data")
  if [ ! -e "$data/db/mysql" ]; then
    as mysql mariadb-install-db --no-defaults --datadir="$data/db" --auth-root-authentication-method=normal --skip-test-db >"$dir/init.log" 2>&1 ||
      { cat "$dir/init.log" >&2; fail "mariadb-install-db failed"; }
  fi
  if ! runs "$dir"; then
    detached mysql mariadbd --no-defaults --datadir="$data/db" --bind-address=127.0.0.1 --port="$port" --socket="$data/mysqld.sock" \
      --pid-file="$data/mysqld.pid" --innodb-buffer-pool-size=256M --innodb-log-file-size=256M --max-connections=200 \
      "${options[@]}" >>"$dir/log" 2>&1 </dev/null 9>&- &
    note "$dir" $! "$port"
  fi
  wait_for "$dir" mariadb-admin --no-defaults --silent --socket="$data/mysqld.sock" -u root ping
  mariadb --no-defaults --socket="$data/mysqld.sock" -u root -e \
    "CREATE DATABASE IF NOT EXISTS bunho; CREATE USER IF NOT EXISTS 'bunho'@'127.0.0.1'; GRANT ALL ON *.* TO 'bunho'@'127.0.0.1'; \
     CREATE USER IF NOT EXISTS 'bunho'@'localhost'; GRANT ALL ON *.* TO 'bunho'@'localhost'"
  echo "mysql://bunho@127.0.0.1:$port/bunho"
}

note() { echo "$2" >"$1/pid"; started "$2" >"$1/started"; echo "$3" >"$1/port"; }

wait_for() {
  local dir=$1; shift
  for _ in $(seq 300); do
    "$@" >/dev/null 2>&1 && return
    runs "$dir" || { tail -5 "$dir/log" >&2; fail "it ended at once; see $dir/log"; }
    sleep 0.1
  done
  fail "it does not answer after 30 s; see $dir/log"
}

stop() {
  local dir=$1
  if runs "$dir"; then
    local pid; pid=$(cat "$dir/pid")
    kill -CONT "$pid"; kill -INT "$pid" 2>/dev/null; kill -TERM "$pid" 2>/dev/null || true
    for _ in $(seq 200); do runs "$dir" || break; sleep 0.1; done
    ! runs "$dir" || { kill -KILL "$pid"; echo "sql.sh: $pid had to be killed" >&2; }
  fi
  rm -f "$dir/pid" "$dir/started"
}

case "${1:-}" in
  start)
    [ $# = 4 ] || fail "start postgres|mariadb DIR PORT"
    mkdir -p "$3"; dir=$(readlink -f "$3")
    exec 9>"$dir/lock"
    flock -w 120 9 || fail "another start in $dir does not end"
    ! runs "$dir" || [ "$(cat "$dir/port")" = "$4" ] || fail "$dir serves port $(cat "$dir/port"), and $4 is asked for"
    case "$2" in
      postgres) start_postgres "$dir" "$4" ;;
      mariadb) start_mariadb "$dir" "$4" ;;
      *) fail "$2 is neither postgres nor mariadb" ;;
    esac ;;
  stop)
    [ $# = 2 ] || fail "stop DIR"
    [ ! -d "$2" ] || stop "$(readlink -f "$2")" ;;
  status)
    [ $# = 2 ] || fail "status DIR"
    dir=$(readlink -f "$2"); name=$(basename "$dir")
    if runs "$dir"; then echo "$name: process $(cat "$dir/pid"), 127.0.0.1:$(cat "$dir/port")"; else echo "$name: not running"; exit 1; fi ;;
  *) fail "start postgres|mariadb DIR PORT, stop DIR, or status DIR" ;;
esac
