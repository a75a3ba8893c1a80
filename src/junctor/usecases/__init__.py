"""The stories: admit, plan, hold, attempt, settle, answer. Start reading at complete.py."""
