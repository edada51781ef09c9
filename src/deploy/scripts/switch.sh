# Points `current` at a sealed release by one rename, on trial: unless it is confirmed within $trial seconds, the box goes
# back by itself. Values: name, trial, schema (version and floor, or nothing), returning (yes if somebody asked for the way back).
# Exit code 66: no such release.
# The way back is noted before anything changes, and leads only to a release that was verified and can read the schema of then.
# What changed the data is over: it fits this release, and the schema tells whom else.
# Prints `blocked=<name>` where the schema is what forbids the way back.
target=releases/$name
[ -f "$target/.complete" ] || { echo "the release $name is not sealed" >&2; exit 66; }
now=$(readlink current) || now=
previous=$(readlink previous) || previous=
{ read -r trying _ <run/pending; } 2>/dev/null || trying=
if [ "$now" = "$target" ] && [ -f "$target/.verified" ] && [ "$trying" != "$name" ]; then
  # It serves already; a restart of what was verified is no trial.
  rm -f run/pending run/data
  exit 0
fi
{ read -r version floor <env/schema; } 2>/dev/null || version=0 floor=0
if [ -n "$schema" ] && [ "${schema%% *}" -ge "$version" ]; then
  # From here on the release may bring its schema at any moment.
  printf '%s\n' "$schema" >env/schema.new && mv -T -- env/schema.new env/schema || exit 73
  floor=${schema##* }
fi
back=-
for way in "$now" "$previous"; do
  [ -n "$way" ] && [ "$way" != "$target" ] && [ -f "$way/.verified" ] || continue
  reads=$(sed -n 's/^schema //p' "$way/.complete")
  [ "${reads:-0}" -ge "${floor:-0}" ] || { echo "blocked=${way#releases/}"; continue; }
  back=${way#releases/}
  break
done
# The start of another release proves nothing of this one.
rm -f run/reverted run/began run/returning
[ "$returning" != yes ] || echo "$name" >run/returning || exit 73
printf '%s %s %s\n' "$name" "$back" $(($(date +%s) + trial)) >run/pending.new && mv run/pending.new run/pending || exit 73
# From here on somebody on the box watches the trial, also if nobody comes to start the server anew.
[ ! -f supervise ] || sh supervise watch 8>&- || exit 1
[ "$now" != "$target" ] || { rm -f run/data; exit 0; }
# What served until now stays, also where the schema forbids to go back to it by itself: a restored backup may need it.
if [ -n "$now" ] && [ -f "$now/.verified" ]; then
  rm -f previous.new && ln -s -- "$now" previous.new && mv -T previous.new previous || exit 73
fi
rm -f current.new && ln -s -- "$target" current.new && mv -T current.new current || exit 73
rm -f run/data
