"""A lab of nats-servers: clusters, gateways, leaf nodes, and what disturbs them."""
