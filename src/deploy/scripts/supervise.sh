#!/bin/sh
# Keeps the server of keeper/current running after the connection that started it is gone.
#
#   supervise start    start it, unless it is supervised already
#   supervise stop     end the supervisor, the server and the server's own children; nobody else's
#   supervise status   print what is known
#   supervise revert   go back from release $2 on trial; $3 is `release` if that release is to be shunned, $4 says why
#   supervise watch    see to it that the release on trial is gone back from when its time is up
#   supervise guard    (internal) waits for that
#   supervise run      (internal) the supervisor: starts the server again when it ends, with a growing delay
#   supervise launch   (internal) becomes the server
#   supervise serve    becomes the server for another manager (`managers.sh`)
#   supervise follow   (internal) brings a container's log here
#   supervise restarts tell an engine whether it starts a container that ended: $2 is `no` or `unless-stopped`
#   supervise holders  print who listens where the server is to
#
# Processes are known by id and start time, for ids are reused. All files are written aside and renamed.

restart_delay_max=60
# Tenths of a second between TERM and KILL; the bundled server drains for 30 s at most.
term_patience=350
log_bytes_max=8388608
rotate_every=10

# Start time (in clock ticks since boot), state, parent and group of process $1: fields 22, 3, 4 and 5 of its stat file.
stat_of() {
  { IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  set -- ${stat##*) }
  state=$1
  parent=$2
  group=$3
  shift 19
  born=$1
}

note() { printf '%s\n' "$2" >"$1.new" && mv "$1.new" "$1"; }

note_process() {
  stat_of "$2" && note "$1" "$2 $born"
}

# What became of the process noted in file $1: alive, stopped, dead or none. Sets `pid`.
fate() {
  fate=none
  { read -r pid noted <"$1"; } 2>/dev/null || return 0
  case $pid in '' | 0 | 1 | *[!0-9]*) return 0 ;; esac
  fate=dead
  if stat_of "$pid" && [ "$born" = "$noted" ]; then
    case $state in Z | X) ;; T | t) fate=stopped ;; *) fate=alive ;; esac
  fi
}

# Begins to wait for something, at most $1 tenths of a second.
patience() {
  left=$(($1 * 10))
  nap=1
}

# Waits a little, and a little longer each time: most of what is waited for is there at once. Fails when patience is at its end.
again() {
  [ "$left" -gt 0 ] || return 1
  sleep "0.0$nap"
  left=$((left - nap))
  [ "$nap" -ge 9 ] || nap=$((nap + 1))
}

# Waits until the process $1, born at $2, is gone, at most $3 tenths of a second. Its note says nothing here: a supervisor
# takes its own away before it dies.
await_end() {
  patience "$3"
  while stat_of "$1" && [ "$born" = "$2" ] && [ "$state" != Z ] && [ "$state" != X ]; do
    again || return 1
  done
}

# Whether the process $1, born at $2, is still there.
still_there() { ! await_end "$1" "$2" 0; }

# Ends the process noted in $1 and its group: TERM, patience of $2 tenths of a second, KILL.
end() {
  fate "$1"
  [ "$fate" != none ] || return 0
  leader=$pid
  leader_born=$noted
  if [ "$fate" = dead ]; then
    # Its children may live on in its group; the group's id stays taken as long as they do, unless a stranger has it.
    if ! stat_of "$leader" || [ "$born" = "$noted" ]; then kill -s KILL -- "-$leader" 2>/dev/null; fi
    rm -f -- "$1"
    return 0
  fi
  # A manager's process may lead no group of its own.
  own=
  [ "$group" = "$leader" ] || own=$leader
  kill -s TERM -- "-$leader" $own 2>/dev/null
  # A stopped process takes no TERM before it goes on.
  kill -s CONT -- "-$leader" $own 2>/dev/null
  await_end "$leader" "$leader_born" "$2"
  # Its group may have outlived it.
  kill -s KILL -- "-$leader" 2>/dev/null
  [ -z "$own" ] || ! still_there "$leader" "$leader_born" || kill -s KILL "$own" 2>/dev/null
  await_end "$leader" "$leader_born" 50 || { echo "process $leader cannot be killed" >&2; return 1; }
  rm -f -- "$1"
}

