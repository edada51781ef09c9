# Tells of the files of a release that may hold migrations. Values: place (the release's tree), before (that of the release that
# serves, or nothing), files (a pattern within the tree), read (a file to print, or nothing to list them). A line of the list is
# `new` or `old`, a tab, and the file. Exit code 66: it is not there; 67: it is too large to be looked through.
most=200000
before=${before:+$PWD/$before}
cd -- "$place" || exit 66
if [ -n "$read" ]; then
  [ -f "$read" ] || exit 66
  [ "$(wc -c <"$read")" -le "$most" ] || { echo "$read is larger than $most bytes" >&2; exit 67; }
  cat -- "$read"
  exit
fi
# Nothing is split, so that only the pattern's own signs have a meaning.
IFS=
for file in $files; do
  [ -f "$file" ] || continue
  if [ -n "$before" ] && [ -f "$before/$file" ]; then age=old; else age=new; fi
  printf '%s\t%s\n' "$age" "$file"
done
exit 0
