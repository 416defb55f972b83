"""Tab completion of ``segexp train`` in bash; ``python train.py`` has Hydra's own.

Hydra's script completes a program by its first word; ``segexp``, whose other commands Typer completes, needs a script
of its own. To try it: eval "$(segexp train -sc install=bash)"
"""

import os
import sys
from collections.abc import Sequence

from segexp.errors import InputError

BASH = """_segexp_train_completion()
{
    if [ "${COMP_WORDS[1]}" != train ]; then
        local IFS=$'\\n'
        COMPREPLY=($(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _SEGEXP_COMPLETE=complete_bash segexp))
        return
    fi
    compopt -o nospace
    local line="${COMP_LINE:0:$COMP_POINT}"
    local choices=$(COMP_LINE="$line" segexp train -sc query=bash 2> /dev/null)
    COMPREPLY=($(compgen -W "$choices" -- "${line##*[[:space:]]}"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o default -F _segexp_train_completion segexp
"""


def complete(arguments: Sequence[str]) -> bool:
    """Print the script for ``segexp train -sc install=bash``; whether that was all that was asked for.

    A query of that script (``query=bash``) is rewritten as Hydra expects it: the name of one program, then the words.

    Raises:
        InputError: if ``-sc`` of `segexp train` has another value than ``install=bash`` or ``uninstall=bash``.
        SystemExit: if ``query=bash`` is typed by hand.
    """
    asked = dict(word.partition("=")[::2] for word in arguments if not word.startswith("-"))
    if "query" in asked:
        line = os.environ.get("COMP_LINE")
        if line is None:
            sys.exit("error: -sc query: is asked by a shell when Tab is pressed; expected -sc install=bash")
        program, _, rest = line.lstrip().partition(" ")
        if os.path.basename(program) == "segexp":
            os.environ["COMP_LINE"] = f"segexp {rest.lstrip().removeprefix('train').lstrip()}"
        return False
    if sys.argv[0] != "segexp train":
        return False
    if asked.get("install") == "bash":
        print(BASH, end="")
    elif asked.get("uninstall") == "bash":
        print("complete -r segexp; unset -f _segexp_train_completion")
    else:
        raise InputError(
            "-sc: expected install=bash or uninstall=bash; segexp --install-completion completes the commands "
            "and their flags in other shells"
        )
    return True
