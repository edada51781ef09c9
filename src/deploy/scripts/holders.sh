
# Names who listens on port $2 of address $1, one a line: process and program. Two addresses of this machine are two places.
holders_of() {
  case $2 in '' | 0 | *[!0-9]*) return 0 ;; esac
  tail=$(printf ':%04X' "$2")
  case $1 in
    [0-9]*.*.*.*) ours=$(IFS=.; set -- $1; printf '%02X%02X%02X%02X' "$4" "$3" "$2" "$1") ;;
    *) ours=any ;;
  esac
  [ "$ours" != 00000000 ] || ours=any
  # By `grep`: a shell reads such a table byte by byte, and with thousands of connections that takes its time.
  grep -h "$tail [0-9A-F]*:0000 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    while read -r _ local _ _ _ _ _ _ _ inode _; do
      case ${local%:*} in
        *[!0]*) [ "$ours" = any ] || [ "${local%:*}" = "$ours" ] || continue ;;
      esac
      # One `ls` for all processes: a fork for each descriptor would take seconds, and so would a shell that reads all lines.
      found=$(ls -l /proc/[0-9]*/fd 2>/dev/null | grep -e '^/proc/' -e "socket:\[$inode\]" | while IFS= read -r line; do
        case $line in
          /proc/*:) at=${line#/proc/} at=${at%%/*} ;;
          *"socket:[$inode]") printf '%s %s\n' "$at" "$(cat "/proc/$at/comm" 2>/dev/null)" ;;
        esac
      done)
      printf '%s\n' "${found:-0 unknown}"
    done | sort -un
}
