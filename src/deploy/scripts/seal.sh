# Turns the uploaded file into a release folder by one rename. Values: name, digest, commit.
# A folder with `.complete` in it was whole at that rename; anything else under that name is moved out of the way.
[ -f "releases/$name/.complete" ] && [ ! -f "incoming/$name" ] && exit 0
new=releases/.sealing-$name
rm -rf -- "$new"
mkdir -- "$new" || exit 73
cp -- "incoming/$name" "$new/server" && chmod 755 -- "$new/server" || exit 73
printf 'digest %s\ncommit %s\n' "$digest" "$commit" >"$new/.complete" || exit 73
# The data must be on the disk before its name is; a file system that cannot be synced alone is synced with the rest.
sync -f -- "$new/server" 2>/dev/null || sync
if [ -e "releases/$name" ]; then
  rm -rf -- "releases/.trash-$name"
  mv -T -- "releases/$name" "releases/.trash-$name" || exit 73
fi
mv -T -- "$new" "releases/$name" || exit 73
rm -f -- "incoming/$name"
exit 0
