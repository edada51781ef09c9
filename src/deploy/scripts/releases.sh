# Tells every release on the box, one a line: name, digest, commit, when it was verified (or
# -), its part, the schema it can read, and why the box once went back from it. Before them, the oldest schema that serves the data,
# the release to which somebody was going back when it was last switched, since when and why a deploy that never ended its work
# has the server in maintenance, and what was changing the data when it was cut or failed.
{ read -r version floor <env/schema; } 2>/dev/null || floor=0
echo "floor=$floor"
{ read -r returning <run/returning; } 2>/dev/null && echo "returning=$returning"
{ read -r owed <run/maintenance; } 2>/dev/null && printf 'maintenance=%s\n' "$owed"
{ read -r changing <run/data; } 2>/dev/null && printf 'data=%s\n' "$changing"
current=$(readlink current) || current=
previous=$(readlink previous) || previous=
{ read -r trial back until <run/pending; } 2>/dev/null || trial=
for release in releases/*; do
  [ -f "$release/.complete" ] || continue
  name=${release#releases/}
  commit=$(sed -n 's/^commit //p' "$release/.complete")
  digest=$(sed -n 's/^digest //p' "$release/.complete")
  verified=$(cat "$release/.verified" 2>/dev/null) || verified=-
  part=kept
  [ "$release" != "$previous" ] || part=previous
  [ "$release" != "$current" ] || part=current
  [ "$name" != "$trial" ] || part=trial
  { IFS= read -r bad <"bad/$name"; } 2>/dev/null || bad=
  schema=$(sed -n 's/^schema //p' "$release/.complete")
  printf 'release=%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "${digest:--}" "${commit:--}" "$verified" "$part" "${schema:-0}" "$bad"
done
exit 0
