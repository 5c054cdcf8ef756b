"""What `egress serve-trigger` asks of Dagster, held against the schema of the Dagster that is installed."""

from typing import Any

import pytest
from dagster_graphql.schema import create_schema
from graphql import GraphQLSchema, parse, validate
from graphql.execution.values import get_variable_values
from graphql.language import OperationDefinitionNode

from egress_assets.cli.serve_trigger import AT_WORK, LAUNCH, LOCATION, RUNS, Dagster, Work
from egress_assets.schedules import WORK

CHAIN, MIRROR = Work("shop", "", "2026-11-20"), Work("shop", "shop", "2026-11-20")


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return create_schema().graphql_schema


class Asked(Dagster):
    """Keeps what would be sent, and answers as a Dagster without runs."""

    def __init__(self):
        super().__init__("http://127.0.0.1:1")
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        self.sent.append((query, variables))
        run = {"__typename": "LaunchRunSuccess", "run": {"runId": "r"}}
        return {"runsOrError": {"__typename": "Runs", "results": []}, "launchRun": run}


@pytest.mark.parametrize("work", [CHAIN, MIRROR])
def test_the_queries_and_their_variables_are_right_for_the_installed_dagster(schema: GraphQLSchema, work: Work):
    asked = Asked()
    assert asked.running(work) is None
    assert asked.start(work, "/x") == "r"
    assert [query for query, _ in asked.sent] == [RUNS, LAUNCH]
    for query, variables in asked.sent:
        document = parse(query)
        assert validate(schema, document) == []
        operation = document.definitions[0]
        assert isinstance(operation, OperationDefinitionNode)
        assert isinstance(get_variable_values(schema, list(operation.variable_definitions), variables), dict)


def test_a_state_that_dagster_does_not_know_would_be_seen(schema: GraphQLSchema):
    assert set(AT_WORK) <= set(schema.type_map["RunStatus"].values)  # type: ignore[attr-defined]
    operation = parse(RUNS).definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    wrong = {"filter": {"statuses": ["AT_WORK"]}}
    assert not isinstance(get_variable_values(schema, list(operation.variable_definitions), wrong), dict)


def test_the_tag_is_the_queues_own():
    asked = Asked()
    asked.running(CHAIN)
    assert asked.sent[0][1]["filter"]["tags"] == [{"key": WORK, "value": "shop:2026-11-20"}]


def test_the_location_is_the_one_of_the_workspace():
    import yaml

    from tests.graph.test_load import ROOT

    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    assert workspace["load_from"][0]["python_module"]["location_name"] == LOCATION["repositoryLocationName"]
