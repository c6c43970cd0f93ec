"""``compile --optimize``: better designs for one objective, each step measured."""

from deploy.optimize.search import optimize_design

__all__ = ["optimize_design"]
