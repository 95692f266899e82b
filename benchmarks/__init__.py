"""Speed and memory, measured on the machine at hand: ``make bench``.

Each module here is one benchmark: its ``main()`` measures and returns a record, which is written
to docs/figures, from where ``make figures`` takes it into the documents.
"""
