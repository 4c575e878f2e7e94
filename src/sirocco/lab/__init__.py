"""The attention lab: MHA, GQA and MQA side by side, on this machine, with the code that serves.

`quality` trains them, `conversion` makes one from another, `decode` times the engine with each,
`window` looks at the sliding window; `study` runs all of it, `report` shows it. The room knows
models and the engine. It knows nothing of serving, accounts or HTTP.

`shakespeare.txt.gz` is the usual small sample of Shakespeare's plays, its first nine tenths: text
in the public domain, collected in the repository karpathy/char-rnn (MIT).
"""
