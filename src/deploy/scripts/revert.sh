# Goes back from a release on trial at once. Values: name, why (`release` if another box would fail too), words.
# Prints where it went: `back=…`, or `back=-` when nothing was ever verified here.
{ read -r from went reason <run/reverted; } 2>/dev/null || from=
if [ "$from" = "$name" ] && [ "$(readlink current)" = "releases/$went" ]; then
  # The box was quicker.
  echo "back=$went"
  sed -n 's/^commit /commit=/p' "current/.complete"
  exit 0
fi
# The revert takes the lock of this script itself.
flock -u 8
sh supervise revert "$name" "$why" "$words" 8>&-
