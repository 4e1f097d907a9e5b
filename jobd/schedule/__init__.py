"""Schedules: text and instants in, slots out. No clock, no database."""

from jobd.schedule.schedules import Cron, Interval, Schedule, Slot, SlotRange, check_timezone, parse

__all__ = ["Cron", "Interval", "Schedule", "Slot", "SlotRange", "check_timezone", "parse"]
