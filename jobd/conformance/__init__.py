"""The executor contract as tests. To run them for an installed executor::

    python -m jobd.conformance --executor docker --image busybox:stable --option network=none

`--option KEY=VALUE` is one of the region's INI keys, and may be repeated. The image needs `sh`, `echo`, `sleep`, `true`
and `false`. All other arguments are pytest's. The same in a project's own pytest run is
`pytest -p jobd.conformance.fixtures --pyargs jobd.conformance --executor docker …`.
"""
