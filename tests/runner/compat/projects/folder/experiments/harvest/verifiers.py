from crystallize import verifier


@verifier
def more_than(baseline, treatment, times: float = 1.0):
    return {
        "p_value": sum(baseline["apples"]) / (times * sum(treatment["apples"]) + 1),
        "keys": sorted(treatment),
    }
