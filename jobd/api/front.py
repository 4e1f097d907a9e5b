"""`/`, where a browser arrives first."""

from jobd.web.handler import NoSuchPath


class Front(NoSuchPath):
    """Sends a browser to the page that describes the API; a program learns that there is nothing here."""

    async def _let_in(self) -> None:
        if self.request.method not in ("GET", "HEAD") or "text/html" not in self.request.headers.get("Accept", ""):
            await super()._let_in()

    async def get(self) -> None:
        self.redirect("docs")
