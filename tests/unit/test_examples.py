"""The examples of answers in the API's description."""

from inspect import getmembers, isclass

import pytest
from pydantic import BaseModel

from schemas import rejection, stats, workers
from worker.web import probes

MODELS = {
    model
    for module in (rejection, stats, workers, probes)
    for _, model in getmembers(module, isclass)
    if issubclass(model, BaseModel) and model.model_config.get("json_schema_extra")
}


@pytest.mark.parametrize("model", sorted(MODELS, key=lambda model: model.__name__))
def test_example_is_an_answer(model: type[BaseModel]) -> None:
    """What the description shows as an example has just the fields of an answer, in their form."""
    (example,) = model.model_config["json_schema_extra"]["examples"]
    assert example.keys() == model.model_fields.keys()
    model.model_validate(example)
