# Tells what stands on the box. Values: name (12 digits), digest, size.
whole() { [ -f "$1" ] && seen=$(sha256sum <"$1") && [ "${seen%% *}" = "$digest" ]; }

echo "arch=$(uname -m)"
set -- $(df -Pk . | tail -n 1)
echo "free_kb=$4"
missing=
for tool in setsid flock sha256sum tail readlink cp date; do
  command -v $tool >/dev/null 2>&1 || missing="$missing $tool"
done
echo "missing=$missing"
if [ ! -e "releases/$name" ]; then
  echo release=absent
elif [ -f "releases/$name/.complete" ] && whole "releases/$name/server"; then
  echo release=sealed
else
  echo release=damaged
fi
if whole "incoming/$name"; then echo incoming=whole; else echo incoming=absent; fi
current=$(readlink current) && echo "current=${current#releases/}"
previous=$(readlink previous) && echo "previous=${previous#releases/}"
exit 0
