"""Jobs on a Slurm cluster, asked through the host that Slurm's commands are on.

text.py, listing.py, cluster.py and config.py read what the commands print: pure, the same for every
version from 22.05 on, and patient with what they do not know. words.py says it in sentences.
script.py, options.py and limits.py make the plan; backend.py does the asking.
"""
