# Turns the program and its settings (stdin) into a release folder by one rename.
# Values: name, artifact, digest, commit, settings, schema (its version, or nothing),
# manager (what keeps the server running, or nothing for us), tree (yes if one was built), size. Exit code 65: the settings were cut short; 66: no program.
# A folder with `.complete` in it was whole at that rename; anything else under that name is moved out of the way.
whole() { [ -f "$1" ] && seen=$(sha256sum <"$1") && [ "${seen%% *}" = "$2" ]; }

[ -f "releases/$name/.complete" ] && whole "releases/$name/server" "$digest" &&
  whole "releases/$name/server.env" "$settings" && exit 0
from=
for place in "incoming/$artifact" "releases/$artifact/server" "releases/$artifact"-*/server; do
  whole "$place" "$digest" && from=$place && break
done
[ -n "$from" ] || { echo "the program is not on the box any more" >&2; exit 66; }
new=releases/.sealing-$name
rm -rf -- "$new"
mkdir -- "$new" || exit 73
cat >"$new/server.env" || exit 73
[ "$(wc -c <"$new/server.env")" -eq "$size" ] || exit 65
chmod 600 -- "$new/server.env" || exit 73
[ -z "$manager" ] || printf '%s\n' "$manager" >"$new/manager" || exit 73
# A second name for the same file costs no room; where the file system knows none, a copy does.
case $from in
  incoming/*) cp -- "$from" "$new/server" ;;
  *) ln -- "$from" "$new/server" 2>/dev/null || cp -- "$from" "$new/server" ;;
esac && chmod 755 -- "$new/server" || exit 73
if [ "$tree" = yes ]; then
  # A seal that is cut in between leaves no built tree behind, and the next deploy builds it anew.
  [ -f "builds/$name/built" ] || { echo "the tree is not built any more" >&2; exit 66; }
  rm -f -- "builds/$name/built"
  mv -T -- "builds/$name/tree" "$new/tree" || exit 73
fi
printf 'digest %s\ncommit %s\nschema %s\n' "$digest" "$commit" "${schema:-0}" >"$new/.complete" || exit 73
# The data must be on the disk before its name is; a file system that cannot be synced alone is synced with the rest.
sync -f -- "$new/server" 2>/dev/null || sync
if [ -e "releases/$name" ]; then
  rm -rf -- "releases/.trash-$name"
  mv -T -- "releases/$name" "releases/.trash-$name" || exit 73
fi
mv -T -- "$new" "releases/$name" || exit 73
rm -f -- "incoming/$artifact"
exit 0
