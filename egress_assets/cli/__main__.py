"""`python -m egress_assets.cli`"""

from egress_assets.cli import main

main()
