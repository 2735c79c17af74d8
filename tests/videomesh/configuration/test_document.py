"""The schemas, and what is written from them."""

from typing import Any

import jsonschema
import pytest
import yaml

from checkout import ROOT
from videomesh.configuration.document import document
from videomesh.configuration.schema import find_leaves, read_schema
from videomesh.gate.verdict import CHECKS


@pytest.mark.parametrize("name", ["config", "scenes"])
def test_schemas_are_strict_and_explain_every_key(name: str) -> None:
    schema = read_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"

    def check(node: dict[str, Any]) -> None:
        assert node["additionalProperties"] is False
        for child in node["properties"].values():
            assert child["description"]
            if "properties" in child:
                check(child)

    check(schema)


def test_the_shipped_configuration_holds_every_key_with_its_default() -> None:
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    leaves = find_leaves(read_schema("config"))
    for key, leaf in leaves.items():
        value = shipped
        for part in key.split("."):
            value = value[part]
        assert value == leaf["default"], key
        jsonschema.validate(leaf["default"], leaf)
    jsonschema.validate(shipped, read_schema("config"))  # nothing else is in it


@pytest.mark.parametrize("name", ["config/config.yaml", "config/README.md"])
def test_what_is_written_from_the_schema_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text() == document()[name], f"{name} is not what the schema says: run make settings"


def test_a_former_key_is_no_key() -> None:
    leaves = find_leaves(read_schema("config"))
    former = [leaf["formerly"] for leaf in leaves.values() if "formerly" in leaf]
    assert former and not set(former) & set(leaves)


def test_the_settings_of_neuralangelo_are_json_schemas() -> None:
    schema = read_schema("neuralangelo")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all(set(leaf) == {"decided"} or leaf.keys() & {"type", "enum"} for leaf in schema["properties"].values())


def test_the_gate_has_the_checks_of_the_schema() -> None:
    checks = read_schema("config")["properties"]["gate"]["properties"]
    described = {name: (check["worse"], check["description"]) for name, check in checks.items() if name != "mode"}
    meanings = {check.name: check.limit.meaning for check in CHECKS}
    assert described == {
        check.name: (check.limit.worse, f"{meanings[check.name][0].upper()}{meanings[check.name][1:]}.")
        for check in CHECKS
    }
    assert list(described) == list(meanings), "the same order"
