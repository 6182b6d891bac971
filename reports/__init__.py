"""A table with its measurements as people read it: verdicts and claims (pure functions), Markdown, CSV, terminal, figures.

`report.build` joins a table, its plan and the store; everything else takes the report and nothing more. Never imports torch.
"""
