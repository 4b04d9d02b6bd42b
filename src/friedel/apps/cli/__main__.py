"""``python -m friedel.apps.cli``, where the command ``friedel`` is not on the path."""

from friedel.apps.cli import main

main()
