# Looks at the server from the box itself and prints what it sees; judges nothing.
#   process=alive|dead|stopped|none   what became of the process that the supervisor started
#   port=open|closed|unknown          whether the kernel has a listener on the port
#   data=WORDS                        what was changing the data when it was cut or failed, where something was
#   http=CODE|refused|silent|unasked  the answer to one request for `path`, its body after the line `body`
cd || exit 1
run=keeper/run
{ read -r changing <$run/data; } 2>/dev/null && echo "data=$changing"

# The supervisor notes where its server listens; before the first start the session's own environment is the best guess.
host=${HOST:-127.0.0.1}
[ -r $run/address ] && { IFS= read -r host; IFS= read -r port; } <$run/address
case $host in '' | 0.0.0.0 | '*') host=127.0.0.1 ;; :: | '[::]') host=::1 ;; esac
case $host in *:*) site="[$host]:$port" ;; *) site=$host:$port ;; esac

# A process is known by its id and its start time, so that a reused id is not taken for it.
process=none
if [ -r $run/server.pid ] && read -r pid started <$run/server.pid; then
  process=dead
  if [ -r "/proc/$pid/stat" ] && IFS= read -r stat <"/proc/$pid/stat"; then
    set -- ${stat##*) }
    state=$1
    shift 19
    if [ "$1" = "$started" ]; then
      case $state in Z | X) ;; T | t) process=stopped ;; *) process=alive ;; esac
    fi
  fi
fi
echo "process=$process"

# Local addresses in these tables end in `:PORT` in hex, and state 0A is a listener. By `grep`: a shell reads such a table byte by
# byte. Where it cannot look nothing is known.
listening=unknown
hex=$(printf ':%04X' "$port")
for table in /proc/net/tcp /proc/net/tcp6; do
  [ -r $table ] || continue
  grep -q "$hex [0-9A-F]*:0000 0A " $table
  case $? in 0) listening=open ;; 1) listening=closed ;; *) listening=unknown ;; esac
  [ $listening = closed ] || break
done
echo "port=$listening"

# `-g`: brackets and braces in a query are themselves.
ask_curl() { curl -g -s -m 5 --noproxy '*' --max-filesize 262144 -w '\n%{http_code}' "http://$site$path"; }
ask_python() {
  python3 - "http://$site$path" <<'PYTHON'
import sys, urllib.request, urllib.error
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    answer = opener.open(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
except urllib.error.URLError as error:
    sys.exit(7 if isinstance(error.reason, ConnectionRefusedError) else 28)
sys.stdout.buffer.write(answer.read(262144) + b"\n%d" % answer.getcode())
PYTHON
}
ask_bash() {
  timeout 5 bash -c '
    exec 3<>"/dev/tcp/$0/$1" || exit 7
    printf "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n" "$2" "$0" >&3
    read -r _ code _ <&3 || exit 28
    while IFS= read -r line <&3; do [ "$line" = "$(printf "\r")" ] && break; done
    head -c 262144 <&3
    printf "\n%s" "$code"' "$host" "$port" "$path" 2>/dev/null
}
for tool in curl python3 bash; do
  command -v $tool >/dev/null 2>&1 && break
  tool=
done
case $tool in
  curl) said=$(ask_curl) ;;
  python3) said=$(ask_python) ;;
  bash) said=$(ask_bash) ;;
  *) said=; false ;;
esac
rc=$?
if [ -z "$tool" ]; then
  echo http=unasked
elif [ $rc -eq 0 ]; then
  echo "http=${said##*
}"
  echo body
  printf '%s\n' "${said%
*}"
elif [ $rc -eq 7 ]; then
  echo http=refused
else
  echo http=silent
fi
