#!/bin/sh
# The gates of RUNBOOK.md. Each looks, and says PASS or FAIL (exit code 1); it changes nothing.
#
#   gate login                   this is the director of the runbook, and it knows who asks
#   gate resurrection on|off     the resurrector is set to that
#   gate idle                    nothing is locked: nobody deploys
#   gate deployments             the runbook knows all deployments
#   gate deployed [OPS-FILE]     what is deployed is what the director's files come to
#   gate bundle COUNT [OPS-FILE] the files come to a bundle of so many CAs
#   gate agents [SECONDS]        every agent answers and its jobs run; waits so long for it
#   gate connected [SECONDS]     every agent is connected to NATS; waits so long for it
#   gate pending DEPLOYMENT MANIFEST  a deploy of that manifest changes nothing else
#   gate note STEP               notes which certificate each agent shows to NATS, once
#   gate changed STEP [SECONDS]  every agent shows another one than was noted; waits so long for it
#   gate same VARS-STORE [OPS-FILE]   with that vars store the plain manifest is what is deployed
#   gate gone NAME ...           the vars store has none of these variables
#
# It needs the bosh CLI, curl, and what every Unix has. It writes into `notes` beside it only.
set -eu
LC_ALL=C
export LC_ALL
here=$(cd "$(dirname "$0")" && pwd)
. "$here/settings.sh"
poll=${GATE_POLL_SECONDS:-5}
command -v sha512sum >/dev/null || sha512sum() { shasum -a 512; }

#@manifest

pass() { printf 'PASS: %s\n' "$*"; }

fail() {
  printf 'FAIL: %s\n' "$*" >&2
  exit 1
}

