# Notes on the box that its server is held in maintenance by us, or that it is not any more. Values: verb (note, clear, or
# forget, by which a person says that its data is whole as well), reason. The note is written before the server is asked, so that
# whoever comes after a keeper that died lets it go on.
case $verb in
  note) printf '%s %s\n' "$(date +%s)" "$reason" >run/maintenance.new && mv run/maintenance.new run/maintenance || exit 73 ;;
  clear) rm -f run/maintenance ;;
  forget)
    rm -f run/maintenance run/data
    [ ! -f supervise ] || sh supervise restarts unless-stopped 8>&- 2>/dev/null || :
    ;;
esac
