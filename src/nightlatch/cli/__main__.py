"""python -m nightlatch.cli"""

from nightlatch.cli import main

main()
