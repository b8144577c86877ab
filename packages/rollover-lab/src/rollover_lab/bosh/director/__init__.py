"""The director to rehearse on: its HTTP API, its tasks, its deployments.

It does what the real one does (v283.1.6), message by message, what goes wrong included. Hazards of
reference/bosh.md §5 that live in it: H1 and H2 (`vms.update_settings`: the record is brought up to
date whenever the agent did not refuse), H3 (`deployment_plan.full_update`), H5 (`updating`: a
stopped instance returns early; `deployment_plan.agent_states`: an ignored one is not asked), H6
(`deploying`: only a deploy that succeeds keeps its manifest), H13 (`process.NatsSync`), H16
(`agent_client`: changes are sent once).

H4 cannot be rehearsed: it is about the migration of directors before 271.12, which filled the
fingerprints of existing VMs from the configuration of that moment. Upgrade first, deploy, then
rotate.
"""
