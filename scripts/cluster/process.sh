# shellcheck shell=bash
# What the starters beside this file share: a process is known by the id in its file *and* by when it started, so a recycled id is
# never mistaken for it; everything waits with a bound; nothing is ever ended by name.
#
# A component's folder holds NAME.pid ("id start-time"), NAME.log and its data. Source this file; it does nothing by itself.

# Seconds that a component may take to answer, or to end.
: "${START_SECONDS:=60}" "${STOP_SECONDS:=30}"

die() { echo "${0##*/}: $*" >&2; exit 1; }

need() { command -v "$1" >/dev/null || die "$1 is missing; scripts/setup.sh installs it"; }

# When process $1 started, in the kernel's ticks; nothing if there is none.
started_at() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  stat=${stat##*) }        # behind the program's name, which may contain anything
  # shellcheck disable=SC2086 # the fields are words
  set -- $stat
  # A zombie has ended, and only its parent has not asked; but while it has other threads, these still hold its ports.
  [ "$1" != Z ] || [ "${18}" -gt 1 ] || return 1
  echo "${20}"
}

# Whether the process in file $1 is alive; prints its id.
alive() {
  local pid since
  [ -f "$1" ] || return 1
  read -r pid since <"$1" || return 1
  [ "$(started_at "$pid")" = "$since" ] || return 1
  echo "$pid"
}

# Starts "$@" in the background: launch FOLDER NAME COMMAND... Its own session, so that Ctrl-C in a terminal does not reach it, and no
# lock or pipe of the caller's kept open.
launch() {
  local dir=$1 name=$2 pid
  shift 2
  setsid "$@" </dev/null >>"$dir/$name.log" 2>&1 9>&- &
  pid=$!
  record "$dir/$name.pid" "$pid"
}

# Writes process $2 into file $1, whole or not at all.
record() {
  echo "$2 $(started_at "$2")" >"$1.new"
  mv "$1.new" "$1"
}

# Polls: wait_until SECONDS COMMAND...
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

# Polls until COMMAND succeeds; fails as soon as the process that it is about has ended: wait_for FOLDER NAME COMMAND...
wait_for() {
  local dir=$1 name=$2 end=$((SECONDS + START_SECONDS))
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! alive "$dir/$name.pid" >/dev/null; then
      tail -n 20 "$dir/$name.log" >&2
      die "$name ended while starting; its log is $dir/$name.log"
    fi
    ((SECONDS < end)) || die "$name does not answer after $START_SECONDS s; its log is $dir/$name.log"
    sleep 0.1
  done
}

# Whether something listens on 127.0.0.1:$1.
listening() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

ended() { ! alive "$1" >/dev/null; }

# Asks the processes in the files to end, all at once, waits, and ends by force what is stuck (a stopped one cannot obey).
end_all() {
  local file pid
  for file in "$@"; do
    if pid=$(alive "$file"); then kill -TERM "$pid" 2>/dev/null || true; kill -CONT "$pid" 2>/dev/null || true; fi
  done
  for file in "$@"; do
    if ! wait_until "$STOP_SECONDS" ended "$file" && pid=$(alive "$file"); then
      echo "process $pid of $file did not end in $STOP_SECONDS s and is killed" >&2
      kill -KILL "$pid" 2>/dev/null || true
      wait_until 10 ended "$file" || die "process $pid cannot be ended"
    fi
    rm -f "$file"
  done
}

# One start or stop at a time in a folder.
lock() {
  mkdir -p "$1"
  exec 9>"$1/lock"
  flock -w 120 9 || die "another start or stop in $1 does not end"
}

# Prints one line a process: state NAME FILE PORT. Fails when it is not running.
state() {
  local pid
  if pid=$(alive "$2"); then echo "$1: process $pid, 127.0.0.1:$3"; else echo "$1: not running"; return 1; fi
}

# Ends the process of file $1 as a power cut would.
kill_one() {
  local pid
  pid=$(alive "$1") || die "the process of $1 is not running"
  kill -KILL "$pid"
  wait_until 10 ended "$1" || die "process $pid cannot be ended"
}

# Sets `port`: the one that this folder was made with, else what is wanted, else the default. A folder keeps its ports, since its
# members know one another by them: remembered_port FOLDER WANTED DEFAULT
remembered_port() {
  if [ -f "$1/base-port" ]; then
    port=$(<"$1/base-port")
    [ -z "$2" ] || [ "$2" = "$port" ] || die "$1 was made with base port $port, and $2 is asked for: take that, or another folder"
  else
    port=${2:-$3}
    echo "$port" >"$1/base-port"
  fi
}

# What the head of a script says of its use.
usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$1" >&2
  exit 64
}
