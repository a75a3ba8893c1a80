"""template.yaml and the TableSpecs say the same, in both directions: what is deployed is what the code was tested with."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from junctor.ports.table import PARTITION, SORT, TableSpec
from junctor.records.tables import ALL_TABLES

TEMPLATE = Path(__file__).parents[2] / "template.yaml"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short tags as one-key mappings: `!Sub x` as {"Sub": "x"}."""


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, object]:
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    if isinstance(node, yaml.MappingNode):
        return {suffix: loader.construct_mapping(node, deep=True)}
    assert isinstance(node, yaml.ScalarNode)
    return {suffix: loader.construct_scalar(node)}


_Loader.add_multi_constructor("!", _tagged)


def template() -> dict[str, Any]:
    """Return the template as plain data."""
    loaded = yaml.load(TEMPLATE.read_text("utf-8"), _Loader)  # noqa: S506 - a safe loader with tags read as data
    assert isinstance(loaded, dict)
    return loaded


def tables() -> dict[str, dict[str, Any]]:
    """Return the table resources by their logical names."""
    resources = template()["Resources"]
    return {name: resource for name, resource in resources.items() if resource["Type"] == "AWS::DynamoDB::Table"}


def key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    """Return a key as CloudFormation writes it."""
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


def expected_properties(spec: TableSpec) -> dict[str, object]:
    """Return all properties that a table must have, and it must have no others."""
    attributes = {PARTITION, SORT} | {name for index in spec.indexes for name in (index.partition, index.sort)}
    properties: dict[str, object] = {
        "TableName": {"Sub": f"junctor-${{Stage}}-{spec.name}"},
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": key_schema(PARTITION, SORT),
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
        "SSESpecification": {"SSEEnabled": True},
    }
    if spec.indexes:
        properties["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index.name,
                "KeySchema": key_schema(index.partition, index.sort),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index in spec.indexes
        ]
    if spec.stream:
        properties["StreamSpecification"] = {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    if spec.ttl is not None:
        properties["TimeToLiveSpecification"] = {"AttributeName": spec.ttl, "Enabled": True}
    return properties


def test_each_spec_has_its_table_and_each_table_its_spec() -> None:
    """A table would be missing in the cloud, or one be paid for that nothing reads."""
    names = [resource["Properties"]["TableName"]["Sub"] for resource in tables().values()]
    assert sorted(names) == sorted(f"junctor-${{Stage}}-{spec.name}" for spec in ALL_TABLES)


@pytest.mark.parametrize("spec", ALL_TABLES, ids=lambda spec: spec.name)
def test_a_table_is_made_as_its_spec_says(spec: TableSpec) -> None:
    """A query would find no index, a follower no stream, and expired items would stay for ever."""
    properties = dict(tables()[f"{spec.name.title()}Table"]["Properties"])
    definitions = properties["AttributeDefinitions"]
    assert {definition["AttributeType"] for definition in definitions} == {"S"}
    properties["AttributeDefinitions"] = {definition["AttributeName"] for definition in definitions}
    assert properties == expected_properties(spec)


def test_no_table_goes_with_its_stack() -> None:
    """Deleting a stack would delete the balances of everybody."""
    for resource in tables().values():
        assert resource["DeletionPolicy"] == "Retain"
        assert resource["UpdateReplacePolicy"] == "Retain"


def test_each_table_is_told_by_name() -> None:
    """An operator would have to guess where his data lies."""
    values = [output["Value"] for output in template()["Outputs"].values()]
    assert all({"Ref": name} in values for name in tables())


def test_a_stage_is_a_parameter() -> None:
    """Two deployments in one account would share their tables."""
    assert template()["Parameters"]["Stage"]["Type"] == "String"
    assert template()["Transform"] == "AWS::Serverless-2016-10-31"
