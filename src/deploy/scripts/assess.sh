# Tells what stands on the box. Values: name (of the release), artifact (12 digits), digest, and the SHA-256 of the
# release's settings (settings) and of the box's identity (identity); host and port, where the server is to listen.
whole() { [ -f "$1" ] && seen=$(sha256sum <"$1") && [ "${seen%% *}" = "$2" ]; }

echo "arch=$(uname -m)"
set -- $(df -Pk . | tail -n 1)
echo "free_kb=$4"
# Some file systems count no inodes: they tell 0 of 0, or a dash.
set -- $(df -Pi . 2>/dev/null | tail -n 1)
case $2 in '' | 0 | -) echo free_inodes=- ;; *) echo "free_inodes=$4" ;; esac
missing=
for tool in setsid flock sha256sum tail readlink cp date grep; do
  command -v $tool >/dev/null 2>&1 || missing="$missing $tool"
done
echo "missing=$missing"
if [ ! -e "releases/$name" ]; then
  echo release=absent
elif [ -f "releases/$name/.complete" ] && whole "releases/$name/server" "$digest" &&
  whole "releases/$name/server.env" "$settings"; then
  echo release=sealed
else
  echo release=damaged
fi
incoming=absent
if whole "incoming/$artifact" "$digest"; then
  incoming=whole
else
  # The same program with other settings: it need not be sent again.
  for twin in "releases/$artifact" "releases/$artifact"-*; do
    [ -f "$twin/.complete" ] && whole "$twin/server" "$digest" && incoming=whole && break
  done
fi
echo "incoming=$incoming"
current=$(readlink current) && echo "current=${current#releases/}"
previous=$(readlink previous) && echo "previous=${previous#releases/}"
{ read -r version floor <env/schema; } 2>/dev/null && echo "floor=$floor"
{ read -r trial back until <run/pending; } 2>/dev/null && echo "trial=$trial"
{ IFS= read -r bad <"bad/$name"; } 2>/dev/null && echo "bad=$bad"
{ read -r since reason <run/maintenance; } 2>/dev/null && echo "maintenance=$since $reason"
{ read -r changing <run/data; } 2>/dev/null && echo "data=$changing"
[ ! -f "releases/$name/.verified" ] || echo verified=yes
! whole env/identity.env "$identity" || echo identity=same
{ read -r began <run/began; } 2>/dev/null && echo "began=$began"
# Somebody else's server on our port: known by neither descent nor group.
{ read -r own noted <run/server.pid; } 2>/dev/null || own=none
holders_of "${host:-${HOST:-0.0.0.0}}" "$port" | while read -r pid name; do
  at=$pid
  while [ "$at" -gt 1 ] 2>/dev/null && [ "$at" != "$own" ]; do
    { IFS= read -r stat <"/proc/$at/stat"; } 2>/dev/null || break
    set -- ${stat##*) }
    [ "$3" != "$own" ] || { at=$own; break; }
    at=$2
  done
  [ "$at" = "$own" ] || { echo "foreign=$pid $name"; break; }
done
# What people want to see before they let it go on.
{ read -r up _ </proc/uptime; } 2>/dev/null && echo "fact=up ${up%.*} s"
{ read -r one five _ </proc/loadavg; } 2>/dev/null && echo "fact=load $one $five of $(grep -c '^processor' /proc/cpuinfo 2>/dev/null) processors"
total=0 left=0
while read -r key value _; do
  case $key in MemTotal:) total=$value ;; MemAvailable:) left=$value ;; esac
done </proc/meminfo 2>/dev/null
echo "fact=memory $((left / 1024)) of $((total / 1024)) MiB available"
{ read -r open _ most </proc/sys/fs/file-nr; } 2>/dev/null && echo "fact=files $open open of $most"
if [ "$own" != none ] && [ -d "/proc/$own/fd" ]; then
  set -- "/proc/$own/fd/"*
  rss=$(sed -n 's/^VmRSS:[[:space:]]*//p' "/proc/$own/status" 2>/dev/null)
  echo "fact=server process $own, $# files open, ${rss:-? kB} of memory"
fi
[ ! -f supervise ] || sh supervise status 8>&- 7>&- | sed -n '1,/^log$/{/^log$/d;s/^/server_/;p;}'
exit 0
