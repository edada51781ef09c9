# Every deploy script starts here: in the keeper's folder, private, and one at a time. Exit code 75: another script is at
# work; 40: another deploy holds the box's lease, or took it from us.
# Values, where a lease is needed: lease (our token), leased (yes, if we had it before), holder, lease_s (seconds).
umask 077
cd || exit 73
mkdir -p keeper/releases keeper/incoming keeper/env keeper/log keeper/run keeper/data keeper/bad || exit 73
cd keeper || exit 73
exec 8>run/deploy.lock || exit 73
flock -w 30 8 || { echo "another deploy script holds the lock" >&2; exit 75; }
if [ -n "${lease:-}" ]; then
  { read -r held until holding <run/lease; } 2>/dev/null || held=
  case $until in '' | *[!0-9]*) until=0 ;; esac
  now=$(date +%s)
  if [ "$held" != "$lease" ]; then
    # Whoever lost the lease once has nothing to change here any more.
    [ "$leased" != yes ] || { echo "the lease was lost${held:+ to $holding}" >&2; exit 40; }
    # The same holder has died and come back.
    if [ -n "$held" ] && [ "$until" -gt "$now" ] && [ "$holding" != "$holder" ]; then
      echo "the box is held by $holding for $((until - now)) s more" >&2
      exit 40
    fi
  fi
  printf '%s %s %s\n' "$lease" "$((now + lease_s))" "$holder" >run/lease.new && mv run/lease.new run/lease || exit 73
fi
