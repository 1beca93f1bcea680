"""What a call raises: which of the builtin errors it is one of, and whether words are in it."""

KINDS = (FileNotFoundError, KeyError, TypeError, ValueError, RuntimeError)


def raised(call, *words):
    try:
        value = call()
    except Exception as error:
        text = str(error)
        kind = next((k.__name__ for k in KINDS if isinstance(error, k)), None)
        return [kind, [w for w in words if w in text]]
    return ["nothing was raised", repr(type(value))]
