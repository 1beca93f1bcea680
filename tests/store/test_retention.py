import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from druse_store import Policy, Run, RunName
from druse_store.retention import FULL, GONE, LIGHT, METRICS, RANK, held, plan

DAY = 86400
NOW = 1_700_000_000.0


def run(version, *, age=0.0, complete=True, experiment="exp"):
    at = int((NOW - age) * 1e9)
    return Run(experiment, version, {}, at, at if complete else 0, complete)


def levels(runs, policy, **more):
    found = plan(runs, policy, NOW, **more)
    return [found[RunName(r.experiment, r.version)] for r in runs]


def daily(count):
    return [run(v, age=(count - 1 - v) * DAY) for v in range(count)]


def test_without_a_rule_everything_stays():
    assert levels(daily(5), Policy()) == [FULL] * 5


def test_crystallizes_rule_keeps_the_newest_the_next_light_and_metrics_of_the_rest():
    policy = Policy(artifact_retention=3)
    assert levels(daily(10), policy) == [METRICS] * 7 + [LIGHT, LIGHT, FULL]
    assert levels(daily(10), Policy(artifact_retention=0)) == [FULL] * 10
    assert levels(daily(10), Policy(artifact_retention=-1)) == [FULL] * 10


def test_keep_last_counts_complete_runs_only():
    runs = [run(0), run(1), run(2, complete=False), run(3)]
    assert levels(runs, Policy(keep_last=2)) == [METRICS, FULL, METRICS, FULL]


def test_an_unfinished_run_is_full_until_a_later_one_is_complete_or_for_thirty_days():
    policy = Policy(keep_last=1)
    assert levels([run(0), run(1, complete=False, age=29 * DAY)], policy) == [FULL, FULL]
    assert levels([run(0), run(1, complete=False, age=31 * DAY)], policy) == [FULL, METRICS]
    assert levels([run(0, complete=False), run(1)], policy) == [METRICS, FULL]
    # It lost its claim, yet nothing limits what this policy keeps.
    assert levels([run(0, complete=False), run(1)], Policy()) == [FULL, FULL]


def test_metrics_go_when_their_time_is_over():
    policy = Policy(keep_last=1, keep_metrics=2.5 * DAY)
    assert levels(daily(6), policy) == [GONE, GONE, GONE, METRICS, METRICS, FULL]
    # Without a rule about artifacts they stay as long as their run.
    assert levels(daily(6), Policy(keep_metrics=2.5 * DAY)) == [GONE] * 3 + [FULL] * 3


def test_keep_within_is_an_age_and_forever_is_all():
    assert levels(daily(4), Policy(keep_within=1.5 * DAY)) == [METRICS, METRICS, FULL, FULL]
    assert levels(daily(4), Policy(keep_within=math.inf)) == [FULL] * 4


def test_one_run_a_day_week_or_month():
    runs = [run(v, age=(19 - v) * DAY / 2) for v in range(20)]  # two a day, the last one now
    kept = levels(runs, Policy(keep_daily=3))
    assert kept.count(FULL) == 3
    assert kept[-1] == FULL
    by_month = [run(v, age=(11 - v) * 31 * DAY) for v in range(12)]
    assert levels(by_month, Policy(keep_monthly=4)) == [METRICS] * 8 + [FULL] * 4
    by_week = [run(v, age=(7 - v) * 3.5 * DAY) for v in range(8)]
    assert levels(by_week, Policy(keep_weekly=2)).count(FULL) == 2


def test_rules_add_up():
    policy = Policy(keep_last=1, artifact_retention=3, keep_within=0.0)
    assert levels(daily(5), policy) == [METRICS, METRICS, LIGHT, LIGHT, FULL]


def test_pins_and_living_runs_are_full():
    policy = Policy(keep_last=1, keep_metrics=0.0)
    pinned = levels(daily(4), policy, pins={RunName("exp", 0)}, alive={RunName("exp", 1)})
    assert pinned == [FULL, FULL, GONE, FULL]


