#!/bin/sh
# Carries the files of one instance over ssh. Rollover runs it as
#
#   deliver.sh VERB INSTANCE DIRECTORY
#
# VERB is deliver, restore, confirm or read. DIRECTORY (0700, removed afterwards) holds
# manifest.json and the new files. Exit 0: done. Anything else: nothing was changed.
#
# The instance's name is taken as the host's name. REMOTE_SHELL replaces `ssh` (the tests do that).
set -eu

verb=$1 instance=$2 directory=$3
shell=${REMOTE_SHELL:-ssh -o BatchMode=yes -o ConnectTimeout=10}
kept=.rollover-before

# One line for each file of the manifest: name here, mode (or -), path there.
files() {
    python3 -c '
import json, shlex, sys
for each in json.load(open(sys.argv[1]))["files"]:
    print(each["file"], each["mode"] or "-", shlex.quote(each["path"]))
' "$directory/manifest.json"
}

list=$(files)
each() { printf '%s\n' "$list"; }
there() { $shell "$instance" "$1" </dev/null; }

restore() {
    each | while read -r _ _ path; do
        there "if [ -e $path$kept ]; then mv -f $path$kept $path; fi; rm -f $path.rollover-new"
    done
}

case $verb in
deliver)
    # What an earlier delivery kept is not what this one replaces.
    each | while read -r _ _ path; do there "rm -f $path$kept"; done
    trap 'restore || true' EXIT      # until all files are in place
    each | while read -r file mode path; do
        # Private keys go through standard input: never through a command line.
        $shell "$instance" "umask 077; cat >$path.rollover-new" <"$directory/$file"
        if [ "$mode" != - ]; then
            there "chmod $mode $path.rollover-new"
        else
            there "chmod --reference=$path $path.rollover-new 2>/dev/null || chmod 0644 $path.rollover-new"
        fi
    done
    each | while read -r _ _ path; do
        there "if [ -e $path ]; then cp -p $path $path$kept; fi; mv -f $path.rollover-new $path"
    done
    trap - EXIT
    echo "$instance: delivered"
    ;;
restore)
    restore
    echo "$instance: restored"
    ;;
confirm)
    each | while read -r _ _ path; do there "rm -f $path$kept"; done
    ;;
read)
    each | while read -r file _ path; do there "cat $path" >"$directory/$file"; done
    ;;
*)
    echo "unknown verb: $verb" >&2
    exit 64
    ;;
esac
