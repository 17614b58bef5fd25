"""Ways of training, timed: what `train_throughput.py` starts in a process of its own, and what comes back as JSON.

A way is timed on micro-batches of one step of the committed lengths, spread evenly over it, after two that warm up; the
update by itself. From both come tokens a second and hours of the whole: time follows the tokens that are computed,
padding included, and each step adds an update.

Another way is a line in `ways.py`.
"""
