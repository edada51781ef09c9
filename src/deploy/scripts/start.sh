# Installs the supervisor from stdin and restarts the server under it. Values: name, trial, size (of the supervisor's text).
rm -f supervise.new
cat >supervise.new || exit 73
[ "$(wc -c <supervise.new)" -eq "$size" ] || exit 65
chmod 700 supervise.new && mv -T supervise.new supervise || exit 73
sh supervise stop 8>&- || exit 1
# By this clock: whatever serves later and started earlier is not what was deployed.
{ wc -c <log/server.log; } 2>/dev/null >run/logmark || echo 0 >run/logmark
began=$(date +%s)
echo "$began" >run/began || exit 73
sh supervise start 8>&- || exit 1
# The server's own time to come up begins now.
{ read -r trial_name back until <run/pending; } 2>/dev/null && [ "$trial_name" = "$name" ] &&
  printf '%s %s %s\n' "$name" "$back" $(($(date +%s) + trial)) >run/pending.new && mv run/pending.new run/pending
# Said at the end: a word to somebody who is gone ends this script.
echo "began=$began"
