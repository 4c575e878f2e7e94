"""The commands of `sirocco`, one file each. They parse, call, print; a failure is one sentence."""
