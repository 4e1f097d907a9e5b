"""The calls that say who asks."""

from jobd.api import shapes
from jobd.api.openapi.calls import Body, Call, Calls, answer
from jobd.api.schemas import Credentials

CALLS: Calls = {
    ("POST", "/v1/generate-api-token"): Call(
        "Accounts",
        "Sign in",
        {
            200: answer(
                "A new token.",
                shapes.SignedIn,
                {"username": "chennanfei", "token": "jobd_w3dyl2cqn5cq4q5ndh5ugl7u3cvxdzlx5fkxoxq"},
            )
        },
        "As JSON or as a form. The newest 50 tokens made like this work. After 10 wrong passwords for a username from "
        "one address within a minute it is 429.",
        Body(Credentials, {"A user": {"username": "chennanfei", "password": "correct horse battery staple"}}),
        refusals=(401,),
    ),
    ("GET", "/v1/auth/profile"): Call(
        "Accounts",
        "Show who asks",
        {200: answer("The caller.", shapes.Profile, {"username": "chennanfei", "is_admin": False})},
    ),
}
