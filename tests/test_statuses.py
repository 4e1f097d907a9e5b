"""The letters of the API, and what the code calls them."""

from typing import get_args

from jobd.api.schemas import fields, responses
from jobd.statuses import ExecStatus, Trigger


def test_the_api_knows_the_states_and_triggers_that_the_code_knows() -> None:
    assert get_args(fields.ExecStatus.__value__) == tuple(ExecStatus)
    assert get_args(responses.TriggerMode.__value__) == tuple(Trigger)
