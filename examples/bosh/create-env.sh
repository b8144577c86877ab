#!/bin/sh
# How this director is deployed. `director.create_env` in the fleet file names this file.
bosh create-env bosh.yml \
  --state ./state.json \
  --vars-store ./creds.yml \
  -l vars.yml \
  -v director_name=example
