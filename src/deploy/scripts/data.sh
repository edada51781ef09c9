# Notes on the box that its data is being changed, and by what, or that it is whole again. Values: what (empty: whole). Who finds the
# note after a keeper that died knows that the server that stands there may not fit its data.
if [ -n "$what" ]; then
  printf '%s\n' "$what" >run/data.new && mv run/data.new run/data || exit 73
  policy=no
else
  rm -f run/data
  policy=unless-stopped
fi
# An engine asks nobody before it starts a container anew.
[ ! -f supervise ] || sh supervise restarts "$policy" 8>&- 2>/dev/null || :
