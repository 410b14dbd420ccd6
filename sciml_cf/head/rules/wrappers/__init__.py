"""Rules that wrap another rule: ``Every`` applies it now and then, ``WarmUp`` starts it at another strength."""