start() {
  # A box that was rebooted during a trial goes on with it.
  watch
  load_manager current/manager
  if managed; then
    cp -- current/manager run/manager.new && mv -T -- run/manager.new run/manager || return 1
    start_managed
    return
  fi
  rm -f run/manager
  fate run/supervisor.pid
  [ "$fate" = alive ] && return 0
  # A server that we left behind is ended by the supervisor; anybody else has to be asked.
  end run/server.pid "$term_patience" && port_free || return 1
  setsid sh "$self" run >>log/supervisor.log 2>&1 </dev/null 7>&- &
  patience 400
  while again; do
    fate run/supervisor.pid
    [ "$fate" = alive ] && return 0
  done
  echo "the supervisor did not start: $(tail -n 3 log/supervisor.log)" >&2
  return 1
}

stop() {
  load_manager run/manager
  if managed; then
    manager_stop || { echo "$manager does not stop the server" >&2; return 1; }
  fi
  # The supervisor ends the server itself; it needs more patience than the server does.
  end run/supervisor.pid $((term_patience + 60)) && end run/server.pid "$term_patience"
}

status() {
  load_manager run/manager
  fate run/supervisor.pid
  if managed; then fate=$manager; fi
  echo "supervisor=$fate"
  if [ "$manager" = docker ] && counted=$("$engine" inspect -f '{{.RestartCount}} {{.State.ExitCode}}' "$service" 2>/dev/null); then
    note run/exits "$counted 0"
  fi
  fate run/server.pid
  echo "server=$fate"
  if managed; then echo "service=$(manager_state)"; fi
  { read -r exits rc lasted <run/exits; } 2>/dev/null || { exits=0 rc=0 lasted=0; }
  printf 'exits=%s\nrc=%s\nlasted=%s\nlog\n' "$exits" "$rc" "$lasted"
  # A line that was cut off may begin in the middle of a secret, where nobody would find it to mask it.
  if [ "$(wc -c <log/server.log 2>/dev/null || echo 0)" -gt 4096 ]; then
    tail -c 4096 log/server.log | tail -n +2
  else
    cat log/server.log 2>/dev/null
  fi
  return 0
}

# Reads the trial under way into `trial`, `back` (`-` for none) and `until` (seconds of this box's clock).
on_trial() {
  { read -r trial back until <run/pending; } 2>/dev/null && case $until in '' | *[!0-9]*) return 1 ;; esac
}

watch() {
  on_trial || return 0
  setsid sh "$self" guard >>log/supervisor.log 2>&1 </dev/null 7>&- 9>&- &
}

guard() {
  exec 9>run/guard.lock
  # One that is at its end may still hold it.
  flock -w 5 9 || exit 0
  while on_trial; do
    [ "$(date +%s)" -lt "$until" ] || revert "$trial" unconfirmed "nobody confirmed it in time"
    sleep 1 9>&-
  done
}

# Goes back to what was verified before the release $1, which is on trial. Each part is harmless when repeated: a box that
# dies in here goes on at its next start, for the note of the trial goes last.
revert() {
  (
    exec 8>run/deploy.lock
    flock -w 120 8 || { tell "the deploy lock is held for too long"; exit 75; }
    on_trial && [ "$trial" = "$1" ] || { echo "the release $1 is not on trial" >&2; exit 64; }
    # Somebody gave it more time meanwhile.
    [ "$2" != unconfirmed ] || [ "$(date +%s)" -ge "$until" ] || exit 0
    if [ "$(readlink current)" != "releases/$1" ]; then
      sh "$self" start 8>&- 9>&- || exit 1
      rm -f run/pending
    elif [ "$back" = - ] || [ ! -f "releases/$back/server" ]; then
      [ "$2" != release ] || shun "$1" "$2" "$3"
      tell "the release $1 stays although it failed ($3): nothing else was ever verified here" | tee -a log/deploys.log
      rm -f run/pending
      echo "back=-"
      exit 0
    else
      [ "$2" = box ] || shun "$1" "$2" "$3"
      sh "$self" stop 8>&- 9>&- || exit 1
      rm -f current.new && ln -s "releases/$back" current.new && mv -T current.new current || exit 73
      tell "went back from $1 to $back: $3" >>log/deploys.log
      note run/reverted "$1 $back $3"
      began=$(date +%s)
      sh "$self" start 8>&- 9>&- || exit 1
      rm -f run/pending
      echo "began=$began"
    fi
    echo "back=$back"
    sed -n 's/^commit /commit=/p' "releases/$back/.complete"
  )
}

