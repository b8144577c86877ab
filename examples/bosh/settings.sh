# For the shell in which you follow RUNBOOK.md, and for its gates: no secrets.
# Read it with a dot: `. ./settings.sh`. It sets variables, and does nothing else.
export RUNBOOK=/srv/director/runbook
export PRIVATE=/srv/director/rotation-20260105T0900Z
export VARS_STORE=/srv/director/creds.yml
export STATE_FILE=/srv/director/state.json
export STAMP=20260105T0900Z
export BUNDLE=/instance_groups/name=bosh/properties/nats/tls/ca
export DIRECTOR_UUID=6c1b0a52-0f6e-4c0b-9d5d-2f7a3f1f0a11
export DEPLOYMENTS='cf legacy'
export LEFT_OUT=''
export BOSH_ENVIRONMENT=https://10.0.0.6:25555
export BOSH_CLIENT=rollover
export BOSH_CA_CERT=/srv/director/director-ca.pem
export NATS_MONITOR="${NATS_MONITOR:-http://127.0.0.1:8222}"
# They would hide deployments, or answer questions.
unset BOSH_DEPLOYMENT BOSH_NON_INTERACTIVE
