"""Lesson 10: training a net, every step written out.

Four examples of three numbers each, and what the net should answer: up (1.0) or down (-1.0). Training repeats four
lines: predict, measure how wrong we are (the loss), find the slope of the loss by every weight, move every weight a
little downhill.

Run me: python examples/10_train_a_net.py
"""

import random

from chainrule.nn import MLP

examples = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
targets = [1.0, -1.0, -1.0, 1.0]

random.seed(1337)  # the same weights at every run
net = MLP(3, [4, 4, 1], activation="tanh", output_activation="tanh")
print("parameters:", len(net.parameters()))

lr = 0.05  # the learning rate: how far to move along the slope
for step in range(101):
    # 1. Forward: what does the net say, and how far off is it? The mean of the squared differences.
    predictions = [net(x) for x in examples]
    loss = sum((p - t) ** 2 for p, t in zip(predictions, targets, strict=True)) / len(targets)
    # 2. Backward, from a clean slate: forget the slopes of the step before (lesson 11 shows why).
    net.zero_grad()
    loss.backward()
    # 3. Update: the gradient points uphill, so go the other way.
    for p in net.parameters():
        p.data -= lr * p.grad
    if step % 20 == 0:
        print(f"step {step}: loss {loss.data:.6f}")

for t, prediction in zip(targets, [net(x) for x in examples], strict=True):
    print(f"wanted {t}, got {prediction.data:.4f}")
