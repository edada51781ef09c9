# Prints the end of a log. Values: which (server, supervisor, deploys), lines, grep (a plain text, or nothing).
file=log/$which.log
[ -f "$file" ] || { echo "there is no $which log on this box yet" >&2; exit 66; }
if [ -n "$grep" ]; then
  cat "$file.1" "$file" 2>/dev/null | grep -F -e "$grep" | tail -n "$lines"
else
  cat "$file.1" "$file" 2>/dev/null | tail -n "$lines"
fi
exit 0
