# Points `current` at a sealed release by one rename. Value: name. Exit code 66: no such release.
# What was current is noted first, if it was ever verified: the way back must never lead to a release that failed.
target=releases/$name
[ -f "$target/.complete" ] || { echo "the release $name is not sealed" >&2; exit 66; }
now=$(readlink current) || now=
[ "$now" = "$target" ] && exit 0
if [ -n "$now" ] && [ -f "$now/.verified" ]; then
  rm -f previous.new && ln -s -- "$now" previous.new && mv -T previous.new previous || exit 73
fi
rm -f current.new && ln -s -- "$target" current.new && mv -T current.new current || exit 73
