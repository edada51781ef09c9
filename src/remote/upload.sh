# Stores stdin as $target, if its size and SHA-256 are right. Exit codes: 65 damaged, 73 cannot be stored.
umask 077
cd || exit 73
mkdir -p -- "$(dirname -- "$target")" || exit 73
# Parts of uploads that were cut; an upload still running keeps its file open and fails at its own rename.
rm -f -- "$target".*.part
seen=$(tee -- "$part" | sha256sum) || { rm -f -- "$part"; exit 73; }
stored=$(wc -c <"$part") || exit 73
if [ "$stored" -ne "$size" ] || [ "${seen%% *}" != "$digest" ]; then
  echo "the upload arrived damaged: $stored of $size bytes" >&2
  rm -f -- "$part"
  exit 65
fi
mv -- "$part" "$target" || exit 73
