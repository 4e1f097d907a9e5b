"""Descriptions of the calls for users, organizations, tokens and the audit log."""

from jobd.api.openapi.calls import Body, Call, Calls, answer, empty, page
from jobd.api.schemas import account_responses
from jobd.api.schemas.requests import (
    Credentials,
    MemberChange,
    MemberCreate,
    OrganizationCreate,
    ProfileChange,
    TokenCreate,
    UserChange,
    UserCreate,
)

_AT = "2025-12-28T14:31:07.639255+00:00"
_SECRET = "jobd_w3dyl2cqn5cq4q5ndh5ugl7u3cvxdzlx5fkxoxq"  # noqa: S105
_PROFILE = {
    "username": "chennanfei",
    "is_admin": False,
    "namespaces": {"chennanfei": "admin", "team": "writer"},
    "access": "write",
}
_NEW_TOKEN = {"name": "ci", "namespace": "chennanfei", "access": "read", "expires_at": "2099-01-01T00:00:00Z"}
_TOKEN = {
    **_NEW_TOKEN,
    "id": 3,
    "username": "chennanfei",
    "made_by": 1,
    "created_at": _AT,
    "expires_at": "2099-01-01T00:00:00.000000+00:00",
    "last_used_at": None,
}
_USER = {"username": "lihua", "is_admin": False, "is_active": True, "has_password": True, "created_at": _AT}
_ORGANIZATION = {"name": "team", "role": "admin", "created_by": "chennanfei", "created_at": _AT}
_MEMBER = {"username": "lihua", "role": "writer", "created_at": _AT}
_RECORD = {
    "id": 7,
    "at": _AT,
    "namespace": "chennanfei",
    "actor": "chennanfei",
    "token": 1,
    "address": "127.0.0.1",
    "request_id": "7f9c2ba4e88f827d616045507605853e",
    "action": "job.update",
    "subject": "146",
    "before": {"timeout": 60},
    "after": {"timeout": None},
}
_LOCATION = {"Location": "Its address."}
_ADMINISTRATORS = "For administrators of the installation."