# Marks the release $1: how often it failed for $2, and why, once for each trial. That nobody confirmed it may be the keeper's
# fault, once.
shun() {
  mkdir -p bad
  [ ! "bad/$1" -nt run/pending ] || return 0
  { read -r times kind words <"bad/$1"; } 2>/dev/null || times=0
  case $times in '' | *[!0-9]*) times=0 ;; esac
  note "bad/$1" "$((times + 1)) $2 $3"
}

# The server keeps its file open for appending, so the content is moved and the file is cut.
rotate() {
  for log in log/server.log log/supervisor.log; do
    bytes=$({ wc -c <"$log"; } 2>/dev/null) || continue
    [ "$bytes" -le "$log_bytes_max" ] || { cp -- "$log" "$log.1" && : >"$log"; }
  done
}

rotate_for_ever() {
  while sleep "$rotate_every"; do
    kill -s 0 "$1" 2>/dev/null || return
    rotate
  done
}

tell() { printf '%s %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1"; }

run() {
  exec 9>run/supervisor.lock
  # The one before takes its note away first and dies a moment later: until then it holds the lock.
  flock -w 30 9 || { tell "another supervisor holds the lock"; exit 75; }
  # A server whose supervisor was killed is nobody's; two of them must never run.
  end run/server.pid "$term_patience" || exit 1
  rm -f run/exits
  ending=
  trap 'ending=yes' TERM INT HUP
  note_process run/supervisor.pid $$
  # Not `rotate_for_ever 9>&- &`: for a function, shells keep a copy of the descriptor aside, and with it the lock.
  (exec 9>&-; rotate_for_ever $$) &
  exits=0
  delay=1
  while [ -z "$ending" ]; do
    begun=$(date +%s)
    setsid sh "$self" launch $$ >>log/server.log 2>&1 </dev/null 9>&- &
    server=$!
    wait "$server"
    rc=$?
    [ -z "$ending" ] || break
    lasted=$(($(date +%s) - begun))
    kill -s KILL -- "-$server" 2>/dev/null
    exits=$((exits + 1))
    note run/exits "$exits $rc $lasted"
    [ "$lasted" -lt "$restart_delay_max" ] || delay=1
    tell "the server ended with code $rc after $lasted s; it is started again in $delay s"
    sleep "$delay" 9>&- &
    wait $!
    delay=$((delay * 2))
    [ "$delay" -le "$restart_delay_max" ] || delay=$restart_delay_max
  done
  end run/server.pid "$term_patience"
  # A server that was being launched has no note yet, but it is in the group of its own id or in ours.
  [ -z "$server" ] || kill -s KILL -- "-$server" "$server" 2>/dev/null
  rm -f run/supervisor.pid
  tell "the supervisor ends"
  kill -s KILL -- "-$$"
}

launch() {
  # No server meets data that something was changing when it was cut; it starts when that is whole.
  { read -r changing <run/data; } 2>/dev/null && { echo "no server is started: $changing was cut short or failed"; exit 75; }
  release=$(readlink -f current) || exit 126
  settings=$release/server.env
  identity=$PWD/env/identity.env
  # Each file holds one quoted assignment per setting; a value has no meaning to the shell. It may set any name, `PATH`
  # included: so they are read last, and after them only what the shell itself can do. The box's identity wins.
  (set -- "$settings" "$identity" && . "$1" && . "$2" && printf '%s\n%s\n' "${HOST:-}" "${PORT:-}") >run/address.new && mv run/address.new run/address
  note_process run/server.pid $$
  # If the supervisor was killed meanwhile, the next one may have looked before the note was there; after it, it sees it. Under
  # another manager nobody is meant: the shell of a start command ends at any moment.
  [ -z "$1" ] || { stat_of $$ && [ "$parent" = "$1" ]; } || exit 75
  set -- "$release/server" "$settings" "$identity"
  set -a
  . "$2"
  . "$3"
  set +a
  cd data || exit 126
  exec "$1"
}
