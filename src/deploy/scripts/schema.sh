# Notes which schema the data has, and the oldest one whose releases can still work with it. Value: schema (both numbers).
printf '%s\n' "$schema" >env/schema.new && mv -T -- env/schema.new env/schema || exit 73
