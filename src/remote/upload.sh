# Stores stdin as $part. Values: part, target, size. Exit codes: 65 cut short, 73 cannot be stored.
umask 077
cd || exit 73
mkdir -p -- "$(dirname -- "$target")" || exit 73
# Parts of uploads that were cut. One that is still being written keeps its file open and is never given the name.
rm -f -- "$target".*.part
cat >"$part" || { rm -f -- "$part"; exit 73; }
stored=$(wc -c <"$part") || exit 73
if [ "$stored" -ne "$size" ]; then
  echo "the upload was cut: $stored of $size bytes" >&2
  rm -f -- "$part"
  exit 65
fi
