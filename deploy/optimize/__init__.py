"""``compile --optimize``: better designs for one objective, each step measured.

``objectives`` says what each objective lowers and which steps it tries, ``steps`` makes the candidates of
each step, ``measurements`` measures them, and ``search`` keeps the best.
"""
