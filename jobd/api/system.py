"""/v1/regions, /v1/sizes and /v1/system, and the probes /healthz and /readyz."""

from jobd import __version__
from jobd.api.schemas import serialize
from jobd.api.schemas.serialize import Shape
from jobd.schedule import zone_rules
from jobd.web.handler import Handler


class Regions(Handler):
    async def get(self) -> None:
        self.reply(serialize.whole_list([self._region(name) for name in self.services.settings.regions]))

    def _region(self, name: str) -> Shape:
        settings, served = self.services.settings.regions[name], self.services.engine.regions.get(name)
        outage = "not served by this daemon" if served is None else served.outage
        return {
            "name": name,
            "executor": settings.executor,
            "is_default": name == self.services.settings.jobd.default_region,
            "max_running": settings.max_running,
            "images": list(settings.images),
            "ok": outage is None,
            "engine": served.engine if served else "",
            "message": outage or "",
        }


class Sizes(Handler):
    async def get(self) -> None:
        settings = self.services.settings
        self.reply(
            serialize.whole_list(
                [
                    {
                        "name": name,
                        "cpus": size.cpus,
                        "memory": size.memory,
                        "is_default": name == settings.default_size,
                    }
                    for name, size in settings.sizes.items()
                ]
            )
        )


class System(Handler):
    async def get(self) -> None:
        rules = zone_rules.in_use()
        zones = {"version": rules.version, "source": rules.source, "reason": rules.reason}
        self.reply({"version": __version__, "time_zone_rules": zones})


class Health(Handler):
    """The process responds."""

    is_limited = False

    async def get(self) -> None:
        self.reply({"status": "ok"})


class Readiness(Handler):
    """The database responds, has this version's schema, and accepts writes."""

    is_limited = False

    async def get(self) -> None:
        await self.services.database.check()
        self.reply({"status": "ready"})