# The named columns of the tables that `bosh --json` prints, one row a line, `-` for what is empty.
rows() {
  awk -v wanted="$*" '
    BEGIN { columns = split(wanted, names, " ") }
    /^ *"(Header|Notes)"/ { inside = 0 }
    /^ *"Rows"/ { inside = 1; next }
    !inside { next }
    /^ *\{/ { split("", found) }
    /^ *"[a-z_]+": "/ {
      key = $1; gsub(/[":]/, "", key)
      value = $0; sub(/^[^:]*: "/, "", value); sub(/",?$/, "", value)
      found[key] = value
    }
    /^ *\}/ {
      line = ""
      for (at = 1; at <= columns; at++) {
        value = found[names[at]]
        line = line (at > 1 ? "\t" : "") (value == "" ? "-" : value)
      }
      print line
    }
  '
}

# Every instance that has a VM: deployment/group/id, agent, state of its jobs.
instances() {
  told=$(bosh instances --details --json) || fail "the director does not list its instances"
  printf '%s\n' "$told" | rows deployment instance agent_id process_state vm_cid |
    awk -F '\t' '$5 != "-" { print $1 "/" $2 "\t" $3 "\t" $4 }'
}

# The agents that are connected to NATS, and the SHA-256 of the certificate that each shows.
connected() {
  told=$(curl -fsS --noproxy '*' --max-time 30 "$NATS_MONITOR/connz?auth=1&limit=65536") ||
    fail "the monitoring port of NATS does not answer at $NATS_MONITOR: is the tunnel open?"
  printf '%s\n' "$told" | awk -F '"' '
    $2 == "subject" {
      agent = $4
      if (!sub(/\.agent\.bosh-internal.*/, "", agent)) agent = ""
      sub(/.*CN=/, "", agent)
      sub(/\.bootstrap$/, "", agent)  # a new VM, until its first deploy is through
    }
    $2 == "cert_sha256" && agent != "" { print agent "\t" $4 }
  ' | sort -u
}

# Those of the instances, read from stdin, whose agent does not answer or whose jobs do not run.
not_running() {
  awk -F '\t' -v left_out=" $LEFT_OUT " '
    NF && $3 != "running" && !index(left_out, " " $1 " ") { print "  " $1 ": " $3 }
  '
}

# Who is not connected, or still as noted, by lines B (noted), N (now) and I (instances) on stdin.
unchanged() {
  awk -F '\t' -v left_out=" $1 " '
    $1 == "B" { before[$2 SUBSEP $3] = 1 }
    $1 == "N" { now[$2] = 1; if (($2 SUBSEP $3) in before) old[$2] = 1 }
    $1 == "I" {
      known[$3] = 1
      if (index(left_out, " " $2 " ")) next
      if (!($3 in now)) print "  " $2 ": is not connected to NATS"
      else if ($3 in old) print "  " $2 ": still shows the certificate that was noted"
    }
    END {
      for (agent in old) if (!(agent in known))
        print "  agent " agent ": still shows the certificate that was noted; in no deployment"
    }
  '
}

tagged() { awk -v tag="$1" 'NF { print tag "\t" $0 }'; }

counted() { printf '%s\n' "$1" | awk 'NF { lines++ } END { print lines + 0 }'; }

# Run `look`, which sets `bad`, until that is empty or the seconds are over; then say so.
await() {
  limit=$1 begun=$(date +%s)
  look
  while [ -n "$bad" ] && [ $(($(date +%s) - begun)) -lt "$limit" ]; do
    printf 'not yet: %s\n' "$(counted "$bad") to wait for" >&2
    sleep "$poll"
    look
  done
  [ -z "$bad" ] || fail "$missing
$bad"
}

digest() {
  text=$(manifest "$@" && printf x) || return 1
  printf '%s' "${text%x}" | sha512sum | cut -d ' ' -f 1
}

recorded() {
  sed -n 's/.*"current_manifest_sha": *"\([0-9a-f]*\)".*/\1/p' "$STATE_FILE"
}

ops_file() { [ -z "$1" ] || printf '%s' "$here/$1"; }

with() { [ -z "$1" ] && printf 'the manifest' || printf 'the manifest with %s' "$1"; }

gate_login() {
  told=$(bosh env --json) || fail "no director answers at $BOSH_ENVIRONMENT"
  name=$(printf '%s\n' "$told" | rows name | tail -n 1)
  uuid=$(printf '%s\n' "$told" | rows uuid | tail -n 1)
  [ "$uuid" = "$DIRECTOR_UUID" ] ||
    fail "$BOSH_ENVIRONMENT is the director $name ($uuid), the runbook is for $DIRECTOR_UUID"
  bosh deployments --json >/dev/null || fail "it does not accept the login: bosh log-in"
  pass "the director $name answers, and accepts the login"
}

gate_resurrection() {
  told=$(bosh curl /resurrection) || fail "the director does not say whether resurrection is on"
  case "$1$told" in
    *off*false* | *on*true*) pass "resurrection is $1" ;;
    *) fail "resurrection is not $1: bosh update-resurrection $1" ;;
  esac
}

gate_idle() {
  told=$(bosh locks --json) || fail "the director does not list its locks"
  held=$(printf '%s\n' "$told" | rows type resource task_id)
  [ -z "$held" ] || fail "somebody deploys; wait for the task
$held"
  pass "nothing is locked"
}

