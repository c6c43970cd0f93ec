"""Train QAC networks, convert them to layer graphs, and lower these to integer networks."""
