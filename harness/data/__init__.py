"""The registry of upstream files, and how they are obtained.

===============  ====================================================================
`catalog`        Which files there are.
`store`          Verified local copies.
`constants`      Constants from a Python source file that is never run.
`checksum`       Pinned checksums.
`download`       Downloads from GitHub.
`hub`            Downloads from the Hugging Face hub.
===============  ====================================================================
"""
