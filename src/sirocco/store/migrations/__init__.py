"""The steps that make the tables, one file per step, run in order by Alembic.

A step that has been released is never edited; a change is a new step.
"""
