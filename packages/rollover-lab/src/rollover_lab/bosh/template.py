"""The manifest of the lab's director, shaped like bosh-deployment's `bosh.yml`.

What ops files for NATS certificates point at has the same paths, names and options there, so that
those of the documentation apply to both. Releases and stemcell are names only: the lab brings
its own programs. `lab` holds what only a lab has.
"""

from __future__ import annotations

MANIFEST = """\
---
name: bosh

releases:
- name: bosh
  version: 283.1.6
  url: lab:bosh/283.1.6
- name: bpm
  version: 1.4.38
  url: lab:bpm/1.4.38

resource_pools:
- name: vms
  network: default
  stemcell:
    url: lab:bosh-openstack-kvm-ubuntu-noble/1.484
  env:
    bosh:
      password: '*'
      mbus:
        cert: ((mbus_bootstrap_ssl))

disk_pools:
- name: disks
  disk_size: 65536

networks:
- name: default
  type: manual
  subnets:
  - range: ((internal_cidr))
    gateway: ((internal_gw))
    static: [((internal_ip))]

instance_groups:
- name: bosh
  instances: 1
  jobs:
  - {name: bpm, release: bpm}
  - {name: nats, release: bosh}
  - {name: director, release: bosh}
  - {name: health_monitor, release: bosh}
  resource_pool: vms
  persistent_disk_pool: disks
  networks:
  - name: default
    static_ips: [((internal_ip))]
  properties:
    agent:
      mbus: nats://((internal_ip)):((nats_port))
    nats:
      address: ((internal_ip))
      port: ((nats_port))
      user: nats
      password: ((nats_password))
      enable_metrics_endpoint: true
      director_account:
        user: nats
        password: ((nats_sync_password))
        ca_cert: ((director_ssl.ca))
      tls:
        ca: ((nats_server_tls.ca))
        client_ca:
          certificate: ((nats_ca.certificate))
          private_key: ((nats_ca.private_key))
        server:
          certificate: ((nats_server_tls.certificate))
          private_key: ((nats_server_tls.private_key))
        director:
          certificate: ((nats_clients_director_tls.certificate))
          private_key: ((nats_clients_director_tls.private_key))
        health_monitor:
          certificate: ((nats_clients_health_monitor_tls.certificate))
          private_key: ((nats_clients_health_monitor_tls.private_key))
    director:
      address: ((internal_ip))
      port: ((director_port))
      name: ((director_name))
      workers: 4
      enable_dedicated_status_worker: true
      enable_nats_delivered_templates: true
      enable_post_deploy: true
      enable_short_lived_nats_bootstrap_credentials: ((short_lived_bootstrap_credentials))
      ssl:
        key: ((director_ssl.private_key))
        cert: ((director_ssl.certificate))
      user_management:
        provider: local
        local:
          users:
          - name: admin
            password: ((admin_password))
          - name: hm
            password: ((hm_password))
          - name: nats
            password: ((nats_sync_password))
    hm:
      director_account:
        user: hm
        password: ((hm_password))
        ca_cert: ((director_ssl.ca))
      resurrector_enabled: ((resurrector_enabled))
    lab: ((lab))

cloud_provider:
  mbus: https://mbus:((mbus_bootstrap_password))@((internal_ip)):6868
  cert: ((mbus_bootstrap_ssl))
  properties:
    lab:
      directory: ((lab_directory))

variables:
- name: admin_password
  type: password
- name: hm_password
  type: password
- name: mbus_bootstrap_password
  type: password
- name: nats_password
  type: password
- name: nats_sync_password
  type: password
- name: default_ca
  type: certificate
  options:
    is_ca: true
    common_name: ca
- name: mbus_bootstrap_ssl
  type: certificate
  options:
    ca: default_ca
    common_name: ((internal_ip))
    alternative_names: [((internal_ip))]
- name: director_ssl
  type: certificate
  options:
    ca: default_ca
    common_name: ((internal_ip))
    alternative_names: [((internal_ip))]
- name: nats_ca
  type: certificate
  options:
    is_ca: true
    common_name: default.nats-ca.bosh-internal
- name: nats_server_tls
  type: certificate
  options:
    ca: nats_ca
    common_name: default.nats.bosh-internal
    alternative_names: [((internal_ip))]
    extended_key_usage:
    - server_auth
- name: nats_clients_director_tls
  type: certificate
  options:
    ca: nats_ca
    common_name: default.director.bosh-internal
    extended_key_usage:
    - client_auth
- name: nats_clients_health_monitor_tls
  type: certificate
  options:
    ca: nats_ca
    common_name: default.hm.bosh-internal
    extended_key_usage:
    - client_auth
"""
"""The text of `bosh.yml`."""

UAA = """\
- type: replace
  path: /releases/-
  value:
    name: uaa
    version: 78.5.0
    url: lab:uaa/78.5.0
- type: replace
  path: /instance_groups/name=bosh/jobs/-
  value: {name: uaa, release: uaa}
- type: replace
  path: /instance_groups/name=bosh/properties/uaa?
  value:
    url: https://((internal_ip)):((uaa_port))
    sslCertificate: ((uaa_ssl.certificate))
    sslPrivateKey: ((uaa_ssl.private_key))
    jwt:
      policy:
        active_key_id: key-1
        keys:
          key-1:
            signingKey: ((uaa_jwt_signing_key.private_key))
    scim:
      users:
      - name: admin
        password: ((admin_password))
        groups: [bosh.admin]
    clients:
      bosh_cli:
        override: true
        authorized-grant-types: password,refresh_token
        scope: openid,bosh.admin,bosh.read
        authorities: uaa.none
        access-token-validity: ((uaa_token_seconds))
        refresh-token-validity: 86400
        secret: ""
      admin:
        override: true
        authorized-grant-types: client_credentials
        scope: ""
        authorities: bosh.admin
        access-token-validity: ((uaa_token_seconds))
        secret: ((admin_password))
      hm:
        override: true
        authorized-grant-types: client_credentials
        scope: ""
        authorities: bosh.admin
        access-token-validity: ((uaa_token_seconds))
        secret: ((hm_password))
      nats:
        override: true
        authorized-grant-types: client_credentials
        scope: ""
        authorities: bosh.admin
        access-token-validity: ((uaa_token_seconds))
        secret: ((nats_sync_password))
- type: replace
  path: /instance_groups/name=bosh/properties/director/user_management
  value:
    provider: uaa
    uaa:
      url: https://((internal_ip)):((uaa_port))
      public_key: ((uaa_jwt_signing_key.public_key))
- type: replace
  path: /instance_groups/name=bosh/properties/hm/director_account
  value:
    client_id: hm
    client_secret: ((hm_password))
    ca_cert: ((director_ssl.ca))
- type: replace
  path: /instance_groups/name=bosh/properties/nats/director_account
  value:
    client_id: nats
    client_secret: ((nats_sync_password))
    ca_cert: ((director_ssl.ca))
- type: replace
  path: /variables/-
  value:
    name: uaa_jwt_signing_key
    type: rsa
- type: replace
  path: /variables/-
  value:
    name: uaa_ssl
    type: certificate
    options:
      ca: default_ca
      common_name: ((internal_ip))
      alternative_names: [((internal_ip))]
"""
"""The text of `uaa.yml`, an ops file shaped like bosh-deployment's."""
