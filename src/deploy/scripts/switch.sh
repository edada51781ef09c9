# Points `current` at a sealed release by one rename, on trial: unless it is confirmed within $trial seconds, the box goes
# back by itself. Values: name, trial. Exit code 66: no such release.
# The way back is noted before anything changes, and leads only to a release that was verified.
target=releases/$name
[ -f "$target/.complete" ] || { echo "the release $name is not sealed" >&2; exit 66; }
now=$(readlink current) || now=
previous=$(readlink previous) || previous=
if [ "$now" = "$target" ] && [ -f "$target/.verified" ]; then
  # It serves already; a restart of what was verified is no trial.
  rm -f run/pending
  exit 0
fi
back=-
for way in "$now" "$previous"; do
  [ -n "$way" ] && [ "$way" != "$target" ] && [ -f "$way/.verified" ] && back=${way#releases/} && break
done
# The start of another release proves nothing of this one.
rm -f run/reverted run/began
printf '%s %s %s\n' "$name" "$back" $(($(date +%s) + trial)) >run/pending.new && mv run/pending.new run/pending || exit 73
[ "$now" = "$target" ] && exit 0
if [ "$back" = "${now#releases/}" ]; then
  rm -f previous.new && ln -s -- "$now" previous.new && mv -T previous.new previous || exit 73
fi
rm -f current.new && ln -s -- "$target" current.new && mv -T current.new current || exit 73
