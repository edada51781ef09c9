# Passes a verb to the supervisor. Value: verb. Exit code 66: nothing was ever deployed here; 67: the data is half-way, and no
# server is started anew on it.
[ -f supervise ] || [ "$verb" != stop ] || exit 0
[ -f supervise ] || { echo "no server was deployed here" >&2; exit 66; }
if [ "$verb" = restart ] && { read -r changing <run/data; } 2>/dev/null; then
  echo "$changing" >&2
  exit 67
fi
[ "$verb" != restart ] || sh supervise stop 8>&- || exit 1
began=$(date +%s)
case $verb in restart) verb=start ;; esac
sh supervise "$verb" 8>&- || exit
# Said once it runs: a word to somebody who is gone ends this script, and would leave the box without a server.
[ "$verb" = status ] || echo "began=$began"
