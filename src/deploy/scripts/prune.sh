# Keeps the $keep last verified releases; never removes current, previous or the way back of a trial. Value: keep.
# What was never verified does not count, and goes: it failed, or its deploy was cut.
current=$(readlink current) || current=
previous=$(readlink previous) || previous=
{ read -r trial back until <run/pending; } 2>/dev/null || back=
kept=$(for mark in releases/*/.verified; do
  [ -f "$mark" ] && printf '%s %s\n' "$(cat "$mark")" "${mark%/.verified}"
done | sort -rn | head -n "$keep" | cut -d ' ' -f 2)
removed=0
for release in releases/*; do
  [ -d "$release" ] || continue
  case $release in "$current" | "$previous" | "releases/$back") continue ;; esac
  case "
$kept
" in *"
$release
"*) continue ;; esac
  # Renamed first, so that a half-removed release never looks sealed.
  rm -rf -- "releases/.trash-${release#releases/}"
  mv -T -- "$release" "releases/.trash-${release#releases/}" && removed=$((removed + 1))
done
images=$(sed -n "s/^image='\(.*\)'$/\1/p" releases/.trash-*/manager 2>/dev/null | sort -u)
rm -rf -- releases/.trash-* releases/.sealing-* incoming/* builds/* backups/.new
# Images that no release names any more. One that something else runs, the engine keeps.
printf '%s\n' "$images" | while IFS= read -r image; do
  [ -n "$image" ] && ! grep -qF -e "$image" releases/*/manager 2>/dev/null || continue
  engine=$(sed -n "s/^engine='\(.*\)'$/\1/p" current/manager 2>/dev/null)
  "${engine:-docker}" image rm "$image" >/dev/null 2>&1 8>&-
done
# Marks of bad releases are small, but not without end.
ls -t bad | tail -n +65 | while IFS= read -r old; do rm -f -- "bad/$old"; done
[ "$(wc -l <log/deploys.log)" -le 2000 ] || { tail -n 1000 log/deploys.log >log/deploys.log.new && mv log/deploys.log.new log/deploys.log; }
echo "removed=$removed"