def test_experiments_have_rules_of_their_own():
    runs = [run(v, experiment=name) for name in ("a", "b") for v in range(3)]
    policy = Policy(keep_last=1).with_experiment("b", keep_last=2)
    assert levels(runs, policy) == [METRICS, METRICS, FULL, METRICS, FULL, FULL]


def test_a_run_holds_no_more_than_it_was_lowered_to_unless_it_has_to_be_full():
    runs = [replace(run(v), level="metrics") for v in range(3)] + [run(3, complete=False)]
    wanted = plan(runs, Policy(), NOW)
    found = held(runs, wanted, {RunName("exp", 0)})
    assert list(found.values()) == [FULL, METRICS, FULL, FULL]  # pinned, lowered, newest, going on


# --- laws --------------------------------------------------------------------------------------

RUNS = st.lists(
    st.tuples(st.sampled_from("ab"), st.floats(-DAY, 400 * DAY), st.booleans()), max_size=12
).map(
    lambda rows: [
        run(v, age=age, complete=complete, experiment=name)
        for v, (name, age, complete) in enumerate(rows)
    ]
)
COUNTS = st.none() | st.integers(0, 6)
DURATIONS = st.floats(0, 500 * DAY) | st.just(math.inf)
POLICIES = st.builds(
    Policy,
    keep_last=COUNTS,
    keep_within=st.none() | DURATIONS,
    keep_daily=COUNTS,
    keep_weekly=COUNTS,
    keep_monthly=COUNTS,
    keep_metrics=DURATIONS,
    artifact_retention=st.none() | st.integers(1, 6),
)
RULES = ("keep_last", "keep_within", "keep_daily", "keep_weekly", "keep_monthly", "keep_metrics")


@given(RUNS, POLICIES, st.sampled_from((*RULES, "artifact_retention")), st.integers(1, 1000))
def test_a_laxer_policy_never_drops_more(runs, policy, rule, more):
    strict = plan(runs, policy, NOW)
    was = getattr(policy, rule)
    if was is None and not policy.limits_artifacts:
        return  # the first rule about artifacts is stricter than none
    lax = plan(runs, replace(policy, **{rule: more if was is None else was + more}), NOW)
    assert all(RANK[lax[name]] >= RANK[level] for name, level in strict.items())


@given(RUNS, POLICIES)
def test_keeping_everything_is_the_laxest(runs, policy):
    lax = plan(runs, replace(policy, artifact_retention=0, keep_metrics=math.inf), NOW)
    assert set(lax.values()) <= {FULL}


@given(RUNS, POLICIES)
def test_the_newest_complete_run_is_always_full(runs, policy):
    found = plan(runs, policy, NOW)
    for name in "ab":
        complete = [r.version for r in runs if r.experiment == name and r.complete]
        if complete:
            assert found[RunName(name, max(complete))] == FULL


@given(RUNS, POLICIES, st.integers(0, 11))
def test_pins_are_always_full_and_change_nothing_else(runs, policy, which):
    if which >= len(runs):
        return
    pinned = RunName(runs[which].experiment, runs[which].version)
    without, found = plan(runs, policy, NOW), plan(runs, policy, NOW, pins=[pinned])
    assert found[pinned] == FULL
    assert {k: v for k, v in found.items() if k != pinned} == {
        k: v for k, v in without.items() if k != pinned
    }


@given(RUNS, POLICIES, st.randoms())
def test_the_order_in_which_runs_come_does_not_matter(runs, policy, chance):
    shuffled = list(runs)
    chance.shuffle(shuffled)
    assert plan(shuffled, policy, NOW) == plan(runs, policy, NOW)


@given(RUNS, POLICIES, st.floats(0, 500 * DAY))
def test_time_alone_never_brings_anything_back(runs, policy, later):
    now, then = plan(runs, policy, NOW), plan(runs, policy, NOW + later)
    assert all(RANK[then[name]] <= RANK[level] for name, level in now.items())