gate_deployments() {
  told=$(bosh deployments --json) || fail "the director does not list its deployments"
  new=$(printf '%s\n' "$told" | rows name | awk -v known=" $DEPLOYMENTS " '
    !index(known, " " $0 " ") { print "  " $0 }')
  [ -z "$new" ] || fail "this runbook does not know these; write it anew, or wait for one that goes by itself
$new"
  pass "all deployments are in the runbook"
}

gate_deployed() {
  came=$(digest "$VARS_STORE" "$(ops_file "${1:-}")") || fail "$(with "${1:-}") is incomplete"
  [ "$came" = "$(recorded)" ] ||
    fail "$(with "${1:-}") is not what $STATE_FILE says is deployed"
  pass "$(with "${1:-}") is what is deployed"
}

gate_bundle() {
  text=$(manifest "$VARS_STORE" "$(ops_file "${2:-}")" --path "$BUNDLE") ||
    fail "$(with "${2:-}") is incomplete"
  found=$(printf '%s\n' "$text" | grep -c '^-----BEGIN CERTIFICATE-----$' || :)
  ends=$(printf '%s\n' "$text" | grep -c '^-----END CERTIFICATE-----$' || :)
  [ "$found" = "$1" ] && [ "$ends" = "$1" ] ||
    fail "$(with "${2:-}") comes to a bundle of $found readable CAs, not $1"
  pass "$(with "${2:-}") comes to a bundle of $1"
}

look_at_agents() {
  if list=$(instances); then
    bad=$(printf '%s\n' "$list" | not_running)
    [ -n "$list" ] || bad="  the director lists no instance with a VM"
  else
    bad="  the director does not answer"
  fi
}

gate_agents() {
  missing="not every agent answers with its jobs running"
  look() { look_at_agents; }
  await "${1:-0}"
  pass "$(counted "$list") agents: all answer, and their jobs run"
}

gate_connected() {
  missing="not every agent is connected to NATS"
  look() {
    list=$(instances) && now=$(connected) || exit 1
    bad=$({ printf '%s\n' "$now" | tagged N; printf '%s\n' "$list" | tagged I; } |
      unchanged "$LEFT_OUT")
    [ -n "$list" ] || bad="  the director lists no instance with a VM"
  }
  await "${1:-0}"
  pass "$(counted "$list") agents: all are connected to NATS"
}

gate_pending() {
  told=$(bosh -n --tty --no-color -d "$1" deploy "$2" --dry-run) ||
    fail "a dry run of a deploy of $1 fails: mend that first
$(printf '%s\n' "$told" | awk '/[Ee]rror|Timed out/ { print "  " $0 }')"
  changes=$(printf '%s\n' "$told" | grep -E '^[-+] ' || :)
  [ -z "$changes" ] || fail "a deploy of $1 would change more than credentials
$changes"
  pass "a deploy of $1 changes nothing but credentials"
}

gate_note() {
  file="$here/notes/$STAMP-step-$1"
  if [ -e "$file" ]; then
    pass "certificates were noted before in $file, which stays as it is"
    return
  fi
  now=$(connected) || exit 1
  [ -n "$now" ] || fail "NATS names the certificate of no agent"
  mkdir -p "$here/notes"
  printf '%s\n' "$now" >"$file.new"
  mv "$file.new" "$file"
  pass "certificates of $(counted "$now") agents are noted in $file"
}

gate_changed() {
  note="$here/notes/$STAMP-step-$1"
  [ -e "$note" ] || fail "nothing was noted before step $1: it cannot be proven"
  eval "skipped=\"$LEFT_OUT \${DONE_BEFORE_$1:-}\""
  missing="not every agent shows another certificate than before step $1"
  look() {
    list=$(instances) && now=$(connected) || exit 1
    bad=$({
      tagged B <"$note"
      printf '%s\n' "$now" | tagged N
      printf '%s\n' "$list" | tagged I
    } | unchanged "$skipped")
    [ -n "$list" ] || bad="  the director lists no instance with a VM"
  }
  await "${2:-0}"
  pass "$(counted "$list") agents: each is connected with another certificate than before"
}

gate_same() {
  before=$(digest "$VARS_STORE" "$(ops_file "${2:-}")") || fail "$(with "${2:-}") is incomplete"
  after=$(digest "$1" "") || fail "the manifest is incomplete with $1"
  [ "$before" = "$after" ] || fail "with $1 the manifest is not what $(with "${2:-}") is now"
  [ "$after" = "$(recorded)" ] || fail "what $STATE_FILE says is deployed is something else"
  pass "the new vars store comes to what is deployed"
}

gate_gone() {
  for name in "$@"; do
    ! grep -q "^$name:" "$VARS_STORE" || fail "$VARS_STORE still has $name"
  done
  pass "the vars store has no variable of the rotation"
}

case "${1:-}" in
  login | resurrection | idle | deployments | deployed | bundle | agents | connected | pending | \
    note | changed | same | gone)
    gate=$1
    shift
    "gate_$gate" "$@"
    ;;
  *) sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
