"""Which machine this is and how to work on it; one file for each question.

machine       what it is: processor, cores, memory, power mode, the name that tables and folders use
conditions    its state at this moment: load, clock, temperature, what throttles it
counters      what it has counted: who used the processor, what held it up
nvidia, gpu   the same of a GPU
cgroup        what a container allows
processes     processes of ours on it: start, talk, end, and why one failed
system_files  the small files that the system answers in
names         device names as file names

A way to reach another device (SSH, say) will be one more file here, beside `processes`.
"""
