"""Rules over the rows of charts, and what they find. Pure: no I/O, no clock, no SDK.

.. code-block:: text

    plan.py        the rules and the routes, as the setting `alerts` has them
    reading.py     that setting read and checked, with a sentence for each mistake
    conditions.py  the values of a row against the limits of a rule
    engine.py      what fires and what has recovered, row after row
    wording.py     the same in words
    finding.py     what comes out, from rules and from views
"""
