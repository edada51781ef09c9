# Every deploy script starts here: in the keeper's folder, private, and one at a time. Exit code 75: another one is at it.
umask 077
cd || exit 73
mkdir -p keeper/releases keeper/incoming keeper/env keeper/log keeper/run keeper/data || exit 73
cd keeper || exit 73
exec 8>run/deploy.lock || exit 73
flock -w 30 8 || { echo "another deploy script holds the lock" >&2; exit 75; }
