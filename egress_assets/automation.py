"""When assets move by themselves: only downstream of late, manual or foreign changes, and only for new content.

Schedules start whole chains (schedules.py). What changes outside of those (an old date dumped again by hand, work done
by the CLI and reported, an arrival) is followed by the condition below, for any partition. Dagster's `eager()` looks
at the latest partition only, ignores failed blocking checks and fires on equal content.

What no condition sees (a parent that moves while its child runs, changes from before the first evaluation, missed
schedules) the sensor `reconcile` finds in evidence.
"""

import dagster as dg

WHOLE = "egress/whole"
"""Tag of runs that materialise a dataset's whole chain: what they moved, they carried downstream themselves."""

OBSERVE = "0 * * * *"
"""How often sources are observed, cron: an observation is a run, about 5 s of CPU on its own."""


def downstream() -> dg.AutomationCondition:
    """Materialise when a parent's content moved, for whichever date.

    Not when the parent was rewritten with equal content, is being written, is missing, or failed its gate; not when
    the run that moved the parent carried the change on itself. A chain of such assets moves in one run. The scenarios
    are tests/graph/test_automation.py.
    """
    on = dg.AutomationCondition
    moved = (
        on.data_version_changed()
        & ~on.executed_with_root_target()
        & ~on.all_new_updates_have_run_tags(tag_keys={WHOLE})
    )
    # `since` compares timestamps, and And/Or lose them: both operands are bare on purpose.
    newer = on.any_deps_match(on.newly_updated()).since(on.newly_updated())
    failed = on.any_checks_match(on.check_failed(), blocking_only=True)
    # In one walk over the parents: three cost a quarter more CPU at 1,000 assets.
    not_ready = on.any_deps_match(((on.missing() | failed) & ~on.will_be_requested()) | on.in_progress())
    started = on.any_deps_match(moved).since(on.newly_requested() | on.initial_evaluation() | ~newer)
    condition = (started | on.any_deps_match(on.will_be_requested())) & ~not_ready & ~on.in_progress()
    return condition.with_label("downstream of changed content")


def observed() -> dg.AutomationCondition:
    """Observe a source every hour. Dumps have no condition: a schema change would ask for every date."""
    return dg.AutomationCondition.on_cron(OBSERVE).with_label("observed every hour")


def sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluates all conditions, on from the start: a catalog that declares a chain expects it to be kept."""
    return dg.AutomationConditionSensorDefinition(
        name="automation",
        target=dg.AssetSelection.all(include_sources=True),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        emit_backfills=False,  # one run a date, like everything else here
        description="Follows changes that no schedule carried: late dates, manual runs, foreign work.",
    )
