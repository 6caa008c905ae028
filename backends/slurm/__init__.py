"""Jobs on a Slurm cluster, asked through the host that Slurm's commands are on, or by slurmrestd.

text.py, listing.py and cluster.py read what the commands print: pure, the same for every
version from 22.05 on, and patient with what they do not know. words.py says it in sentences.
script.py, options.py and limits.py make the plan; backend.py does the asking, of a scheduler
(scheduler.py): of the commands (by_commands.py) or of slurmrestd (by_rest.py on rest*.py).
"""
