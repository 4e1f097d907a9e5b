"""Descriptions of the calls for webhooks."""

from jobd.api.openapi.calls import Body, Call, Calls, answer, empty, page
from jobd.api.schemas import responses
from jobd.api.schemas.requests import HookChange, HookCreate

_AT = "2025-12-28T14:31:07.639255+00:00"
_NEW = {
    "subject_type": "job",
    "subject": 146,
    "name": "值班",
    "url": "https://example.com/hook",
    "events": ["job:fail"],
    "secret": "whsec_c2VjcmV0IG9mIGEgdGVzdA==",
}
_OF_ALL = {
    "subject_type": "namespace",
    "subject": "chennanfei",
    "url": "https://example.com/hook",
    "events": ["job:fail", "job:not_run"],
}
_HOOK = {
    "id": 7,
    "namespace": "chennanfei",
    "is_active": True,
    "created_by": "chennanfei",
    "created_at": _AT,
    "updated_at": _AT,
    **_NEW,
    "secret": "******",
}
_DELIVERY = {
    "id": 31,
    "webhook_id": "5b6e0d5e-6d3f-4c0a-9a51-0a6b3a1f6b52",
    "hook": 7,
    "event": "job:fail",
    "event_at": _AT,
    "job": 146,
    "exec": "64b2d045-2881-4293-9bcd-bdc04b953115",
    "status": "pending",
    "created_at": _AT,
    "next_attempt_at": "2025-12-28T14:31:13.001000+00:00",
    "attempts": [
        {
            "at": _AT,
            "duration_ms": 250,
            "status_code": 500,
            "error": "500: the receiver does not take it",
            "answer": "no",
        }
    ],
}
_AGAIN = {**_DELIVERY, "id": 32, "attempts": []}

CALLS: Calls = {
    ("GET", "/v1/hooks"): Call(
        "list_hooks",
        "Hooks",
        "List the hooks of a job or a namespace",
        {200: answer("All of them, newest first.", {"type": "array", "items": responses.Hook}, [_HOOK])},
        "The list is empty for a job or namespace that the caller may not see.",
    ),
    ("POST", "/v1/hooks"): Call(
        "create_hook",
        "Hooks",
        "Create a hook",
        {201: answer("The hook.", responses.Hook, _HOOK, {"Location": "Its address."})},
        "A job or a namespace can have at most 20 hooks; one more is 409.",
        Body(HookCreate, {"Of a job": _NEW, "Of a namespace": _OF_ALL}),
        refusals=(409,),
    ),
    ("GET", "/v1/hooks/{id}"): Call(
        "get_hook", "Hooks", "Show a hook", {200: answer("The hook.", responses.Hook, _HOOK)}, refusals=(404,)
    ),
    ("PUT", "/v1/hooks/{id}"): Call(
        "update_hook",
        "Hooks",
        "Change a hook",
        {200: answer("The hook.", responses.Hook, _HOOK)},
        "Changes only the fields in the body.",
        Body(HookChange, {"Other events": {"events": ["job:fail", "job:cancel"]}}, required=False),
        refusals=(404,),
    ),
    ("DELETE", "/v1/hooks/{id}"): Call(
        "delete_hook",
        "Hooks",
        "Delete a hook",
        {204: empty("The hook is deleted; its pending deliveries are not sent.")},
        refusals=(404,),
    ),
    ("GET", "/v1/hooks/{id}/deliveries"): Call(
        "list_hook_deliveries",
        "Hooks",
        "List a hook's deliveries",
        {200: answer("One page, newest first.", responses.DeliveryPage, page([_DELIVERY]))},
        refusals=(404,),
    ),
    ("POST", "/v1/hooks/{id}/deliveries/{delivery_id}/redeliver"): Call(
        "redeliver_hook_delivery",
        "Hooks",
        "Send a delivery again",
        {201: answer("A new delivery of the same message.", responses.Delivery, _AGAIN)},
        "With the same `webhook_id`. 409 if the hook is not active.",
        refusals=(404, 409),
    ),
}
