#!/usr/bin/env bash
# nginx on loopback as the balancer of Bunho nodes, with deploy/nginx/bunho.conf.
#
#   scripts/cluster/nginx.sh start|stop|status [FOLDER [PORT]]
#
#   NGINX_FOLDER   default target/cluster/nginx      NGINX_PORT   default 8080
#   NODES          the nodes, "ADDRESS:PORT ADDRESS:PORT …"; default "127.0.0.1:8081 127.0.0.1:8082"
#
# Starting it again with other NODES takes them over without dropping a connection.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=process.sh
source "$here/process.sh"

root=$(cd "$here/../.." && pwd)

read_arguments() {
  dir=${1:-${NGINX_FOLDER:-$root/target/cluster/nginx}}
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  remembered_port "$dir" "${2:-${NGINX_PORT:-}}" 8080
  program=$(command -v nginx || echo /usr/sbin/nginx)
}

configure() {
  local node files
  files=$(ulimit -Hn)
  [ "$files" != unlimited ] && ((files < 20000)) || files=20000
  {
    cat <<EOF
# Written by scripts/cluster/nginx.sh; deploy/nginx/nginx.conf explains such a file.
daemon off;
pid $dir/master.pid;
error_log $dir/error.log warn;
worker_processes 1;
# Two descriptors a request under way, as far as this machine allows.
worker_rlimit_nofile $files;
events { worker_connections $((files / 2)); }
http {
    access_log off;
    server_tokens off;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    keepalive_timeout 30s;
    keepalive_requests 100000;
    upstream bunho {
        least_conn;
EOF
    for node in ${NODES:-127.0.0.1:8081 127.0.0.1:8082}; do echo "        server $node max_fails=2 fail_timeout=5s;"; done
    cat <<EOF
        keepalive 256;
        keepalive_timeout 60s;
        keepalive_requests 100000;
    }
    server {
        listen 127.0.0.1:$port backlog=4096;
        include $root/deploy/nginx/bunho.conf;
    }
}
EOF
  } >"$dir/nginx.conf"
}

workers() { cat "/proc/$1/task/$1/children"; }

# Whether none of these workers takes new connections any more.
retired() {
  local worker
  for worker in "$@"; do
    # A worker that only finishes what it began says so in its title; one that has ended has none.
    { tr '\0' ' ' <"/proc/$worker/cmdline" | grep -q 'worker process *$'; } 2>/dev/null && return 1
  done
  return 0
}

start() {
  local pid before=()
  need "$program"
  lock "$dir"
  configure
  "$program" -p "$dir" -e "$dir/error.log" -t -q -c "$dir/nginx.conf" || die "$dir/nginx.conf is not taken by nginx"
  if pid=$(alive "$dir/nginx.pid"); then
    read -r -a before <<<"$(workers "$pid")"
    kill -HUP "$pid"
    wait_until 10 retired "${before[@]}" || die "nginx does not take its new configuration; see $dir/error.log"
  else
    ! listening "$port" || die "port $port is taken by a process that is not ours"
    # As root nginx would turn its workers into nobody, who cannot write here.
    local user=()
    [ "$(id -u)" != 0 ] || user=(-g "user root;")
    launch "$dir" nginx "$program" -p "$dir" -e "$dir/error.log" -c "$dir/nginx.conf" "${user[@]}"
  fi
  wait_for "$dir" nginx listening "$port"
  status
}

status() { state nginx "$dir/nginx.pid" "$port"; }

stop() {
  lock "$dir"
  end_all "$dir/nginx.pid"
}

verb=${1:-}
shift || true
case $verb in
  start | stop | status) read_arguments "$@"; "$verb" ;;
  *) usage "${BASH_SOURCE[0]}" ;;
esac
