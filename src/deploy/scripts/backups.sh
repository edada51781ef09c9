# Tells the backups on the box, the youngest last, one a line: name, release, whether that release still stands here, schema
# and its floor, when it was taken, bytes of the dump or -. With a name in `prove`, that one is compared with its checksums; exit code 65: damaged.
for kept in backups/2*; do
  [ -f "$kept/about" ] || continue
  of() { sed -n "s/^$1 //p" "$kept/about"; }
  release=$(of release)
  stands=no
  [ ! -f "releases/$release/.complete" ] || stands=yes
  bytes=-
  [ ! -f "$kept/dump" ] || bytes=$(wc -c <"$kept/dump")
  printf 'backup=%s\t%s\t%s\t%s\t%s\t%s\n' "${kept#backups/}" "${release:--}" "$stands" "$(of schema)" "$(of taken)" "$bytes"
done
[ -n "$prove" ] || exit 0
cd -- "backups/$prove" || exit 66
sha256sum -c sums >/dev/null 2>&1 || { echo "the backup $prove is damaged: its checksums differ" >&2; exit 65; }
exit 0
