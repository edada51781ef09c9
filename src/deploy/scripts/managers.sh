
# What keeps the server running where it is not us. All managers but `docker` start the same thing, `supervise serve`, which notes
# itself and becomes the server: so the process is known by its own word, whoever keeps it, and its group is its own.

# Sets manager, service, and what else the file $1 holds; without it we keep the server ourselves.
load_manager() {
  manager=supervised service=vast-keeper-server engine=docker options= names= image=
  start_command= stop_command= status_command= pid_command=
  [ ! -f "$1" ] || . "$1"
}

managed() { [ "$manager" != supervised ]; }

unit_text() {
  cat <<UNIT
[Unit]
Description=The server that vast-keeper deploys here
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh "$self" serve
Restart=always
RestartSec=1
KillMode=control-group
TimeoutStopSec=$((term_patience / 10 + 5))

[Install]
WantedBy=multi-user.target
UNIT
}

manager_start() {
  case $manager in
    systemd)
      unit=/etc/systemd/system/$service.service
      unit_text >"$unit.new" && mv -T -- "$unit.new" "$unit" && systemctl daemon-reload || return 1
      # A container without a boot has nothing to be enabled for.
      systemctl enable "$service.service" >/dev/null 2>&1
      systemctl restart "$service.service"
      ;;
    pm2)
      # A reload would keep the release that `current` meant when it was started.
      pm2 delete "$service" >/dev/null 2>&1
      pm2 start "$self" --name "$service" --interpreter sh --kill-timeout "$((term_patience * 100))" -- serve >/dev/null &&
        pm2 save >/dev/null 2>&1
      ;;
    docker) container_start ;;
    command) KEEPER_SERVE="sh '$self' serve" sh -c "$start_command" >>log/supervisor.log 2>&1 ;;
  esac 7>&- 8>&-
}

manager_stop() {
  case $manager in
    systemd) [ ! -f "/etc/systemd/system/$service.service" ] || systemctl stop "$service.service" ;;
    pm2) pm2 delete "$service" >/dev/null 2>&1 || : ;;
    docker)
      "$engine" stop -t "$((term_patience / 10))" "$service" >/dev/null 2>&1
      "$engine" rm -f "$service" >/dev/null 2>&1
      ! "$engine" inspect "$service" >/dev/null 2>&1
      ;;
    command) KEEPER_SERVE="sh '$self' serve" sh -c "$stop_command" >>log/supervisor.log 2>&1 ;;
  esac 7>&- 8>&-
}

# The main process by the manager's own word; nothing if there is none.
manager_pid() {
  case $manager in
    systemd) systemctl show -p MainPID --value "$service.service" ;;
    pm2) pm2 pid "$service" ;;
    docker) "$engine" inspect -f '{{.State.Pid}}' "$service" ;;
    command) sh -c "$pid_command" ;;
  esac 2>/dev/null 7>&- 8>&- | tail -n 1 | grep -x '[1-9][0-9]*'
}

# The state by the manager's own word, in a few words.
manager_state() {
  case $manager in
    systemd) systemctl is-active "$service.service" ;;
    pm2) pm2 pid "$service" | grep -q '[1-9]' && echo online || echo stopped ;;
    docker) "$engine" inspect -f '{{.State.Status}}' "$service" ;;
    command) if [ -n "$status_command" ]; then sh -c "$status_command"; else manager_pid >/dev/null && echo running || echo stopped; fi ;;
  esac 2>&1 7>&- 8>&- | tail -n 1 | cut -c 1-80
}

# The container gets the settings by their names, from our environment: no value stands in a command line.
container_start() {
  "$engine" rm -f "$service" >/dev/null 2>&1
  settings=$(readlink -f current)/server.env
  listens | tr ' ' '\n' >run/address.new && mv run/address.new run/address
  eval "set -- $options"
  for name in $names; do set -- "$@" -e "$name"; done
  (
    set -- "$settings" "$PWD/env/identity.env" "$(command -v "$engine")" run -d --name "$service" --restart unless-stopped "$@" "$image"
    set -a
    . "$1"
    . "$2"
    set +a
    shift 2
    exec "$@"
  ) >/dev/null && { setsid sh "$self" follow >/dev/null 2>&1 </dev/null 7>&- 8>&- 9>&- & }
}

# Whether the engine starts a container that ended: `no` while its data is changed, else `unless-stopped`. Everybody else starts the
# server by `launch`, which looks for itself. An engine that cannot be told (podman before 5.1) goes on as it did.
restarts() {
  load_manager run/manager
  [ "$manager" != docker ] || "$engine" update --restart "$1" "$service" >/dev/null 2>&1
}

# Brings what the container writes into the server's log, and notes its process whenever it is another one.
follow() {
  exec 5>run/follow.lock
  flock -w 5 5 || exit 0
  load_manager run/manager
  since=0
  while [ "$manager" = docker ] && "$engine" inspect "$service" >/dev/null 2>&1; do
    pid=$(manager_pid) && note_process run/server.pid "$pid"
    "$engine" logs -f --since "$since" "$service" >>log/server.log 2>&1 5>&-
    since=$(date +%s)
    rotate
    sleep 1 5>&-
    load_manager run/manager
  done
}

start_managed() {
  if fate run/server.pid && [ "$fate" = alive ] && [ "$pid" = "$(manager_pid)" ]; then
    return 0
  fi
  port_free || return 1
  rm -f run/exits run/starts
  if ! said=$(manager_start 2>&1); then
    echo "$manager does not start the server: $(printf '%s' "$said" | tail -n 3)" >&2
    return 1
  fi
  patience 100
  while again; do
    if known=$(manager_pid); then
      # Who does not start `supervise serve` is taken at its manager's word.
      [ -f run/starts ] || note_process run/server.pid "$known"
      fate run/server.pid
      [ "$fate" = alive ] && [ "$pid" = "$known" ] && return 0
    fi
  done
  # It was started, and ends again and again: the gate sees why.
  [ ! -f run/starts ] && [ "$manager" != docker ] || return 0
  echo "$manager tells of no process of the server's (${known:-none}; noted: $(cat run/server.pid 2>/dev/null))" >&2
  return 1
}

# Becomes the server for a manager, in a group of its own.
serve() {
  load_manager run/manager
  stat_of $$ || exit 75
  [ "$group" = $$ ] || exec setsid sh "$self" serve
  exec >>log/server.log 2>&1 </dev/null
  rotate
  { read -r starts <run/starts; } 2>/dev/null || starts=0
  note run/starts $((starts + 1))
  # How the one before ended is only known to the manager.
  [ "$starts" -eq 0 ] || note run/exits "$starts - 0"
  launch ""
}

# Where the server will listen, as its settings say: `host port`.
listens() {
  (set -- "$(readlink -f current)/server.env" "$PWD/env/identity.env" && . "$1" && . "$2" && printf '%s %s\n' "${HOST:-0.0.0.0}" "${PORT:-0}")
}

holders() { holders_of $(listens); }

# Waits a moment for the place where our server is to listen; names who has it.
port_free() {
  # By the clock: on a busy box to look takes longer than to wait.
  ends=$(($(date +%s) + 3))
  while held=$(holders) && [ -n "$held" ]; do
    if [ "$(date +%s)" -lt "$ends" ]; then
      sleep 0.1
    else
      echo "the server's port is held by process $(printf '%s' "$held" | tr '\n' ',')" >&2
      return 1
    fi
  done
  return 0
}
