# Takes somebody else's server over as release 0: what starts it, from where, with which environment, as a release folder that counts
# as verified; and notes its process, so that a stop ends exactly that one. Values: pid, name. Exit code 66: it cannot be started again.
at=/proc/$pid
exe=$(readlink "$at/exe") || { echo "the process $pid is gone" >&2; exit 66; }
case $exe in *' (deleted)') echo "the program of process $pid is deleted: it could not be started again" >&2; exit 66 ;; esac
folder=$(readlink "$at/cwd") || exit 66
new=releases/.sealing-$name
rm -rf -- "$new"
mkdir -- "$new" || exit 73
word() { printf '%s' "$1" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/"; }
{
  echo '#!/bin/sh'
  echo "# Taken over by the keeper: what served here before it."
  echo "cd -- $(word "$folder") || exit 126"
  printf 'exec %s' "$(word "$exe")"
  # The first word is the program's own name.
  xargs -0 sh -c 'shift; for arg; do printf " %s" "$(printf "%s" "$arg" | sed "s/'\''/'\''\\\\'\'''\''/g; 1s/^/'\''/; \$s/\$/'\''/")"; done' sh <"$at/cmdline"
  echo
} >"$new/server" || exit 73
chmod 700 -- "$new/server"
# A value may hold lines; names that the shell or this connection owns are left out. No value becomes an argument.
LC_ALL=C sed -zE "
  /^(_|PWD|OLDPWD|SHLVL|IFS|ENV|PPID|UID|EUID|PS4|OPTIND|LINENO|RANDOM|SECONDS|SHELLOPTS|INSTANCE_ID|PORT)=/d
  /^(BASH|SSH_)[A-Za-z0-9_]*=/d
  /^[A-Za-z_][A-Za-z0-9_]*=/!d
  s/'/'\\\\''/g
  s/^([A-Za-z_][A-Za-z0-9_]*)=(.*)\$/\1='\2'/
" <"$at/environ" | tr '\000' '\n' >"$new/server.env" || exit 73
digest=$(sha256sum <"$new/server")
printf 'digest %s\ncommit adopted\nschema 0\n' "${digest%% *}" >"$new/.complete"
date +%s >"$new/.verified"
sh -n "$new/server" && sh -n "$new/server.env" || { echo "what starts process $pid cannot be written down" >&2; exit 66; }
rm -rf -- "releases/$name"
mv -T -- "$new" "releases/$name" || exit 73
rm -f current.new && ln -s -- "releases/$name" current.new && mv -T current.new current || exit 73
{ IFS= read -r stat <"$at/stat"; } 2>/dev/null || exit 66
set -- ${stat##*) }
shift 19
printf '%s %s\n' "$pid" "$1" >run/server.pid.new && mv run/server.pid.new run/server.pid || exit 73
printf '%s took over process %s (%s) as release %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$pid" "$exe" "$name" >>log/deploys.log
exit 0
