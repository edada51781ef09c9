# Reads the uploaded file back from the disk. Values: name, digest. Exit code 65: damaged.
seen=$(sha256sum <"incoming/$name") || exit 73
[ "${seen%% *}" = "$digest" ] && exit 0
rm -f -- "incoming/$name"
echo "the uploaded file changed on the box's disk" >&2
exit 65
