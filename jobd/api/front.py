"""The root path, `/`."""

from jobd.web.handler import NoSuchPath


class Front(NoSuchPath):
    """Redirects a browser to the API's documentation; for programs there is nothing here, 404."""

    async def _check_head(self) -> None:
        if self.request.method not in ("GET", "HEAD") or "text/html" not in self.request.headers.get("Accept", ""):
            await super()._check_head()

    async def get(self) -> None:
        self.redirect("docs")