_OWN: Calls = {
    ("POST", "/v1/generate-api-token"): Call(
        "generate_api_token",
        "Accounts",
        "Sign in",
        {200: answer("A new token.", account_responses.SignedIn, {"username": "chennanfei", "token": _SECRET})},
        "As JSON or as a form. Only the newest 50 tokens created like this are valid. After 10 wrong passwords for a "
        "username from one address within a minute, the response is 429.",
        Body(Credentials, {"A user": {"username": "chennanfei", "password": "correct horse battery staple"}}),
        refusals=(401,),
    ),
    ("GET", "/v1/auth/profile"): Call(
        "get_profile", "Accounts", "Show the caller", {200: answer("The caller.", account_responses.Profile, _PROFILE)}
    ),
    ("PUT", "/v1/auth/profile"): Call(
        "change_password",
        "Accounts",
        "Change the caller's password",
        {200: answer("The caller.", account_responses.Profile, _PROFILE)},
        "Tokens stay valid. A caller without a password gets 409: an administrator has to set the first one.",
        Body(
            ProfileChange,
            {"Another one": {"current_password": "correct horse battery staple", "password": "a longer one, 更长的"}},
        ),
        refusals=(409,),
    ),
    ("GET", "/v1/tokens"): Call(
        "list_tokens",
        "Accounts",
        "List the caller's tokens",
        {200: answer("One page, newest first.", account_responses.TokenPage, page([_TOKEN]))},
        refusals=(404,),
    ),
    ("POST", "/v1/tokens"): Call(
        "create_token",
        "Accounts",
        "Create a token for the caller",
        {201: answer("The token.", account_responses.NewToken, {**_TOKEN, "token": _SECRET}, _LOCATION)},
        body=Body(TokenCreate, {"One that reads": _NEW_TOKEN, "A minimal token": {"name": "laptop"}}),
    ),
    ("GET", "/v1/tokens/{token_id}"): Call(
        "get_token",
        "Accounts",
        "Show a token",
        {200: answer("The token.", account_responses.Token, _TOKEN)},
        refusals=(404,),
    ),
    ("DELETE", "/v1/tokens/{token_id}"): Call(
        "revoke_token",
        "Accounts",
        "Revoke a token",
        {204: empty("The token and all tokens created with it are no longer valid.")},
        "An administrator may revoke the tokens of all users.",
        refusals=(404,),
    ),
}
_USERS: Calls = {
    ("GET", "/v1/users"): Call(
        "list_users",
        "Users",
        "List users",
        {200: answer("One page, newest first.", account_responses.UserPage, page([_USER]))},
        _ADMINISTRATORS,
    ),
    ("POST", "/v1/users"): Call(
        "create_user",
        "Users",
        "Create a user",
        {201: answer("The user.", account_responses.User, _USER, _LOCATION)},
        _ADMINISTRATORS,
        Body(UserCreate, {"With a password": {"username": "lihua", "password": "correct horse battery staple"}}),
        refusals=(409,),
    ),
    ("GET", "/v1/users/{username}"): Call(
        "get_user",
        "Users",
        "Show a user",
        {200: answer("The user.", account_responses.User, _USER)},
        _ADMINISTRATORS,
        refusals=(404,),
    ),
    ("PUT", "/v1/users/{username}"): Call(
        "update_user",
        "Users",
        "Change a user",
        {200: answer("The user.", account_responses.User, _USER)},
        f"{_ADMINISTRATORS} The last administrator, and the last admin of an organization, cannot be disabled: 409.",
        Body(UserChange, {"A new password": {"password": "a longer one, 更长的"}}, required=False),
        refusals=(404, 409),
    ),
    ("DELETE", "/v1/users/{username}"): Call(
        "delete_user",
        "Users",
        "Delete a user",
        {204: empty("The user is deleted, with all tokens and memberships.")},
        f"{_ADMINISTRATORS} 409 for a user who has jobs, for the last administrator, and for the last admin of an "
        "organization.",
        refusals=(404, 409),
    ),
}
_ORGANIZATIONS: Calls = {
    ("GET", "/v1/orgs"): Call(
        "list_organizations",
        "Organizations",
        "List organizations",
        {200: answer("One page, newest first.", account_responses.OrganizationPage, page([_ORGANIZATION]))},
        "The organizations that the caller is a member of; an administrator of the installation sees all.",
    ),
    ("POST", "/v1/orgs"): Call(
        "create_organization",
        "Organizations",
        "Create an organization",
        {201: answer("The organization.", account_responses.Organization, _ORGANIZATION, _LOCATION)},
        _ADMINISTRATORS,
        Body(OrganizationCreate, {"One's own": {"name": "team"}}),
        refusals=(409,),
    ),
    ("GET", "/v1/orgs/{name}"): Call(
        "get_organization",
        "Organizations",
        "Show an organization",
        {200: answer("The organization.", account_responses.Organization, _ORGANIZATION)},
        refusals=(404,),
    ),
    ("DELETE", "/v1/orgs/{name}"): Call(
        "delete_organization",
        "Organizations",
        "Delete an organization",
        {204: empty("The organization is deleted.")},
        "409 while it has jobs.",
        refusals=(404, 409),
    ),
    ("GET", "/v1/orgs/{name}/members"): Call(
        "list_organization_members",
        "Organizations",
        "List an organization's members",
        {200: answer("One page, newest first.", account_responses.MemberPage, page([_MEMBER]))},
        refusals=(404,),
    ),
    ("POST", "/v1/orgs/{name}/members"): Call(
        "add_organization_member",
        "Organizations",
        "Add a member",
        {201: answer("The member.", account_responses.Member, _MEMBER, _LOCATION)},
        body=Body(MemberCreate, {"A writer": {"username": "lihua", "role": "writer"}}),
        refusals=(404, 409),
    ),
    ("GET", "/v1/orgs/{name}/members/{username}"): Call(
        "get_organization_member",
        "Organizations",
        "Show a member",
        {200: answer("The member.", account_responses.Member, _MEMBER)},
        refusals=(404,),
    ),
    ("PUT", "/v1/orgs/{name}/members/{username}"): Call(
        "update_organization_member",
        "Organizations",
        "Change a member's role",
        {200: answer("The member.", account_responses.Member, _MEMBER)},
        "The last admin who can sign in cannot be given another role: 409.",
        Body(MemberChange, {"A reader": {"role": "reader"}}),
        refusals=(404, 409),
    ),
    ("DELETE", "/v1/orgs/{name}/members/{username}"): Call(
        "remove_organization_member",
        "Organizations",
        "Remove a member",
        {204: empty("The user is no longer a member.")},
        "409 for the last admin who can sign in.",
        refusals=(404, 409),
    ),
}
CALLS: Calls = {
    **_OWN,
    **_USERS,
    **_ORGANIZATIONS,
    ("GET", "/v1/audit"): Call(
        "list_audit_records",
        "Audit",
        "List changes",
        {200: answer("One page, newest first.", account_responses.AuditPage, page([_RECORD]))},
        "Who changed what, in the namespaces of which the caller is an admin.",
    ),
}
