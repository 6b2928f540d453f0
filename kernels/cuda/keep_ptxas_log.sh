#!/bin/sh
# Runs nvcc with -Xptxas=-v and keeps what ptxas says about each kernel in OBJECT.ptxas, away from the build's output.
#
#   keep_ptxas_log.sh OBJECT COMMAND…
log=$1.ptxas
shift
"$@" 2>"$log.all"
status=$?
pattern='^ptxas info|^ +[0-9]+ bytes stack frame'
grep -vE "$pattern" "$log.all" >&2
grep -E "$pattern" "$log.all" >"$log"
rm -f "$log.all"
exit $status
