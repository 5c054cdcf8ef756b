"""The cross-checks of a catalog: what no single model can know. A rule looks at all of it and yields problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from egress_assets.engine.catalog.problems import Problem
from egress_assets.engine.catalog.rules import deliveries, masks, names, operate, places, publishes, references, release
from egress_assets.engine.catalog.view import View

Rule = Callable[[View], Iterator[Problem]]

RULES: tuple[Rule, ...] = (
    references.stores_exist,
    references.sources_exist,
    references.kinds_exist,
    references.transfer_types_exist,
    names.datasets_leave_the_names_of_jobs,
    names.names_are_usable,
    names.tables_are_nameable,
    names.mirrors_are_unique,
    names.deliveries_are_unique,
    masks.masks_exist,
    masks.detectors_exist,
    masks.tables_are_classified,
    deliveries.deliveries_name_a_recipient,
    deliveries.deliveries_have_a_source,
    deliveries.deliveries_fit_what_is_stored,
    deliveries.destinations_are_templates,
    deliveries.destinations_do_not_overlap,
    release.stages_write_to_trusted_stores,
    release.mirrors_have_a_source,
    release.external_mirrors_are_released,
    release.raw_deliveries_are_authorised,
    release.authorisations_name_who_gets_it,
    publishes.publishes_have_names_of_their_own,
    publishes.paths_tell_tables_apart,
    publishes.paths_stay_in_their_store,
    publishes.only_text_is_formed,
    publishes.paths_say_their_format,
    publishes.published_names_do_not_meet,
    release.required_certificates_can_be_made,
    places.prefixes_are_plain,
    places.places_do_not_overlap,
    places.mirrors_do_not_copy_what_we_write,
    places.watched_prefixes_are_foreign,
    places.nothing_expires_too_early,
    operate.hours_have_a_length,
    operate.sources_are_not_always_quiet,
    operate.schedules_are_not_quiet,
    operate.limits_count_something,
    operate.limited_rows_are_known,
)

LAPSING: tuple[Rule, ...] = (release.authorisations_that_lapsed,)
"""What becomes wrong by time passing alone: told by `egress check`, refused by the Release when it is used."""
