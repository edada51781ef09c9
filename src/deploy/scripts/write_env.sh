# Stores stdin as the server's environment, readable by its owner only. Value: size. Exit code 65: cut short.
rm -f -- env/server.env.new
cat >env/server.env.new || exit 73
[ "$(wc -c <env/server.env.new)" -eq "$size" ] || exit 65
chmod 600 env/server.env.new && mv -T -- env/server.env.new env/server.env || exit 73
