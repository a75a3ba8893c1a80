"""What is sent to DynamoDB for typed conditions, changes and queries, word for word."""

from junctor.adapters.tables.dynamodb_expressions import operation_parts, query_parts
from junctor.ports.table import (
    Absent,
    Add,
    AtLeast,
    Check,
    Delete,
    Equals,
    Exists,
    IndexSpec,
    Key,
    PutNew,
    Query,
    Remove,
    Set,
    Update,
)

KEY = Key("P", "S")
KEY_PART = {"pk": {"S": "P"}, "sk": {"S": "S"}}


def test_a_put_is_conditional_on_its_key() -> None:
    """A put would write over what is there."""
    assert operation_parts(PutNew({"pk": "P", "sk": "S", "n": 1})) == (
        "Put",
        {
            "Item": {"pk": {"S": "P"}, "sk": {"S": "S"}, "n": {"N": "1"}},
            "ConditionExpression": "attribute_not_exists(#n0)",
            "ExpressionAttributeNames": {"#n0": "pk"},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
    )


def test_an_update_names_everything_by_placeholder() -> None:
    """A reserved word would be an error, and an attribute's name could change what is written."""
    conditions = (AtLeast("size", -5), Equals("flag", value=True), Exists("a.b"), Absent("size"))
    changes = (Add("size", -3), Set("status", None), Remove("ttl"), Set("note", "x"), Remove("a.b"))
    assert operation_parts(Update(KEY, conditions, changes)) == (
        "Update",
        {
            "Key": KEY_PART,
            "UpdateExpression": "SET #n1 = :v1, #n3 = :v2 ADD #n0 :v0 REMOVE #n2, #n4",
            "ConditionExpression": (
                "attribute_type(#n0, :v3) AND #n0 >= :v4 AND attribute_type(#n5, :v5) AND #n5 = :v6"
                " AND attribute_exists(#n4) AND attribute_not_exists(#n0)"
            ),
            "ExpressionAttributeNames": {
                "#n0": "size",
                "#n1": "status",
                "#n2": "ttl",
                "#n3": "note",
                "#n4": "a.b",
                "#n5": "flag",
            },
            "ExpressionAttributeValues": {
                ":v0": {"N": "-3"},
                ":v1": {"NULL": True},
                ":v2": {"S": "x"},
                ":v3": {"S": "N"},
                ":v4": {"N": "-5"},
                ":v5": {"S": "BOOL"},
                ":v6": {"BOOL": True},
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        },
    )


def test_a_write_without_conditions_sends_no_empty_parts() -> None:
    """DynamoDB would refuse the request."""
    assert operation_parts(Delete(KEY)) == ("Delete", {"Key": KEY_PART, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"})


def test_a_check_writes_nothing() -> None:
    """A check would be sent as an update."""
    name, parts = operation_parts(Check(KEY, (Exists("a"),)))
    assert name == "ConditionCheck"
    assert set(parts) == {"Key", "ConditionExpression", "ExpressionAttributeNames", "ReturnValuesOnConditionCheckFailure"}


def test_a_query_of_a_table() -> None:
    """A page would begin elsewhere, or hold the items of another prefix."""
    query = Query(partition="P", prefix="a", limit=5, consistent=True, descending=True)
    assert query_parts(None, query, ("P", "ab")) == {
        "KeyConditionExpression": "#n0 = :v0 AND begins_with(#n1, :v1)",
        "ExpressionAttributeNames": {"#n0": "pk", "#n1": "sk"},
        "ExpressionAttributeValues": {":v0": {"S": "P"}, ":v1": {"S": "a"}},
        "ScanIndexForward": False,
        "ConsistentRead": True,
        "Limit": 5,
        "ExclusiveStartKey": {"pk": {"S": "P"}, "sk": {"S": "ab"}},
    }


def test_a_query_of_an_index() -> None:
    """The reclaimer would read the table instead of the index."""
    index = IndexSpec(name="due", partition="shard", sort="until")
    query = Query(partition="s", between=("1", "2"), index="due")
    assert query_parts(index, query, ("s", "1", "P", "S")) == {
        "KeyConditionExpression": "#n0 = :v0 AND #n1 BETWEEN :v1 AND :v2",
        "ExpressionAttributeNames": {"#n0": "shard", "#n1": "until"},
        "ExpressionAttributeValues": {":v0": {"S": "s"}, ":v1": {"S": "1"}, ":v2": {"S": "2"}},
        "ScanIndexForward": True,
        "ConsistentRead": False,
        "IndexName": "due",
        "ExclusiveStartKey": {"shard": {"S": "s"}, "until": {"S": "1"}, "pk": {"S": "P"}, "sk": {"S": "S"}},
    }
