"""The exit codes of `referrals` other than 0; click ends wrong usage with 2 as well."""

from typing import Final

EXIT_FAILURE: Final = 1
EXIT_SETTINGS: Final = 2
