umask 077
cd -- "$(dirname -- "$0")" || exit 73
self=$PWD/${0##*/}
case $1 in
  start | stop)
    exec 7>run/verb.lock
    flock -w 30 7 || { echo "another command is at work" >&2; exit 75; }
    "$1"
    ;;
  status | run | watch | guard | serve | follow | holders) "$1" ;;
  revert) revert "$2" "$3" "$4" ;;
  launch) launch "$2" ;;
  restarts) restarts "$2" ;;
  *) echo "usage: supervise start|stop|status" >&2; exit 64 ;;
esac
exit
