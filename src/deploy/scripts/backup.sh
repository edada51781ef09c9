# Keeps what is needed to come back: which release serves, its settings, the box's identity, and a dump beside them. Values: verb,
# keep, dump (yes if there is one). `begin` makes the folder; `end` proves the dump, names the folder with its checksums, and
# forgets the oldest ones. Prints `backup=<name>` and `bytes=…`. Exit code 67: the dump is empty.
new=backups/.new
case $verb in
  begin | both)
    rm -rf -- "$new"
    mkdir -p -- "$new" || exit 73
    now=$(readlink current) || now=
    [ -z "$now" ] || cp -- "$now/server.env" "$new/server.env" || exit 73
    [ ! -f env/identity.env ] || cp -- env/identity.env "$new/identity.env" || exit 73
    { read -r schema floor <env/schema; } 2>/dev/null || schema=0 floor=0
    printf 'release %s\nprevious %s\nschema %s %s\ntaken %s\n' "${now#releases/}" "$(readlink previous)" "$schema" "$floor" "$(date +%s)" \
      >"$new/about" || exit 73
    ;;
esac
case $verb in
  end | both)
    # Whoever asks again after a cut connection finds it named.
    if [ ! -d "$new" ] && [ -d "backups/$(cat backups/last 2>/dev/null)" ]; then
      echo "backup=$(cat backups/last)"
      exit 0
    fi
    [ "$dump" != yes ] || [ -s "$new/dump" ] || { echo "the dump is empty" >&2; exit 67; }
    (cd "$new" && sha256sum -- *) >backups/.sums && mv backups/.sums "$new/sums" || exit 73
    sync -f -- "$new/sums" 2>/dev/null || sync
    release=$(sed -n 's/^release //p' "$new/about")
    name=$(date -u +%Y%m%dT%H%M%SZ)-${release:-none}
    n=0
    while [ -e "backups/$name" ]; do
      n=$((n + 1))
      name=$(date -u +%Y%m%dT%H%M%SZ)-${release:-none}.$n
    done
    echo "$name" >backups/last.new && mv backups/last.new backups/last
    mv -T -- "$new" "backups/$name" || exit 73
    echo "backup=$name"
    [ "$dump" != yes ] || echo "bytes=$(wc -c <"backups/$name/dump")"
    # Those with a dump count by themselves: many deploys without one must not push the last dump out.
    for kind in dump none; do
      for old in backups/2*; do
        if [ -f "$old/dump" ]; then found=dump; else found=none; fi
        [ "$found" != "$kind" ] || echo "$old"
      done | sort -r | tail -n "+$((keep + 1))" | while IFS= read -r old; do rm -rf -- "$old"; done
    done
    ;;
esac
exit 0
