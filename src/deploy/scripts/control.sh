# Passes a verb to the supervisor. Value: verb. Exit code 66: nothing was ever deployed here.
[ -f supervise ] || [ "$verb" != stop ] || exit 0
[ -f supervise ] || { echo "no server was deployed here" >&2; exit 66; }
[ "$verb" != restart ] || sh supervise stop 8>&- || exit 1
began=$(date +%s)
case $verb in restart) verb=start ;; esac
sh supervise "$verb" 8>&- || exit
# Said once it runs: a word to somebody who is gone ends this script, and would leave the box without a server.
[ "$verb" = status ] || echo "began=$began"
