"""Decode one step ahead of the host: rows, sampling and steps that live on the device.

`ahead` is the way in; `rows` is what a device knows of sequences, `sampling` chooses there, and
`graphs` replays a step without launching its kernels one by one. All of it runs on a CPU, too,
with plain calls in place of graphs, which is how it is tested.
"""
