# Runs a command of the configuration's, which may take long, apart from this connection: cut, it goes on, and the next look finds
# it. Once for each token; an earlier one's is waited for. Values: slot, token, command, release (whose settings it gets, or
# nothing), place (where it runs), limit, wait (seconds), input, output (files, or nothing for neither).
# Prints `state=running` (ours), `state=busy` (an earlier one's), or `rc=…`; after a line `log` the end of what it wrote.
job=$PWD/jobs/$slot
mkdir -p -- jobs "$place" || exit 73
# Every process of the command holds the lock, so that no process id has to be trusted.
running() { [ -f "$job/lock" ] && ! flock -n "$job/lock" true; }
if [ "$(cat "$job/token" 2>/dev/null)" != "$token" ] && ! running; then
  rm -rf -- "$job"
  mkdir -- "$job" || exit 73
  printf '%s\n' "$command" >"$job/command" || exit 73
  cat >"$job/run" <<'RUN'
# The names of settings are not ours, so that only numbers stand here: 1 job, 2 settings, 3 identity, 4 place, 5 limit, 6 input, 7 output.
(
  set -- "$@" "$(command -v timeout)" "$(command -v sh)"
  cd -- "$4" || exit 73
  set -a
  [ ! -f "$2" ] || . "$2"
  [ ! -f "$3" ] || . "$3"
  set +a
  exec "$8" -k 10 "$5" "$9" "$1/command"
) <"$6" >>"$7" 2>>"$1/log"
echo "$?" >"$1/rc.new" && mv "$1/rc.new" "$1/rc"
RUN
  : >"$job/log"
  settings=-
  [ -z "$release" ] || settings=$PWD/releases/$release/server.env
  exec 6>"$job/lock"
  flock 6
  # Through a shell that ends at once, so that it is nobody's child who may be ended with this connection.
  (setsid sh "$job/run" "$job" "$settings" "$PWD/env/identity.env" "$place" "$limit" "${input:-/dev/null}" \
    "${output:-$job/log}" </dev/null >/dev/null 2>&1 8>&- &)
  exec 6>&-
  printf '%s\n' "$token" >"$job/token" || exit 73
fi
# Nobody else is kept waiting meanwhile.
exec 8>&-
left=$((wait * 10))
while running && [ "$left" -gt 0 ]; do
  sleep 0.1
  left=$((left - 1))
done
if running; then
  if [ "$(cat "$job/token")" = "$token" ]; then echo state=running; else echo state=busy; fi
elif [ "$(cat "$job/token")" != "$token" ]; then
  echo state=busy
else
  # One that ended without a word was killed, and its shell with it.
  echo "rc=$(cat "$job/rc" 2>/dev/null || echo 137)"
fi
echo log
tail -c 200000 "$job/log"
exit 0
