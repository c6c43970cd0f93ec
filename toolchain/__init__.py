"""From a trained QAC network to one integer network: graph, passes, contract."""
