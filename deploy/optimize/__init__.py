"""``compile --optimize``: search a better design for one objective, and measure each step.

``objectives`` lists the measure and the steps of each objective, ``steps`` makes the candidates of each
step, ``measurements`` measures them, and ``search`` keeps the best.
"""
