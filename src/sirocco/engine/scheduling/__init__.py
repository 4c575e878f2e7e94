"""Who runs next and with how many tokens: decided with integers, without a tensor.

`scheduler` admits, shares out and preempts; `waiting` keeps the queue, `fairness` the turns of
accounts, and `pace` cuts a step to a time.
"""
