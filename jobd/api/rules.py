"""The table of who may call what. Anything that is not in it is refused.

`jobd.web.permissions` defines its words. docs/security.md shows this table; a test compares them.
"""

from jobd.web.permissions import ADMIN, IS_ADMIN, LOCAL, OWN, PUBLIC, READER, SIGNED_IN, WRITER, Rules

RULES: dict[str, Rules] = {
    "/v1/generate-api-token": {"POST": PUBLIC},
    "/v1/auth/profile": {"GET": SIGNED_IN, "PUT": OWN},
    "/v1/tokens": {"GET": OWN, "POST": OWN},
    "/v1/tokens/{token_id}": {"GET": OWN, "DELETE": OWN},
    "/v1/users": {"GET": IS_ADMIN, "POST": IS_ADMIN},
    "/v1/users/{username}": {"GET": IS_ADMIN, "PUT": IS_ADMIN, "DELETE": IS_ADMIN},
    "/v1/orgs": {"GET": SIGNED_IN, "POST": IS_ADMIN},
    "/v1/orgs/{name}": {"GET": READER, "DELETE": ADMIN},
    "/v1/orgs/{name}/members": {"GET": READER, "POST": ADMIN},
    "/v1/orgs/{name}/members/{username}": {"GET": READER, "PUT": ADMIN, "DELETE": ADMIN},
    "/v1/audit": {"GET": ADMIN},
    "/v1/jobs": {"GET": SIGNED_IN, "POST": WRITER},
    "/v1/jobs/{id}": {"GET": READER, "PUT": WRITER, "DELETE": WRITER},
    "/v1/jobs/{id}/schedule": {"GET": READER},
    "/v1/jobs/{id}/execs": {"GET": READER, "POST": WRITER},
    "/v1/jobs/{id}/execs/{exec_id}": {"GET": READER, "DELETE": WRITER},
    "/v1/jobs/{id}/execs/{exec_id}/stop": {"POST": WRITER},
    "/v1/jobs/{id}/execs/{exec_id}/rerun": {"POST": WRITER},
    "/v1/jobs/{id}/execs/{exec_id}/logs": {"GET": READER},
    "/v1/execs": {"GET": SIGNED_IN},
    "/v1/hooks": {"GET": SIGNED_IN, "POST": WRITER},
    "/v1/hooks/{id}": {"GET": READER, "PUT": WRITER, "DELETE": WRITER},
    "/v1/hooks/{id}/deliveries": {"GET": READER},
    "/v1/hooks/{id}/deliveries/{delivery_id}/redeliver": {"POST": WRITER},
    "/v1/schedule/preview": {"POST": SIGNED_IN},
    "/v1/regions": {"GET": SIGNED_IN},
    "/v1/sizes": {"GET": SIGNED_IN},
    "/v1/system": {"GET": SIGNED_IN},
    "/healthz": {"GET": PUBLIC},
    "/readyz": {"GET": PUBLIC},
    "/metrics": {"GET": LOCAL},
    "/openapi.json": {"GET": PUBLIC},
    "/docs": {"GET": PUBLIC},
}
