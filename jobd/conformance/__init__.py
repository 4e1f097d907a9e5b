"""The executor contract as tests. Point them at an executor that is installed::

    python -m jobd.conformance --executor docker --image busybox:stable --option network=none

`--option KEY=VALUE` is one of the region's INI keys, and may be given again. The image needs `sh`, `echo`, `sleep`,
`true` and `false`. Every other word is pytest's; the same, spelt out for a project's own pytest run, is
`pytest -p jobd.conformance.fixtures --pyargs jobd.conformance --executor docker …`.
"""
