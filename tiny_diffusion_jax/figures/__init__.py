"""Pictures: functions of their arguments alone."""
