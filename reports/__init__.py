"""Reports of a table and its measurements: verdicts and claims (pure functions), Markdown, CSV, terminal, figures.

`report.build` joins a table, its plan and the store; everything else takes the report and nothing more. Never imports torch.
"""
