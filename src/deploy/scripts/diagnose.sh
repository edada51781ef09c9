# One look at everything on the box that tells why a server does not serve. Nothing here changes anything.
say() { printf '%s\t%s\n' "$1" "$2"; }

read -r up idle </proc/uptime && say uptime "${up%.*} s"
read -r one five fifteen rest </proc/loadavg && say load "$one $five $fifteen"
say memory "$(awk '/^MemTotal/ { t = $2 } /^MemAvailable/ { a = $2 } END { printf "%d of %d MiB available", a / 1024, t / 1024 }' /proc/meminfo)"
set -- $(df -Pk . | tail -n 1)
say disk "$(($4 / 1024)) MiB free, $5 used"
set -- $(df -Pi . 2>/dev/null | tail -n 1)
say inodes "${4:--} free"
read -r open spare most </proc/sys/fs/file-nr && say files "$open open of $most"
if command -v nvidia-smi >/dev/null 2>&1; then
  timeout 10 nvidia-smi --query-gpu=name,utilization.gpu,memory.used,memory.total,temperature.gpu --format=csv,noheader 2>&1 |
    while IFS= read -r gpu; do say gpu "$gpu"; done
else
  say gpu "no nvidia-smi here"
fi
current=$(readlink current) && say release "${current#releases/}"
{ read -r trial back until <run/pending; } 2>/dev/null && say trial "$trial, back to $back in $((until - $(date +%s))) s unless confirmed"
{ IFS= read -r line <run/reverted; } 2>/dev/null && say reverted "$line"
{ read -r since reason <run/maintenance; } 2>/dev/null && say maintenance "entered by us: $reason"
{ read -r token until holding <run/lease; } 2>/dev/null && say lease "$holding, $((until - $(date +%s))) s left"
if [ -f supervise ]; then
  sh supervise status 8>&- | while IFS= read -r line; do
    [ "$line" != log ] || break
    say "${line%%=*}" "${line#*=}"
  done
  { read -r pid noted <run/server.pid; } 2>/dev/null && say descriptors "$(ls "/proc/$pid/fd" 2>/dev/null | wc -l) open by the server"
  echo log
  tail -n 15 log/server.log 2>/dev/null
else
  say supervisor "nothing was ever deployed here"
fi
exit 0
