# Looks at the box's lease (`show`), gives ours back (`release`), or takes it from whoever has it (`break`).
# Values: verb, token. Prints `held=<seconds left> <holder>` where somebody has it.
{ read -r held until holding <run/lease; } 2>/dev/null || held=
case $until in '' | *[!0-9]*) until=0 ;; esac
left=$((until - $(date +%s)))
[ -z "$held" ] || [ "$left" -le 0 ] || [ "$verb" = release ] || echo "held=$left $holding"
case $verb in
  release) [ "$held" != "$token" ] || rm -f run/lease ;;
  break) rm -f run/lease ;;
esac
exit 0
