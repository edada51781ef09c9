# Shows how the box and its server ended; changes nothing. Each part is bounded, so that none crowds out the others.
cd || exit 1
part() {
  title=$1
  most=$2
  shift 2
  printf '\n== %s\n' "$title"
  "$@" 2>&1 </dev/null | tail -c "$most"
}
part 'time and load' 512 sh -c 'date -u; cat /proc/loadavg /proc/uptime'
part 'server log, the end' 65536 tail -n 400 keeper/log/server.log
part 'supervisor log, the end' 8192 tail -n 60 keeper/log/supervisor.log
part 'processes' 16384 sh -c 'ps -eo pid,ppid,stat,etime,rss,comm --sort=-rss 2>/dev/null | head -n 60 || ps | head -n 60'
part 'memory and disk' 4096 sh -c 'head -n 5 /proc/meminfo; df -k . 2>/dev/null; df -i . 2>/dev/null'
if command -v nvidia-smi >/dev/null 2>&1; then
  part 'nvidia-smi' 16384 nvidia-smi
else
  printf '\n== nvidia-smi\nnot there\n'
fi
part 'kernel messages, the end' 8192 sh -c 'dmesg 2>/dev/null | tail -n 40'
exit 0
