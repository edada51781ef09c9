# Ends the trial of a release: it stays, and counts as verified. Values: name, by. Exit code 69: the box went back meanwhile.
now=$(readlink current) || now=
if [ "$now" != "releases/$name" ]; then
  echo "the box went back to ${now#releases/} by itself: $(cat run/reverted 2>/dev/null)" >&2
  exit 69
fi
# The note of the trial goes last: whoever is cut off here goes back.
date +%s >"$now/.verified.new" && mv "$now/.verified.new" "$now/.verified" || exit 73
rm -f run/returning "bad/$name" run/pending
printf '%s verified %s by %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$name" "$by" >>log/deploys.log
exit 0
