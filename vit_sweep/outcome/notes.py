"""How an error that costs no run is said in the record."""


def said(error: BaseException) -> str:
    """The error in one line: `OSError: No space left on device`."""
    text = str(error).strip() or "no reason given"
    return f"{type(error).__name__}: {text.splitlines()[0]}"
