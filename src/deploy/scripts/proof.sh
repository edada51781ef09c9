# Reads what the server wrote since its start. Values, one plain text a line: expected (each must be there), errors (none
# may be), ignored (lines with one of these are no errors). Exit code 67: a line that must not be there, or none that must.
{ read -r mark <run/logmark; } 2>/dev/null || mark=0
size=$(wc -c <log/server.log 2>/dev/null) || size=0
# It was rotated meanwhile: what is left is younger.
[ "$mark" -le "$size" ] || mark=0
tail -c "+$((mark + 1))" log/server.log 2>/dev/null >run/proof.log || : >run/proof.log
printf '%s\n' "$expected" | while IFS= read -r text; do
  [ -z "$text" ] || grep -qF -e "$text" run/proof.log || { echo "the log lacks the line with: $text" >&2; exit 67; }
done || exit 67
[ -n "$errors" ] || exit 0
printf '%s\n' "$errors" | grep -v '^$' >run/proof.errors
printf '%s\n' "$ignored" | grep -v '^$' >run/proof.ignored
# A file without patterns would match nothing in one `grep` and everything in another.
without_ignored() { if [ -s run/proof.ignored ]; then grep -vF -f run/proof.ignored; else cat; fi; }
found=$(grep -F -f run/proof.errors run/proof.log | without_ignored | tail -n 3)
rm -f run/proof.*
[ -z "$found" ] || { printf 'the log tells an error: %s\n' "$found" >&2; exit 67; }
exit 0
