import math

import pytest

from druse_store import Policy
from druse_store.errors import InvalidPolicy, StoreError


def test_a_section_says_everything_there_is_to_say():
    policy = Policy.parse(
        {
            "keep_last": 5,
            "keep_within": "30d",
            "keep_daily": 7,
            "keep_metrics": "forever",
            "max_size": "50GB",
            "experiments": {
                "classifier": {"artifact_retention": 3, "big_file_threshold_mb": 10},
                "report": None,
            },
        }
    )
    assert (policy.keep_last, policy.keep_within, policy.keep_daily) == (5, 30 * 86400, 7)
    assert policy.keep_metrics == math.inf
    assert policy.max_size == 50 * 10**9
    classifier = policy.of("classifier")
    assert (classifier.artifact_retention, classifier.big_file_threshold) == (3, 10 << 20)
    assert classifier.keep_last == 5  # what it does not say comes from above
    assert policy.of("report").keep_last == policy.of("other").keep_last == 5


def test_an_experiment_can_take_a_rule_back():
    policy = Policy.parse({"keep_last": 5, "experiments": {"a": {"keep_last": None}}})
    assert policy.of("a").keep_last is None
    assert not policy.of("a").limits_artifacts
    assert policy.limits_artifacts


def test_no_section_keeps_everything():
    assert Policy.parse(None) == Policy.parse({}) == Policy()
    assert not Policy().limits_artifacts


def test_rules_of_one_experiment_are_set_beside_the_others():
    policy = Policy(keep_last=2).with_experiment("a", artifact_retention=3)
    assert (policy.of("a").artifact_retention, policy.of("a").keep_last) == (3, 2)
    assert policy.of("b").artifact_retention is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45s", 45),
        ("90m", 5400),
        ("1.5h", 5400),
        ("30 d", 2592000),
        ("2w", 1209600),
        ("1Y", 31536000),
    ],
)
def test_durations_have_units(text, seconds):
    assert Policy.parse({"keep_within": text}).keep_within == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [("50GB", 50 * 10**9), ("1.5 TiB", 3 << 39), ("512", 512), (4096, 4096), ("10mb", 10**7)],
)
def test_sizes_have_units_or_are_bytes(text, count):
    assert Policy.parse({"max_size": text}).max_size == count


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"keep_lsat": 3}, r"retention\.keep_lsat: no such rule; did you mean keep_last\?"),
        ({"colour": 3}, r"retention\.colour: no such rule; there are .*experiments, keep_daily"),
        ({"big_file_threshold_mb": -1}, r"big_file_threshold_mb: a whole number of MiB, 0 or more"),
        ({"keep_last": -1}, r"retention\.keep_last: .*not -1"),
        ({"keep_last": True}, r"retention\.keep_last: .*not True"),
        ({"keep_within": 30}, r"retention\.keep_within: a duration is .*30d.*not 30"),
        ({"keep_within": "30 days"}, r"retention\.keep_within: .*not '30 days'"),
        ({"keep_metrics": None}, r"retention\.keep_metrics: .*not None"),
        ({"max_size": "50 bananas"}, r"retention\.max_size: .*not '50 bananas'"),
        ({"max_size": True}, r"retention\.max_size"),
        ({"experiments": ["a"]}, r"retention\.experiments: .*\['a'\]"),
        ({"experiments": {"a": 3}}, r"retention\.experiments\.a: .*not 3"),
        ({"experiments": {"a": {"max_size": "1GB"}}}, r"experiments\.a\.max_size: .*move it up"),
        ({"experiments": {"a": {"keep_last": "x"}}}, r"retention\.experiments\.a\.keep_last"),
        ("30d", r"retention: rules by name"),
    ],
)
def test_what_cannot_be_is_named_by_its_place(section, said):
    with pytest.raises(InvalidPolicy, match=said) as raised:
        Policy.parse(section)
    assert isinstance(raised.value, StoreError)
