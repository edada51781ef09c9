# Marks the current release as verified and keeps the $keep last verified ones; never removes current or previous.
# Values: name, keep. What was never verified does not count, and goes: it failed, or its deploy was cut.
date +%s >"releases/$name/.verified.new" && mv "releases/$name/.verified.new" "releases/$name/.verified" || exit 73
current=$(readlink current) || current=
previous=$(readlink previous) || previous=
kept=$(for mark in releases/*/.verified; do
  [ -f "$mark" ] && printf '%s %s\n' "$(cat "$mark")" "${mark%/.verified}"
done | sort -rn | head -n "$keep" | cut -d ' ' -f 2)
removed=0
for release in releases/*; do
  [ -d "$release" ] || continue
  case $release in "$current" | "$previous") continue ;; esac
  case "
$kept
" in *"
$release
"*) continue ;; esac
  # Renamed first, so that a half-removed release never looks sealed.
  rm -rf -- "releases/.trash-${release#releases/}"
  mv -T -- "$release" "releases/.trash-${release#releases/}" && removed=$((removed + 1))
done
rm -rf -- releases/.trash-* releases/.sealing-* incoming/*
echo "removed=$removed"
