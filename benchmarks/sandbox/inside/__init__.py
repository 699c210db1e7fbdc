"""What runs inside the sandbox: standard library only, and not much of it.

It is sent in compiled form and executed in a bare interpreter, so these modules import each other relatively and
nothing else of the project.
"""
